"""Samples given observations of many cases at once are those of each case, for models of samples and of coefficients."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from levy_core.base.errors import LevyError
from levy_core.base.observed import Behind, Observed, Reported
from levy_core.base.seeds import BatchStream
from levy_core.nets.latent import fit_latent
from levy_core.nets.mlp import MLPConfig
from levy_core.observations.covariance import Covariance
from levy_core.observations.observation import Observation
from levy_core.observations.operators import CellMeans
from levy_core.sampling.solver import Solver
from levy_core.serving.given import data_covariance, draw_given, guided_cost, krige_given, observation_of
from levy_core.serving.reading import solver_of_observations
from tests.levy_core.nets.test_latent import data, gaussian_model
from tests.levy_core.serving.test_memory import make_model

CPU = torch.device("cpu")
SOLVER = solver_of_observations(Solver("sde-e", "2m-data", "karras", 20, 0.3, rho_max=20.0, rho_min=0.05), 5)


@pytest.fixture(scope="module")
def model():
    return gaussian_model(fit_latent(data(50), 3))


def test_the_solver_of_observations_is_the_second_order_ode_on_the_same_levels():
    assert (SOLVER.family, SOLVER.discretisation, SOLVER.steps, SOLVER.denoise) == ("ode", "2m-data", 5, True)
    assert (SOLVER.rho_max, SOLVER.rho_min, SOLVER.eta) == (20.0, 0.05, 0.0)


def test_cases_that_are_drawn_at_once_are_those_that_are_drawn_one_by_one(model):
    cells, weights = np.arange(0, 10, 2)[:, None], np.ones((5, 1))
    operator = CellMeans(model.shape, torch.from_numpy(cells), torch.from_numpy(weights))
    values, std = operator.apply(data(2).double()).numpy(), np.array([0.0, 0.1, 0.1, 0.0, 0.2])
    rows = Observation(operator, torch.from_numpy(values).repeat_interleave(3, 0), torch.from_numpy(std))
    both = draw_given(model, SOLVER, 7, np.zeros(6, int), 4, CPU, rows, "interpolation", None)
    first = Observation(operator, torch.from_numpy(values[0]), torch.from_numpy(std))
    first = draw_given(model, SOLVER, 7, np.zeros(3, int), 4, CPU, first, "interpolation", None)
    second = Observation(operator, torch.from_numpy(values[1]), torch.from_numpy(std))
    rest = draw_given(model, SOLVER, 7, np.zeros(3, int), 4, CPU, second, "interpolation", None, first=3)
    np.testing.assert_allclose(both, np.concatenate([first, rest]), atol=1e-4)
    seen = operator.apply(torch.from_numpy(both).double()).numpy().reshape(2, 3, 5)
    assert np.abs(seen - values[:, None])[..., std == 0].max() < 1e-4
    assert guided_cost(model, SOLVER, rows, "interpolation", None) == 5
    assert guided_cost(model, SOLVER, rows, "pigdm", None) == 15


def test_the_covariance_of_a_model_of_coefficients_is_that_of_its_fields(model, tmp_path):
    """10,000 fields: the largest of its entries is off by 0.07 of the largest variance in 1 of 1,000 seeds."""
    covariance, latent = data_covariance(model, tmp_path), model.latent
    z = torch.randn(10_000, latent.size, generator=torch.manual_seed(0))
    drawn = (latent.decode(z) + latent.draw_rest(BatchStream(10_000, 0, "rest"))).double().flatten(1)
    size = len(covariance.mean)
    exact = covariance.apply(torch.eye(size).double())
    assert ((drawn.T.cov() - exact).abs() / exact.diagonal().max()).max() < 0.07
    torch.testing.assert_close(covariance.mean, latent.mean.double().flatten())


def behind(points):
    """Two means of the exponentials of four cells, seen through the logarithm."""
    cells, weights, values = np.arange(8).reshape(2, 4), np.array([[0.4, 0.3, 0.2, 0.1]] * 2), np.array([0.4, -0.3])
    reported = Reported(values, np.zeros(2), np.zeros(2, int), (("tp", "mm"),), lambda x: x)
    through = Behind(np.exp, np.log, np.ones(2, dtype=bool), np.zeros((2, 4)), points)
    return Observed(cells, weights, values, np.zeros(2), None, None, "", reported, through)


def enlarge(observed):
    """1,001 values."""
    cells, ones = np.arange(4004).reshape(1001, 4) % 16, np.ones(1001)
    through = replace(observed.behind, rows=ones > 0, offsets=np.zeros(cells.shape))
    return replace(
        observed, cells=cells, weights=ones[:, None] * observed.weights[:1], values=ones, std=ones, behind=through
    )


PLAIN = make_model(MLPConfig((16,), 2, 8), {"preset": "edm"})


@pytest.mark.parametrize("points", [False, True])
def test_means_and_points_behind_a_transform_are_met_by_any_network_and_by_kriging(model, points):
    observed = behind(points)
    covariance = Covariance(torch.zeros(16).double(), torch.zeros(16, 0).double(), torch.ones(16).double())
    for asked in (PLAIN, model):
        observation = observation_of(asked, observed, "interpolation")
        drawn = draw_given(asked, SOLVER, 0, np.zeros(5, int), 5, CPU, observation, "interpolation", covariance)
        kriged = krige_given(asked, 0, 5, observation, covariance)
        for samples in (drawn, kriged):
            seen = np.log((np.exp(samples.reshape(5, -1)[:, observed.cells]) * observed.weights).sum(-1))
            np.testing.assert_allclose(seen, np.tile(observed.values, (5, 1)), atol=1e-5)


def test_too_many_means_behind_a_transform_are_refused():
    with pytest.raises(
        LevyError, match="1,001 values with means of a variable with a transform are observed, and at most 1,000"
    ):
        observation_of(PLAIN, enlarge(behind(False)), "interpolation")


def test_points_behind_a_transform_are_the_nearest_cell_where_nothing_else_is_taken_in():
    observed = behind(True)
    x = torch.randn(2, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(observation_of(PLAIN, observed, "jacobian").operator.apply(x), x[:, [0, 4]])
    many = observation_of(PLAIN, enlarge(observed), "interpolation").operator
    assert (many.weights.sum(1) == 1).all()
    assert ((many.weights > 0).sum(1) == 1).all()
