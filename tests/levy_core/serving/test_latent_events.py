"""Events of fields whose model makes coefficients: the probability is that of the field, with what its EOFs leave."""

import numpy as np
import pytest
import torch
from scipy import stats

from levy_core.base.event import Event
from levy_core.nets.latent import fit_latent
from levy_core.sampling.solver import Solver
from levy_core.serving.events import SYSTEMS, EventSampler, solver_of_events
from tests.levy_core.nets.test_latent import data, gaussian_model

CELL = (0, 1, 2)


@pytest.mark.parametrize(("eofs", "far"), [(1, 1.5), (5, 2.5)])  # the variance is in what they leave, or in them
def test_the_probability_of_an_event_is_exact_with_the_rest(eofs, far):
    """2,000 particles, fixed seeds: an estimate is off by about a tenth at most times, and 0.4 is beyond four of these."""
    x = data(400)
    latent = fit_latent(x, eofs)
    model = gaussian_model(latent)
    mean, deviation = float(x[:, *CELL].mean()), float(x[:, *CELL].std())
    threshold = mean + far * deviation
    measure = lambda times: lambda values, which: values[:, 0].astype(np.float64)
    cells = np.array([np.ravel_multi_index(CELL, x.shape[1:])])
    event = Event(
        lambda labels: None, cells, measure, lambda values: values, threshold, True, None, "K", "it is hot", True
    )
    default = Solver("ode", "2m-data", "karras", 20, rho_max=80, rho_min=0.002)
    solver = solver_of_events(default, None, None)
    sampler = EventSampler(model, solver, default, event, np.zeros(2000, int), 250, torch.device("cpu"))
    found = sampler.draw(5, 0, None)
    assert found.samples.shape == (5, 2, 4, 6)
    assert found.samples[:, *CELL].min() > threshold
    assert len(np.unique(found.samples[:, *CELL])) == 5
    assert found.occurrence.probability == pytest.approx(stats.norm.sf(far), rel=0.4)


def test_systems_have_days_of_their_own_which_are_those_of_all_particles_together():
    seen = []
    event = Event(
        lambda labels: np.arange(len(labels)), np.array([0]), lambda times: seen.append(times), lambda values: values, 1.0, True,
        None, "K", "it is hot", True,
    )  # fmt: skip
    default = Solver("ode", "2m-data", "karras", 20, rho_max=80, rho_min=0.002)
    solver = solver_of_events(default, None, None)
    model = gaussian_model(fit_latent(data(50), 3))
    sampler = EventSampler(model, solver, default, event, np.zeros(200, int), 250, torch.device("cpu"))
    for system in range(SYSTEMS):
        sampler._measure(lambda x0, start: x0, system)
    assert [len(times) for times in seen] == [20] * SYSTEMS
    assert sorted(np.concatenate(seen).tolist()) == list(range(200))
    assert np.ptp([times.mean() for times in seen]) < SYSTEMS


def test_cells_of_a_latent_are_those_of_its_fields():
    latent = fit_latent(data(100), 4)
    z, cells = torch.randn(3, 4), torch.tensor([47, 0, 13])
    torch.testing.assert_close(latent.at(cells).decode(z), latent.decode(z).flatten(1)[:, cells])
