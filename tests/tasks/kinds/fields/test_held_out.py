"""Held-out fields of which experiments see means: also of a variable with a transform, about the cycle of each field's time."""

import numpy as np
import pytest
import torch

from levy_core.datasets.fields.config import Variable
from levy_core.datasets.fields.store import FieldStore
from levy_core.observations.covariance import fit_covariance
from levy_core.observations.nonlinear import Through
from levy_core.observations.operators import weights_of
from levy_core.observations.rivals import krige
from tasks.kinds.fields.held_out import HeldOutFields
from tasks.observing.cases import choose_extreme, observe_cases
from tasks.params.experiments import Experiment
from tests.support.fields import config, prepare, temperature, write

RAIN = Variable("tp", "mm day-1", transform="log1p", minimum=0.0)
T2M = Variable("t2m", "degC")
MEANS = Experiment(see="means", block=2, cases=6)


@pytest.fixture(scope="module", params=["variable", "cell"])
def prepared(request, tmp_path_factory):
    """Two years of days of temperature and rain, 4 x 6 cells, with a cycle of the year taken off; three times as much varies in the north."""
    folder = tmp_path_factory.mktemp("held_out")
    data = temperature(730, (53.0, 52.0, 51.0, 50.0), tuple(map(float, range(6))), freq="D")
    rng = np.random.default_rng(1)
    season = 2 + np.cos(2 * np.pi * np.arange(730) / 365.25)[:, None, None]
    data["t2m"] = 280 + (data.t2m - 280) * np.array([1.5, 1.2, 0.8, 0.5], np.float32)[:, None]
    data.t2m.attrs["units"] = "K"
    rain = season * rng.gamma(0.6, 4.0, data.t2m.shape)
    data["tp"] = (data.t2m.dims, rain.astype(np.float32), {"units": "mm day-1"})
    write(folder / "raw", data)
    settings = config(T2M, RAIN, climatology="day", test_share=0.3, standardise=request.param)
    prepare(folder / "raw", settings, folder / "prepared")
    return folder / "prepared"


def test_the_operator_of_each_row_sees_in_what_networks_see_the_means_in_their_units(prepared):
    held_out = HeldOutFields(prepared)
    cases = observe_cases(held_out, "x", MEANS)
    store = FieldStore.open(prepared / "fields.zarr", "test")
    for row, values in zip(cases.rows[:4], cases.values[:4], strict=True):
        operator = held_out.see(cases.operator, int(row))
        assert isinstance(operator, Through)
        network = torch.from_numpy(store[np.array([row])]).double()
        np.testing.assert_allclose(operator.apply(network)[0], values, rtol=0, atol=2e-5)


def test_means_of_rain_are_met_by_kriging_in_mm_case_by_case(prepared):
    held_out = HeldOutFields(prepared)
    cases = observe_cases(held_out, "x", MEANS)
    cases = cases.take(np.arange(3))
    train = FieldStore.open(prepared / "fields.zarr", "train")
    covariance = fit_covariance(torch.from_numpy(train[np.arange(200)]).flatten(1).double(), most=10)
    parts = list(cases.parts(5))
    assert [part for part, _ in parts] == [slice(k, k + 1) for k in range(3)]
    for part, observation in parts:
        members = krige(covariance, observation, 0, 5).view(5, *held_out.valid.shape).numpy()
        units = held_out.to_units(members, np.repeat(cases.rows[part], 5))
        seen = cases.operator.apply(torch.from_numpy(units)).numpy()
        np.testing.assert_allclose(seen, np.tile(cases.seen[part], (5, 1)), rtol=1e-4, atol=1e-3)


def test_means_of_temperature_alone_are_linear(prepared):
    held_out = HeldOutFields(prepared)
    operator = observe_cases(held_out, "x", MEANS).operator
    rows = held_out._channels(operator) == held_out.variables.index("t2m")
    only = type(operator)(operator.shape, operator.cells[rows], operator.weights[rows])
    seen = held_out.see(only, 0)
    assert (seen is only) == (held_out._codec.std.ndim == 1)
    row = np.array([7])
    network = torch.from_numpy(FieldStore.open(prepared / "fields.zarr", "test")[row]).double()
    exact = only.apply(torch.from_numpy(held_out.read(row))).numpy()
    values, std = held_out.standardise(only, exact, np.full(only.rows, 0.3), row)
    np.testing.assert_allclose(seen.apply(network).numpy(), values, rtol=0, atol=2e-5)
    higher, _ = held_out.standardise(only, exact + 0.3, np.zeros(only.rows), row)
    np.testing.assert_allclose(higher - values, std)  # an error is as large as what it moves
    np.testing.assert_allclose(seen.weights.sum(1), 1)


def test_the_most_extreme_cases_are_those_of_what_networks_see(prepared):
    """By the Mahalanobis distance of values as the network sees them, worked out here from the operator of a row."""
    held_out = HeldOutFields(prepared)
    cases = observe_cases(held_out, "x", MEANS)
    covariance = fit_covariance(
        torch.from_numpy(FieldStore.open(prepared / "fields.zarr", "train")[np.arange(300)]).flatten(1).double(),
        most=10,
    )
    chosen, _ = choose_extreme(cases, covariance, 4)
    weights = torch.from_numpy(weights_of(held_out.see(cases.operator, int(cases.rows[0])).means).toarray())
    matrix = weights @ (covariance.patterns @ covariance.patterns.T + covariance.diagonal.diag()) @ weights.T
    offset = torch.from_numpy(cases.values) - weights @ covariance.mean
    sizes = (torch.linalg.solve(matrix, offset.T).T * offset).sum(1).numpy()
    assert sizes[chosen].min() > np.quantile(sizes, 0.8)
