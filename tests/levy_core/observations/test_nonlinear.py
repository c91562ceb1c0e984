"""Means behind a transform: the derivative, the linear case, and posteriors of two cells against quadrature."""

import numpy as np
import pytest
import torch

from levy_core.base.errors import LevyError
from levy_core.observations.covariance import Covariance
from levy_core.observations.guides import observe
from levy_core.observations.nonlinear import Through
from levy_core.observations.observation import Observation, inverse_of, solve_for
from levy_core.observations.operators import CellMeans, block_mean
from levy_core.observations.oracles import Mixture
from levy_core.process.noise import Gaussian
from tests.support.observed import D, draw, one_regime, table

LOG = (np.exp, np.log)  # rain of which the network sees the logarithm
FUNCTIONS = {
    "log": LOG,
    "log1p": (np.expm1, np.log1p),
    "asinh": (np.sinh, np.arcsinh),
    "linear": (lambda x: 3 * x + 2, lambda m: (m - 2) / 3),
}
BLOCKS = block_mean((1, 4, 4), (2, 2))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_derivative_is_that_of_differences_in_single_cells(name):
    operator = Through(BLOCKS, *FUNCTIONS[name])
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    for sample, seen in zip(x, operator.linearised(x), strict=True):
        away = 1e-5 * torch.eye(16).double().view(16, 1, 4, 4)
        by_cell = (operator.apply(sample + away) - operator.apply(sample - away)) / 2e-5
        own = seen.apply(torch.eye(16).double().view(16, 1, 4, 4))
        torch.testing.assert_close(own, by_cell, rtol=1e-6, atol=1e-8)


def test_a_linear_transform_gives_what_the_linear_operator_gives():
    oracle = one_regime()
    law = lambda y, rho, cond: oracle(y.flatten(1), rho, cond).view_as(y)
    values = torch.tensor([0.5, -1.0, 0.3, 2.0]).double()
    drawn = [
        draw(observe(law, Observation(seen, values), Gaussian(), covariance=oracle.covariance()), table(5), Gaussian(), 20, (1, 4, 4))
        for seen in (BLOCKS, Through(BLOCKS, *FUNCTIONS["linear"]))
    ]  # fmt: skip
    torch.testing.assert_close(drawn[1], drawn[0], rtol=1e-6, atol=1e-6)


def test_single_cells_are_seen_as_they_are_however_steep_the_transform():
    cells = CellMeans((1, 4, 4), torch.tensor([[3], [8]]), torch.ones(2, 1).double())
    x = 5 * torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(Through(cells, *LOG).apply(x), cells.apply(x))
    for seen in Through(cells, *LOG).linearised(x):
        torch.testing.assert_close(seen.weights, torch.ones(2, 1).double(), rtol=1e-6, atol=0)


SIDE = torch.tensor([[1.0, 0.6], [0.6, 1.0]]).double()
PAIR = Mixture(Gaussian(), torch.zeros(1, 2).double(), SIDE[None], torch.ones(1).double())
MEAN = CellMeans((2,), torch.tensor([[0, 1]]), torch.full((1, 2), 0.5).double())


def exact(mean, std):
    """Mean and spread of x_0 - x_1 and of the log of the mean, of N(0, SIDE) given the log of the mean of exp x and its error."""
    g = np.linspace(-7, 7, 1401)
    a, b = np.meshgrid(g, g, indexing="ij")
    inverse = np.linalg.inv(SIDE.numpy())
    log = -0.5 * (inverse[0, 0] * a * a + 2 * inverse[0, 1] * a * b + inverse[1, 1] * b * b)
    seen = np.log((np.exp(a) + np.exp(b)) / 2)
    w = np.exp(log - 0.5 * ((seen - mean) / std) ** 2)
    w /= w.sum()
    apart = np.sqrt((w * (a - b) ** 2).sum())
    total = (w * (a + b)).sum()
    return apart, total, np.sqrt((w * (a + b - total) ** 2).sum())


@pytest.mark.parametrize(("value", "within"), [(0.0, 0.12), (0.7, 0.15)])
@pytest.mark.parametrize(("steps", "wide"), [(5, 1.2), (10, 1.16)])  # as with exact predictors: docs/observations.md
def test_two_cells_whose_mean_is_observed_are_near_the_exact_posterior(value, within, steps, wide):
    """500 draws: the standard error of a spread is 3.2 %. Ensembles of few evaluations are too wide even with the exact predictor."""
    std = 0.1
    observation = Observation(Through(MEAN, *LOG), torch.tensor([value]).double(), std)
    guided = observe(PAIR, observation, Gaussian(), covariance=PAIR.covariance())
    drawn = draw(guided, table(steps), Gaussian(), 500, (2,))
    apart, total, spread = exact(value, std)
    assert float((drawn[:, 0] - drawn[:, 1]).square().mean().sqrt()) == pytest.approx(wide * apart, rel=within)
    assert float(drawn.sum(1).mean()) == pytest.approx(total, abs=within)
    assert float(drawn.sum(1).std()) == pytest.approx(spread, rel=0.35)


@pytest.mark.parametrize("value", [-1.5, 0.0, 1.5])
def test_a_mean_without_error_is_met(value):
    observation = Observation(Through(MEAN, *LOG), torch.tensor([value]).double())
    drawn = draw(observe(PAIR, observation, Gaussian(), covariance=PAIR.covariance()), table(5), Gaussian(), 200, (2,))
    seen = torch.log(drawn.exp().mean(1))
    assert float((seen - value).abs().quantile(0.95)) < 0.02
    assert float((seen - value).abs().max()) < 0.2


def test_guides_that_need_linear_observations_refuse_them():
    observation = Observation(Through(BLOCKS, *LOG), torch.zeros(4))
    for guide in ("jacobian", "pigdm", "projection"):
        with pytest.raises(LevyError, match=r"needs observations that are linear.*choose interpolation"):
            observe(
                one_regime(),
                observation,
                Gaussian(),
                guide,
                Covariance(torch.zeros(D), torch.zeros(D, 0), torch.ones(D)),
            )


@pytest.mark.parametrize("repeated", [False, True])
def test_solving_is_multiplying_by_the_inverse_also_where_values_say_the_same_thing_twice(repeated):
    g = torch.Generator().manual_seed(0)
    rows = torch.randn(6, 9, generator=g).double() * torch.logspace(-3, 3, 6).double()[:, None]
    if repeated:
        rows = torch.cat([rows, rows[2:3]])
    values = rows @ torch.randn(9, generator=g).double()
    matrix = rows @ rows.T
    torch.testing.assert_close(solve_for(matrix, values), inverse_of(matrix) @ values, rtol=1e-6, atol=1e-9)
