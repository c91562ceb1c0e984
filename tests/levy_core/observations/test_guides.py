"""Guides: exact where they should be, exact values met, every law, table and batch, and what a guide costs."""

from functools import cache
from math import log2

import pytest
import torch

from levy_core.base.errors import LevyError
from levy_core.observations.covariance import Covariance
from levy_core.observations.guides import OBSERVATION_GUIDES, observe
from levy_core.observations.jacobian import push_forward
from levy_core.observations.observation import Observation
from levy_core.observations.operators import Stack, block_mean, mask, points
from levy_core.process.noise import Gaussian, Stable, StudentT
from levy_core.process.schedule import SCHEDULES
from levy_core.sampling.loop import sample
from levy_core.sampling.oracles import Scale
from levy_core.sampling.phase.integrators import Integrator
from levy_core.sampling.phase.loop import sample_phase
from levy_core.sampling.phase.process import PhasePath
from levy_core.sampling.solver import Solver, tabulate
from levy_core.sampling.steps import DISCRETISATIONS, FAMILIES, discretisations_of
from tests.support.observed import SEEN, D, draw, one_regime, table, three_regimes

LAWS = [Gaussian(), Stable(2.0), Stable(1.7), Stable(1.7, isotropic=False), StudentT(5.0)]
FIELD = one_regime().data(1, (D,), seed=5)
VALUES = SEEN.apply(FIELD)[0]
EXACT = Observation(SEEN, VALUES)
UNIT = Covariance(torch.zeros(D).double(), torch.zeros(D, 0).double(), torch.ones(D).double())


def states(rho, n=20):
    g = torch.Generator().manual_seed(3)
    return (one_regime().data(n, (D,), 4) + rho * torch.randn(n, D, generator=g)).double(), torch.full(
        (n,), rho
    ).double()


@pytest.mark.parametrize("rho", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("std", [0.0, 0.3, "mixed"])
@pytest.mark.parametrize("guide", ["interpolation", "jacobian"])
def test_of_gaussian_data_they_are_the_exact_conditional_predictor(guide, std, rho):
    oracle = one_regime()
    std = torch.tensor([0.0, 0.5, 0.0, 0.1, 0.2]).double() if std == "mixed" else std
    observation = Observation(SEEN, VALUES, std)
    guided = observe(oracle, observation, Gaussian(), guide, oracle.covariance(), directions=5)
    y, level = states(rho)
    expected = oracle.given(observation)(y, level, {})
    # a finite difference of step 0.01 rho loses two digits, and the smallest rho as many again
    torch.testing.assert_close(guided(y, level, {}), expected, rtol=0, atol=1e-10 if guide == "interpolation" else 1e-9)


@pytest.mark.parametrize("noise", LAWS, ids=str)
@pytest.mark.parametrize("discretisation", ["ei-noise", "ei-data", "2m-data"])
@pytest.mark.parametrize("guide", ["interpolation", "jacobian", "projection"])
def test_exact_values_are_met_to_rounding_in_five_steps(guide, noise, discretisation):
    if guide == "jacobian" and not getattr(noise, "isotropic", True):
        return  # refused: coordinates have no A in common
    predictor = Scale(Gaussian(), 1.0) if isinstance(noise, StudentT) else Scale(noise, 1.0)
    guided = observe(predictor, EXACT, noise, guide, one_regime().covariance())
    drawn = draw(guided, table(5, discretisation, noise.exponent), noise, 30)
    torch.testing.assert_close(SEEN.apply(drawn), VALUES.expand(30, -1), rtol=0, atol=1e-9)


def test_exact_values_of_several_instruments_at_once_are_met():
    shape = (1, 4, 4)
    cells = torch.zeros(shape, dtype=torch.bool)
    cells[0, 0, 1] = cells[0, 3, 3] = True
    at = torch.tensor([[0.5, 3.5], [2.0, 0.25]])
    operator = Stack((mask(cells), block_mean(shape, (2, 2)), points(shape, at, wrap=True)))
    values = operator.apply(FIELD.view(1, *shape))
    oracle = one_regime()
    guided = observe(oracle, Observation(operator, values[0]), Gaussian(), covariance=oracle.covariance())
    drawn = draw(guided, table(5), Gaussian(), 30, shape)
    torch.testing.assert_close(operator.apply(drawn), values.expand(30, -1), rtol=0, atol=1e-9)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("noise", [Gaussian(), Stable(1.7), StudentT(5.0)], ids=str)
def test_every_table_goes_with_observations(family, noise):
    oracle = one_regime(noise, 4.0, 16) if isinstance(noise, StudentT) else Scale(noise)
    guided = observe(oracle, EXACT, noise, covariance=one_regime().covariance())
    if isinstance(noise, StudentT) and family == "posterior":
        return  # has no such form without observations either
    for discretisation in (d for d in discretisations_of(family) if DISCRETISATIONS[d].order is not None):
        solver = Solver(family, discretisation, "karras", 6, eta=0.3, rho_max=20, rho_min=0.02, denoise=True)
        steps = tabulate(solver, SCHEDULES["cosine"](noise.exponent))
        drawn = sample(guided, steps, noise, 0, range(4), (D,), {})
        assert drawn.isfinite().all()
        if DISCRETISATIONS[discretisation].predicts == "data" and family != "posterior":
            torch.testing.assert_close(SEEN.apply(drawn), VALUES.float().expand(4, -1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", ["2m", "sscs"])
def test_phase_space_goes_with_observations(name):
    guided = observe(Scale(Gaussian()), EXACT, Gaussian(), covariance=one_regime().covariance())
    drawn = sample_phase(guided, PhasePath(), Integrator(name), 8, Gaussian(), 0, range(3), (D,), {})
    torch.testing.assert_close(SEEN.apply(drawn), VALUES.float().expand(3, -1), rtol=0, atol=1e-4)


@pytest.mark.parametrize("guide", OBSERVATION_GUIDES)
def test_without_observed_values_it_is_the_unconditional_sampler_bit_for_bit(guide):
    nothing = Observation(mask(torch.zeros(D, dtype=torch.bool)), torch.zeros(0))
    oracle = three_regimes()
    guided = observe(oracle, nothing, Gaussian(), guide, oracle.covariance())
    plain = sample(oracle, table(5), Gaussian(), 0, range(8), (D,), {})
    assert torch.equal(sample(guided, table(5), Gaussian(), 0, range(8), (D,), {}), plain)


@pytest.mark.parametrize("noise", [Gaussian(), StudentT(5.0)], ids=str)
@pytest.mark.parametrize("guide", OBSERVATION_GUIDES)
@pytest.mark.parametrize("std", [0.0, 0.3])
def test_a_sample_does_not_depend_on_its_batch(guide, noise, std):
    oracle = one_regime(noise, 4.0, 16) if isinstance(noise, StudentT) else three_regimes()
    steps = table(5, "ei-noise", eta=0.5)
    values = SEEN.apply(one_regime().data(6, (D,), seed=7))

    def drawn(rows):
        guided = observe(oracle, Observation(SEEN, values[rows], std), noise, guide, oracle.covariance())
        return sample(guided, steps, noise, 0, rows, (D,), {})

    torch.testing.assert_close(drawn([1, 4]), drawn(list(range(6)))[[1, 4]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rho", [0.1, 1.0, 10.0])
def test_finite_differences_are_autograds_products_with_the_jacobian(rho):
    oracle = three_regimes()
    y, level = states(rho)
    u = torch.randn(len(y), D, generator=torch.Generator().manual_seed(1)).double()
    _, exact = torch.autograd.functional.jvp(lambda at: at - rho * oracle(at, level, {}), y, u)
    for dtype in (torch.float64, torch.float32):
        at, single = y.to(dtype), level.to(dtype)
        by_difference = push_forward(oracle, at, single, {}, oracle(at, single, {}), u)
        assert (by_difference - exact).norm() < 0.01 * exact.norm()


def test_pigdm_is_its_formula_with_the_exact_jacobian():
    oracle, rho = one_regime(), 0.7
    y, level = states(rho)
    j = torch.linalg.solve(torch.linalg.inv(oracle.scatters[0]) + torch.eye(D) / rho**2, torch.eye(D).double()) / rho**2
    eps_hat = oracle(y, level, {})
    residual = EXACT.residual(y - rho * eps_hat)
    expected = eps_hat - (1 + rho**2) / rho * SEEN.adjoint(residual) @ j
    guided = observe(oracle, EXACT, Gaussian(), "pigdm")
    torch.testing.assert_close(guided(y, level, {}), expected)


@cache
def end_at(discretisation, steps):
    """Where 10 samples are at rho 0.1."""
    oracle = three_regimes()
    guided = observe(oracle, EXACT, Gaussian(), covariance=oracle.covariance())
    solver = Solver("ode", discretisation, "uniform-log-rho", steps, rho_max=20, rho_min=0.1)
    return draw(guided, tabulate(solver, SCHEDULES["cosine"](2.0)), Gaussian(), 10)


@pytest.mark.parametrize(("discretisation", "order"), [("ei-noise", 1), ("2m-data", 2), ("heun", 2)])
def test_tables_keep_their_order_of_convergence(discretisation, order):
    coarse, finer = (float((end_at(discretisation, steps) - end_at("heun", 800)).norm()) for steps in (60, 120))
    assert abs(log2(coarse / finer) - order) < 0.3


class Counting:
    """Counts evaluations per row of a batch; a backward pass through it counts as two."""

    def __init__(self, predictor):
        self.predictor, self.calls = predictor, 0

    def __call__(self, y, rho, cond):
        self.calls += 1
        eps_hat = self.predictor(y, rho, cond)
        if eps_hat.requires_grad:
            eps_hat.register_hook(self.count_backward)
        return eps_hat

    def count_backward(self, gradient):
        self.calls += 2


@pytest.mark.parametrize("std", [0.0, 0.3])
@pytest.mark.parametrize("noise", [Gaussian(), Stable(1.7)], ids=str)
@pytest.mark.parametrize("guide", OBSERVATION_GUIDES)
def test_a_guide_says_how_many_evaluations_it_costs(guide, noise, std):
    counting = Counting(Scale(Gaussian()))
    guided = observe(counting, Observation(SEEN, VALUES, std), noise, guide, one_regime().covariance())
    y, rho = states(1.0)
    guided(y, rho, {})
    assert counting.calls == guided.evaluations


class OwnMixing(Scale):
    """Refuses an eps_hat that is not its own, as its divergence is a difference to it."""

    def mixing(self, y, rho, cond, eps_hat, probe):
        torch.testing.assert_close(eps_hat, self(y, rho, cond))
        return torch.ones(len(y)).to(y)


def test_the_mixing_variable_is_asked_for_with_the_prediction_that_it_belongs_to():
    guided = observe(OwnMixing(Gaussian()), EXACT, StudentT(5.0), covariance=one_regime().covariance())
    assert sample(guided, table(5, "ei-noise", eta=0.5), StudentT(5.0), 0, range(3), (D,), {}).isfinite().all()


def test_values_of_one_kind_in_other_units_change_nothing():
    oracle = one_regime()
    plain = observe(oracle, EXACT, Gaussian(), covariance=oracle.covariance())
    y, rho = states(1.0)
    seen = SEEN.weights.clone()
    seen[::2] = 1e6
    other = type(SEEN)(SEEN.shape, SEEN.cells, seen)
    scaled = observe(oracle, Observation(other, VALUES * seen[:, 0]), Gaussian(), covariance=oracle.covariance())
    torch.testing.assert_close(scaled(y, rho, {}), plain(y, rho, {}))


def test_a_value_given_twice_counts_once():
    oracle = one_regime()
    twice = Observation(Stack((SEEN, SEEN)), torch.cat([VALUES, VALUES]))
    y, rho = states(1.0)
    for guide in ("interpolation", "jacobian", "projection"):
        plain = observe(oracle, EXACT, Gaussian(), guide, oracle.covariance(), 5)(y, rho, {})
        torch.testing.assert_close(observe(oracle, twice, Gaussian(), guide, oracle.covariance(), 5)(y, rho, {}), plain, rtol=0, atol=1e-8)  # fmt: skip


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda o: observe(o, EXACT, Gaussian(), "dps"), "unknown guide towards observations 'dps'"),
        (lambda o: observe(o, EXACT, Gaussian()), "needs the data's covariance"),
        (lambda o: observe(o, EXACT, Gaussian(), "jacobian", directions=0), "needs at least 1"),
        (lambda o: observe(o, EXACT, Stable(1.7, isotropic=False), "jacobian"), "choose interpolation"),
        (
            lambda o: observe(
                o, EXACT, Gaussian(), covariance=Covariance(torch.zeros(4), torch.zeros(4, 0), torch.ones(4))
            ),
            r"covariance is that of 4 values, but the observed samples have shape \[16\]",
        ),
        (
            lambda o: observe(o, Observation(SEEN, VALUES.expand(3, -1)), Gaussian(), covariance=UNIT)(
                *states(1.0), {}
            ),
            "for 3 samples, but 20 are drawn",
        ),
    ],
)
def test_guides_refuse_what_does_not_fit(make, says):
    with pytest.raises(LevyError, match=says):
        make(one_regime())
