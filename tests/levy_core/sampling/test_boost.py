"""Boost-and-Skip: a factor of the starting noise. It changes the law on purpose, and says so."""

import pytest
import torch

from levy_core.base.conditions import of_labels
from levy_core.base.errors import LevyError
from levy_core.base.seeds import Streams
from levy_core.process.noise import Gaussian, Stable, StudentT
from levy_core.process.schedule import Exploding
from levy_core.sampling.loop import begin, sample
from levy_core.sampling.oracles import nine_modes
from levy_core.sampling.solver import Solver, tabulate

PLAIN = {"rho_max": 3.0, "rho_min": 0.02}


def start(boost, family="ode", noise=None):
    table = tabulate(Solver(family, "ei-noise", "karras", 4, boost=boost, **PLAIN), Exploding(2.0))
    return begin(table, noise or Gaussian(), streams(), (3,))[0]


def streams():
    return Streams.of_samples(0, "sample", range(5))


@pytest.mark.parametrize("noise", [Gaussian(), Stable(1.5), StudentT(3.0)])
def test_at_boost_1_sampling_starts_at_rho_max_times_the_noise_bit_for_bit_and_others_are_multiples(noise):
    assert torch.equal(start(1.0, noise=noise), 3.0 * noise.sample((3,), streams()))
    assert torch.equal(start(4.0, noise=noise), 4 * start(1.0, noise=noise))
    assert torch.allclose(start(1.5, noise=noise), 1.5 * start(1.0, noise=noise), rtol=1e-6)


def test_ancestral_sampling_is_boosted_too():
    assert torch.equal(start(2.0, "posterior"), 2 * start(1.0, "posterior"))


@pytest.mark.parametrize("noise", [Gaussian(), Stable(1.5)])
def test_outlying_modes_gain_and_inner_ones_lose_whether_rare_or_not(noise):
    n, oracle = 2000, nine_modes(noise)

    def shares(boost):
        solver = Solver("ode", "2m-data", "uniform-log-rho", 20, denoise=True, boost=boost, **PLAIN)
        return oracle.shares(
            sample(
                oracle, tabulate(solver, Exploding(noise.exponent)), noise, 0, range(n), (2,), of_labels(torch.zeros(n))
            )
        )

    plain, boosted = shares(1.0), shares(2.0)
    rare_corner, centre = 8, 4  # 1 % and 8 %
    # standard errors of the differences at most 0.006; measured gains 0.02 and more, losses 0.06
    assert boosted[rare_corner] > plain[rare_corner] + 0.012
    assert boosted[centre] < plain[centre] - 0.03


def test_a_boost_stands_in_the_label_and_is_a_positive_number():
    solver = Solver("ode", "3m-data", "karras", 10, rho_max=5.0, boost=1.5)
    assert solver.label == "ODE 3m-data, karras, rho from 5, boost 1.5"
    assert Solver("ode", "3m-data", "karras", 10, boost=1.0).label == "ODE 3m-data, karras"
    for boost in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(
            LevyError, match=f"boost is {boost}, but the factor of the starting noise must be a positive, finite number"
        ):
            Solver("ode", "3m-data", "karras", 10, boost=boost)
