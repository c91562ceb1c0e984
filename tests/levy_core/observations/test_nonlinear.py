"""Means and points behind a transform: the derivative, the linear case, values that are met, and posteriors of two cells against quadrature."""

import numpy as np
import pytest
import torch

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import Variable
from levy_core.datasets.fields.normal_scores import NormalScores
from levy_core.datasets.fields.observed import look_behind
from levy_core.observations.coefficients import ObservedFields
from levy_core.observations.covariance import Covariance
from levy_core.observations.guides import observe
from levy_core.observations.nonlinear import Through
from levy_core.observations.observation import Observation, inverse_of, solve_for
from levy_core.observations.operators import CellMeans, block_mean, points
from levy_core.observations.oracles import Mixture
from levy_core.observations.rivals import krige
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
CROWDED = points(
    (1, 4, 4), torch.tensor([[0.2, 0.7], [0.9, 0.4], [1.5, 1.5], [2.0, 3.0]])
)  # several see the same cells


def dense(tangents, x):
    """H of each sample, [N, rows, D]."""
    unit = torch.eye(x[0].numel()).double().view(-1, *x.shape[1:])
    return torch.stack([tangents.apply(each.expand_as(x)) for each in unit], 2)


@pytest.mark.parametrize("seen", [BLOCKS, CROWDED], ids=["means", "points"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_derivative_is_that_of_differences_in_single_cells(name, seen):
    operator = Through(seen, *FUNCTIONS[name])
    x = torch.randn(2, 1, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    tangents, away = operator.linearised(x, torch.zeros(seen.rows)), 1e-5 * torch.eye(16).double().view(16, 1, 4, 4)
    by_cell = [(operator.apply(sample + away) - operator.apply(sample - away)) / 2e-5 for sample in x]
    torch.testing.assert_close(dense(tangents, x).mT, torch.stack(by_cell), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(tangents.missing, -operator.apply(x))


@pytest.mark.parametrize("seen", [BLOCKS, CROWDED], ids=["means", "points"])
def test_the_linear_operators_of_samples_have_their_adjoints_and_covariances(seen):
    g, covariance = torch.Generator().manual_seed(0), one_regime().covariance()
    x, v = (torch.randn(3, *size, generator=g).double() for size in ((1, 4, 4), (seen.rows,)))
    tangents, posterior = Through(seen, *LOG).linearised(x, torch.zeros(seen.rows)), covariance.posterior(0.3)
    torch.testing.assert_close((tangents.apply(x) * v).sum(1), (x * tangents.adjoint(v)).flatten(1).sum(1))
    h, c = dense(tangents, x), posterior.apply(torch.eye(16).double())
    white = tangents.of._whiten(posterior)
    torch.testing.assert_close(tangents.observed(white, posterior.diagonal), h @ c @ h.mT)


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
    tangents = Through(cells, *LOG).linearised(x, torch.zeros(2))
    torch.testing.assert_close(tangents.weights, torch.ones(3, 2, 1).double(), rtol=1e-6, atol=0)


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


ONE = Mixture(Gaussian(), torch.zeros(1, 1).double(), torch.ones(1, 1, 1).double(), torch.ones(1).double())
REST = Covariance(
    torch.zeros(2).double(), torch.zeros(2, 0).double(), torch.full((2,), 0.4).double()
)  # beside a pattern
ALIKE = torch.full((1, 2), 0.6**0.5).double()


def draw_by_kriging(observation, n):
    return krige(PAIR.covariance(), observation, 0, n)


def draw_by_coefficients(observation, n):
    """The same law as PAIR: a coefficient and a rest."""
    observed, g = ObservedFields(observation, ALIKE, REST), torch.Generator().manual_seed(3)
    guided = observe(ONE, observed.of_coefficients, Gaussian(), covariance=ONE.covariance())
    rest = 0.4**0.5 * torch.randn(n, 2, generator=g).double()
    x = draw(guided, table(20), Gaussian(), n, (1,)) @ ALIKE + rest
    return observed.complete(x, torch.randn(n, 1, generator=g)).double()


@pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("by", [draw_by_kriging, draw_by_coefficients])
def test_kriging_and_models_of_coefficients_are_near_the_exact_posterior_too(by, value):
    """1,000 draws: the standard error of a spread is 2.2 %. Most are 5 to 15 % too wide."""
    drawn = by(Observation(Through(MEAN, *LOG), torch.tensor([value]).double(), 0.1), 1000)
    apart, total, spread = exact(value, 0.1)
    assert float((drawn[:, 0] - drawn[:, 1]).square().mean().sqrt()) == pytest.approx(apart, rel=0.2)
    assert float(drawn.sum(1).mean()) == pytest.approx(total, abs=0.1)
    assert float(drawn.sum(1).std()) == pytest.approx(spread, rel=0.35)


@pytest.mark.parametrize("std", [0.0, 0.2])
def test_kriging_and_models_of_coefficients_take_a_linear_transform_as_the_linear_operator(std):
    covariance, g = one_regime().covariance(), torch.Generator().manual_seed(0)
    values = torch.tensor([0.5, -1.0, 0.3, 2.0]).double()
    x, n, z = (torch.randn(6, *size, generator=g).double() for size in ((1, 4, 4), (4,), (5,)))
    patterns = covariance.patterns.T[:5].view(5, 1, 4, 4)
    rest, posterior = Covariance(covariance.mean, covariance.patterns[:, 5:], covariance.diagonal), Covariance(z[0], z[0, :, None][:, :0], z[0] ** 2)  # fmt: skip
    kriged, completed, shifts = [], [], []
    for operator in (BLOCKS, Through(BLOCKS, *FUNCTIONS["linear"])):
        observation = Observation(operator, values, std)
        kriged.append(krige(covariance, observation, 0, 6))
        fields = ObservedFields(observation, patterns, rest)
        completed.append(fields.complete(x, n))
        guided = observe(lambda y, rho, cond: y / 2, fields.of_coefficients, Gaussian(), covariance=posterior)
        shifts.append(guided(z, torch.ones(6), {}))
    for linear, through in (kriged, completed, shifts):
        torch.testing.assert_close(through, linear, rtol=1e-6, atol=1e-6)


def test_student_t_kriging_of_what_is_not_linear_is_refused():
    observation = Observation(Through(MEAN, *LOG), torch.zeros(1))
    with pytest.raises(LevyError, match="Student-t kriging needs observations that are linear"):
        krige(PAIR.covariance(), observation, 0, 10, degrees=5)


@pytest.mark.parametrize("steps", [5, 10])
@pytest.mark.parametrize("value", [-1.5, 0.0, 1.5, 6.0])
def test_a_mean_without_error_is_met(value, steps):
    observation = Observation(Through(MEAN, *LOG), torch.tensor([value]).double())
    drawn = draw(
        observe(PAIR, observation, Gaussian(), covariance=PAIR.covariance()), table(steps), Gaussian(), 200, (2,)
    )
    torch.testing.assert_close(torch.log(drawn.exp().mean(1)), torch.full((200,), value).double(), rtol=0, atol=1e-9)


RNG = np.random.default_rng(0)
RAIN = NormalScores.fit(np.where(RNG.random(4000) < 0.6, 0.0, RNG.gamma(0.6, 6.0, 4000)))
VARIABLES = [
    Variable("tp", "mm", transform="log1p", minimum=0.0),
    Variable("u", "m", transform="signed-log"),
    Variable("tp", "mm", transform="power", exponent=0.4, minimum=0.0),
    Variable("u", "m", transform="power", exponent=0.4),
    Variable("u", "m", transform="asinh", scale=0.5),
    Variable("tp", "mm", transform="normal-score", minimum=0.0, scores=RAIN),
]


@pytest.mark.parametrize("steps", [5, 10])
@pytest.mark.parametrize("variable", VARIABLES, ids=lambda v: f"{v.transform} of {v.name}")
@pytest.mark.parametrize("seen", [BLOCKS, CROWDED], ids=["means", "points"])
def test_values_in_a_variables_units_are_met_behind_every_transform_and_above_its_minimum(variable, seen, steps):
    """Values of fields drawn from the law, dry ones too, to 1e-6 of the largest but for 3 %, where points share cells that are dry and barely wet
    or values of both signs; to 0.005 but for 2 %, and all means."""
    codec = Codec((variable,), np.array([0.3]), np.array([0.9]), np.ones((1, 4, 4), dtype=bool))
    cells, weights = seen.cells.numpy(), seen.weights.numpy()
    behind = look_behind(codec, np.zeros((1, 4, 4)), np.zeros(seen.rows, int), cells, weights)
    look = lambda x: (codec.decode(x.numpy()).reshape(len(x), -1)[:, cells] * weights).sum(-1)
    oracle = one_regime()
    law = lambda y, rho, cond: oracle(y.flatten(1), rho, cond).view_as(y)
    exact = look(1.5 * oracle.data(20, (1, 4, 4), seed=1)).repeat(5, 0)
    operator = Through(seen, behind.inside, behind.outside)
    observation = Observation(operator, torch.from_numpy(behind.outside(exact)))
    guided = observe(law, observation, Gaussian(), covariance=oracle.covariance())
    missed = np.abs(look(draw(guided, table(steps), Gaussian(), 100, (1, 4, 4))) - exact) / np.abs(exact).max()
    assert (missed > 1e-6).mean() < 0.03
    assert (missed > 0.005).mean() <= (0.0 if seen is BLOCKS else 0.02)


def test_a_dry_mean_becomes_wet_and_a_wet_one_dry():
    """Behind max(exp(x) - 1, 0), from cells that are all dry, and all wet."""
    clipped = (lambda x: np.maximum(np.expm1(x), 0.0), np.log1p)
    operator, posterior = Through(BLOCKS, *clipped), one_regime().covariance().posterior(0.1)
    x0 = torch.cat([torch.full((1, 1, 4, 4), -2.0), torch.full((1, 1, 4, 4), 2.0)]).double()
    values = torch.tensor([[0.0, 0.1, 1.0, 3.0], [0.0, 0.0, 0.1, 3.0]]).double()
    x = x0 + posterior.apply(operator.fit(values, torch.zeros(4).double(), x0, posterior))
    torch.testing.assert_close(operator.apply(x), values, rtol=0, atol=1e-7)


def test_exact_values_of_one_square_agree_behind_a_transform_and_equal_places_must():
    """Five gauges between the same four cells: their sums do not add up once they are transformed, which contradicts nothing."""
    cells = torch.tensor([[0, 1, 4, 5]] * 5)
    at = torch.rand(5, 2, generator=torch.Generator().manual_seed(0)).double()
    row, column = at.unbind(1)
    weights = torch.stack([(1 - row) * (1 - column), (1 - row) * column, row * (1 - column), row * column], 1)
    gauges = Through(CellMeans((1, 4, 4), cells, weights), *LOG)
    values = gauges.apply(torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(1)).double())[0]
    Observation(gauges, values)
    again = Through(CellMeans((1, 4, 4), cells[[0, 1, 0]], weights[[0, 1, 0]]), *LOG)
    Observation(again, values[[0, 1, 0]])
    with pytest.raises(
        LevyError, match=r"exact observations contradict each other: no sample has values number 0 .* and number 2"
    ):
        Observation(again, values[[0, 1, 0]] + torch.tensor([0.0, 0.0, 0.5]).double())


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
    found = solve_for(matrix.expand(2, -1, -1), torch.stack([values, -values]))
    expected = inverse_of(matrix) @ values
    torch.testing.assert_close(found, torch.stack([expected, -expected]), rtol=1e-6, atol=1e-9)
