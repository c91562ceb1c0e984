"""C-PiGDM: a step is the exact flow of VP with what is frozen, and it samples another law than the posterior."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad, solve_ivp

from levy_core.observations.conjugate import BETA, END, EVALUATIONS, START, Conjugate, sample_conjugate, vp_levels
from levy_core.observations.guides import observe
from levy_core.observations.observation import Observation
from levy_core.observations.operators import Matrix, block_mean
from levy_core.process.noise import Gaussian
from tests.support.observed import SEEN, D, compare, draw, observe_each, one_regime, table, three_regimes

SIZE, ROWS = 6, 3


def exact_step(h, o, std, w, y, rho, to, eps, gradient):
    """The flow in x = a y, integrated as it stands in the paper's coordinates, with eps_hat and the gradient in x frozen."""
    _, s, vt = np.linalg.svd(h, full_matrices=False)
    u = h @ vt.T / s
    a = lambda q: (1 + q * q) ** -0.5
    of_x = gradient / a(rho)  # (d eps / dx)^T of the residual

    def flow(q, x):
        r2 = q * q / (1 + q * q)
        missing = (u.T @ o) / s - vt @ (x / a(q) - q * eps)
        seen = vt.T @ (r2 * s**2 / (r2 * s**2 + std**2) * missing)
        pulled = seen - q * a(q) * of_x
        return -q * a(q) ** 2 * x + a(q) * (eps - w * q / (1 + q * q) * pulled)

    found = solve_ivp(flow, (rho, to), a(rho) * y, method="DOP853", rtol=1e-12, atol=1e-13)
    return found.y[:, -1] / a(to)


@pytest.mark.parametrize(("rho", "to"), [(6.1, 3.0), (1.2, 0.4), (0.1, 0.0105)])
@pytest.mark.parametrize("std", [0.0, 0.3])
@pytest.mark.parametrize("w", [2.0, 15.0])
def test_a_step_is_the_flow_of_the_published_coordinates(w, std, rho, to):
    g = torch.Generator().manual_seed(0)
    h, o, y, eps, gradient = (
        torch.randn(*shape, generator=g).double() for shape in ((ROWS, SIZE), (ROWS,), (SIZE,), (SIZE,), (SIZE,))
    )
    integrator = Conjugate(Observation(Matrix(h), o, std), w)
    found = integrator.step(y[None], rho, to, eps[None], gradient[None])[0].numpy()
    expected = exact_step(
        *(t.numpy() for t in (h, o)), std, w, *(t.numpy() for t in (y,)), rho, to, eps.numpy(), gradient.numpy()
    )
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


def published_step(h, o, std, w, x, t, to, eps, gradient):
    """As the paper takes it: in x over VP's time, ``A x`` moves by eps, the values and the gradient (in x), each times an integral of its own.

    ``A`` is ``exp(int beta (1 - w share) / 2)``, share that of PiGDM's weight which the error of the values leaves to a direction; unseen ones
    have none.
    """
    _, s, vt = np.linalg.svd(h, full_matrices=False)
    u = h @ vt.T / s
    beta = lambda time: BETA[0] + (BETA[1] - BETA[0]) * time
    whole = lambda time: BETA[0] * time + (BETA[1] - BETA[0]) * time**2 / 2
    mu, sigma = lambda time: np.exp(-whole(time) / 2), lambda time: np.sqrt(-np.expm1(-whole(time)))

    def moved(share, along, value, eps, gradient):
        pulled = lambda time: quad(lambda q: beta(q) / 2 * share(q), 0, time, epsabs=1e-15, epsrel=1e-13)[0]
        a = lambda time: np.exp(whole(time) / 2 - w * pulled(time))
        over = lambda f: quad(lambda q: a(q) * beta(q) / 2 * f(q), t, to, epsabs=1e-14, epsrel=1e-13)[0]
        of_eps = over(lambda q: 1 / sigma(q) - w * sigma(q) * share(q))
        of_value, of_gradient = over(lambda q: -w * mu(q) * share(q)), over(lambda q: w * mu(q) * sigma(q))
        return (a(t) * along + of_eps * eps + of_value * value + of_gradient * gradient) / a(to)

    unseen = lambda v: v - vt.T @ (vt @ v)
    after = moved(lambda q: 0.0, unseen(x), 0.0, unseen(eps), unseen(gradient))
    for size, left, axis in zip(s, u.T, vt, strict=True):
        share = lambda q, seen=size**2: seen * sigma(q) ** 2 / (seen * sigma(q) ** 2 + std**2)
        after = after + axis * moved(share, axis @ x, left @ o / size, axis @ eps, axis @ gradient)
    return after


@pytest.mark.parametrize("step", [0, 2, 4])
@pytest.mark.parametrize("std", [0.0, 0.3])
@pytest.mark.parametrize("w", [2.0, 15.0])
def test_steps_are_the_published_ones(w, std, step):
    g = torch.Generator().manual_seed(1)
    h, o, y, eps, gradient = (
        torch.randn(*shape, generator=g).double() for shape in ((ROWS, SIZE), (ROWS,), (SIZE,), (SIZE,), (SIZE,))
    )
    times, levels = np.linspace(START, END, 6), vp_levels(5).tolist()
    t, to, rho, at_end = times[step], times[step + 1], levels[step], levels[step + 1]
    mu = lambda rho: (1 + rho**2) ** -0.5
    found = Conjugate(Observation(Matrix(h), o, std), w).step(y[None], rho, at_end, eps[None], gradient[None])[0]
    given = [v.numpy() for v in (mu(rho) * y, eps, gradient / mu(rho))]
    expected = published_step(h.numpy(), o.numpy(), std, w, given[0], t, to, *given[1:])
    np.testing.assert_allclose(mu(at_end) * found.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_without_guidance_a_step_is_that_of_the_ode():
    operator = block_mean((1, 4, 4), (2, 2))
    integrator = Conjugate(Observation(operator, torch.ones(4)), 0.0)
    y, eps, gradient = (torch.randn(3, 1, 4, 4, generator=torch.Generator().manual_seed(i)).double() for i in range(3))
    torch.testing.assert_close(integrator.step(y, 2.0, 0.5, eps, gradient), y - 1.5 * eps)


def test_the_levels_are_the_published_ones():
    levels = vp_levels(5)
    assert levels[0] == pytest.approx(6.1, abs=0.01)
    assert levels[-1] == pytest.approx(0.0105, abs=1e-4)
    assert (levels.diff() < 0).all()


def apart(oracle, weight, steps):
    """Energy distance from exact posteriors, in units of their width: of C-PiGDM, and of the default guide."""
    count, n = 6, 300
    fields = oracle.data(count, (D,), seed=5)
    observation, laws = observe_each(oracle, n, fields)
    guided = observe(oracle, observation, Gaussian(), "interpolation", oracle.covariance())
    usual = draw(guided, table(steps), Gaussian(), n * count)
    own = sample_conjugate(oracle, observation, weight, vp_levels(steps), 0, range(n * count), {})
    means = lambda drawn: np.mean([compare(x, law)[0] for x, law in zip(drawn.split(n), laws, strict=True)])
    return means(own), means(usual)


@pytest.mark.parametrize(
    ("oracle", "weight", "low", "high"),
    [(one_regime(), 15.0, 0.01, 0.08), (three_regimes(), 8.0, 0.1, 0.5), (three_regimes(), 15.0, 0.04, 0.2)],
    ids=["one regime", "three regimes", "three regimes, heavier"],
)
def test_it_samples_another_law_which_more_steps_do_not_cure(oracle, weight, low, high):
    own, usual = apart(oracle, weight, 10)
    assert low < own < high
    assert usual < own / 2


@pytest.mark.parametrize(
    ("weight", "elsewhere"), [(8.0, (0.035, 0.012, 0.006, 0.004)), (15.0, (0.064, 0.030, 0.014, 0.007))]
)
def test_distances_given_means_are_those_of_an_independent_implementation(weight, elsewhere):
    # of the same law and the same four means of four, there over 20 to 32 other observations, at 5, 10, 20 and 50 steps. Within three
    # standard errors of the difference, and 0.005 of samples: of other seeds about one row in 400 would fail
    oracle, operator, count, n = one_regime(), block_mean((1, 1, D), (1, 4)), 16, 200
    values = operator.apply(oracle.data(count, operator.shape, seed=5))
    laws = [oracle.given(Observation(operator, v)) for v in values]
    observation = Observation(operator, values.repeat_interleave(n, 0))
    flat = lambda y, rho, cond: oracle(y.flatten(1), rho, cond).view_as(y)
    for steps, expected in zip((5, 10, 20, 50), elsewhere, strict=True):
        drawn = sample_conjugate(flat, observation, weight, vp_levels(steps), 0, range(n * count), {}).flatten(1)
        found = [compare(x, law)[0] for x, law in zip(drawn.split(n), laws, strict=True)]
        assert abs(np.mean(found) - expected) < 3 * np.std(found, ddof=1) * (1 / count + 1 / 20) ** 0.5 + 0.005


def test_a_step_is_one_evaluation_and_a_backward_pass_which_counts_as_two():
    asked = []

    def counted(y, rho, cond):
        asked.append("evaluation")
        eps_hat = y / (1 + rho[:, None] ** 2)
        eps_hat.register_hook(lambda gradient: asked.append("backward"))
        return eps_hat

    sample_conjugate(counted, Observation(SEEN, torch.ones(5)), 2.0, vp_levels(4), 0, range(2), {})
    assert asked == ["evaluation", "backward"] * 4
    assert EVALUATIONS == 1 + 2
