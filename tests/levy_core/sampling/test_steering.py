"""Steered particles: unbiased under every noise law, less spread than counting, and without a potential the sampler of before."""

import pytest
import torch

from levy_core.base.conditions import LABEL, of_labels
from levy_core.base.errors import LevyError
from levy_core.observations.oracles import Mixture
from levy_core.process.noise import Gaussian, Stable, StudentT
from levy_core.process.schedule import Exploding
from levy_core.sampling.loop import sample
from levy_core.sampling.oracles import Student, nine_modes
from levy_core.sampling.solver import Solver, tabulate
from levy_core.sampling.steering import steer

MODES = nine_modes(Gaussian())
MEANS = torch.tensor(MODES.means, dtype=torch.float64)
RARE, SHARE, N, RUNS = 8, 0.01, 400, 20


def oracle_of(noise):
    """The nine modes under any noise."""
    if not isinstance(noise, StudentT):
        return nine_modes(noise)
    scatters = MODES.s**2 * torch.eye(2, dtype=torch.float64).expand(9, 2, 2)
    return Mixture(noise, MEANS, scatters, torch.tensor(MODES.weights, dtype=torch.float64), size=32)


def table(noise, steps=40, **changes):
    solver = {"eta": 0.5, "rho_max": 30.0, "rho_min": 0.01, "denoise": True, **changes}
    return tabulate(Solver("sde-e", "3m-data", "uniform-log-rho", steps, **solver), Exploding(noise.exponent))


def towards_the_rare(x0, start):
    """log h: falls with the distance from the rarest mode."""
    return -3.0 * (x0.double() - MEANS[RARE]).norm(dim=1).clamp(max=2.9)


def estimate(noise, run, potential=towards_the_rare):
    """The rare mode's probability by one system, and the share of steered particles in it."""
    drawn = steer(oracle_of(noise), table(noise), noise, potential, run, range(N), (2,), {})
    inside = (torch.cdist(drawn.samples.double(), MEANS).argmin(1) == RARE).double()
    share = float((torch.softmax(drawn.log_weights + drawn.log_h, 0) * inside).sum())
    return float((drawn.log_weights.exp() * inside).mean()), share


@pytest.mark.parametrize("noise", [Gaussian(), StudentT(5.0)])
def test_the_rare_mode_has_its_probability_with_half_the_variance_of_counting_or_less(noise):
    found, shares = map(torch.tensor, zip(*(estimate(noise, run) for run in range(RUNS)), strict=True))
    assert shares.mean() > 20 * SHARE
    # A mean of 20 with the bounded variance is 4 of its standard errors off once in 16,000 runs, were the seeds free.
    counting = SHARE * (1 - SHARE) / N
    assert abs(float(found.mean()) - SHARE) < 4 * (counting / 2 / RUNS) ** 0.5
    assert float(found.var()) < counting / 2


def test_under_stable_noise_a_gentle_potential_is_unbiased_too():
    """Jumps take particles into the mode at the last moment, with the weight that they had: half the strength is enough."""
    noise, runs = Stable(1.5), 12
    gently, nowhere = lambda x0, start: towards_the_rare(x0, start) / 2, lambda x0, start: torch.zeros(len(x0))
    (found, shares), (counted, _) = (
        map(torch.tensor, zip(*(estimate(noise, run, h) for run in range(runs)), strict=True))
        for h in (gently, nowhere)
    )
    assert shares.mean() > 10 * SHARE
    # Both have the sampler's own share: a difference of 4 standard errors is a false alarm once in 16,000 runs, were the seeds free.
    assert abs(float(found.mean() - counted.mean())) < 4 * float((found.var() + counted.var()) / runs) ** 0.5
    assert float(found.mean()) == pytest.approx(SHARE, rel=0.5)


@pytest.mark.parametrize("noise", [Gaussian(), Stable(1.5), StudentT(5.0)])
def test_without_a_potential_it_is_the_sampler_of_before_bit_for_bit(noise):
    oracle, steps = (Student(noise, 4.0) if isinstance(noise, StudentT) else nine_modes(noise)), table(noise, 8)
    drawn = steer(oracle, steps, noise, lambda x0, start: torch.zeros(len(x0)), 3, range(5, 65), (2,), {}, batch=7)
    assert torch.equal(drawn.samples, sample(oracle, steps, noise, 3, range(5, 65), (2,), {}))
    assert torch.equal(drawn.start, torch.arange(60))
    assert torch.equal(drawn.log_weights, torch.zeros(60, dtype=torch.float64))
    assert drawn.resamplings == 0


def test_particles_keep_the_condition_that_they_started_with():
    noise = Gaussian()

    class TwoClasses:
        def __call__(self, y, rho, cond):
            towards = cond[LABEL].to(y)[:, None] * 4 - 2  # all of a class lie in one point
            return (y - towards) / rho[:, None]

    labels = of_labels(torch.arange(40) % 2)
    right = lambda x0, start: 1.0 * x0[:, 0].double()
    drawn = steer(TwoClasses(), table(noise, 20), noise, right, 0, range(40), (2,), labels, resample_below=0.9)
    assert drawn.resamplings > 0
    assert torch.allclose(drawn.samples[:, 0], 4.0 * (drawn.start % 2) - 2, atol=1e-4)
    assert float((drawn.samples[:, 0] > 0).double().mean()) > 0.9
    assert float((drawn.log_weights.exp() * (drawn.samples[:, 0] > 0)).mean()) == pytest.approx(0.5, rel=0.05)


def test_the_mean_of_the_weights_is_that_of_1_and_a_system_is_a_function_of_its_seed():
    noise = Gaussian()
    one, again, other = (
        steer(oracle_of(noise), table(noise, 20), noise, towards_the_rare, seed, range(100), (2,), {}, batch=batch)
        for seed, batch in ((0, 250), (0, 33), (1, 250))
    )
    for name in ("samples", "start", "log_weights", "log_h"):
        assert torch.equal(getattr(one, name), getattr(again, name)), name
        assert not torch.equal(getattr(one, name), getattr(other, name)), name
    assert len(one.effective) == 21
    assert torch.allclose(one.log_h, towards_the_rare(one.samples, None))


@pytest.mark.parametrize(
    ("solver", "message"),
    [
        (Solver("ode", "ei-noise", "karras", 4), "no noise comes back in this table"),
        (Solver("sde-e", "ei-noise", "karras", 4, eta=0.0), "copies of a particle would stay copies"),
        (Solver("posterior", "ei-noise", "karras", 4), "choose sde-e with an eta above 0"),
        (Solver("sde-e", "ei-noise", "karras", 4, eta=0.5, boost=2.0), "without a boost"),
    ],
)
def test_what_cannot_be_steered_is_refused(solver, message):
    steps = tabulate(solver, Exploding(2.0))
    with pytest.raises(LevyError, match=message):
        steer(MODES, steps, Gaussian(), towards_the_rare, 0, range(4), (2,), {})


def test_a_potential_that_is_not_finite_is_refused():
    with pytest.raises(LevyError, match="the potential is NaN or infinite"):
        steer(MODES, table(Gaussian(), 4), Gaussian(), lambda x0, start: x0[:, 0].double().log(), 0, range(4), (2,), {})
