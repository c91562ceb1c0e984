"""Corrected guidance: shares that are known exactly, for every noise law, and where the weights are wrong or refused."""

from dataclasses import dataclass

import pytest
import torch

from levy_core.base.conditions import LABEL, of_labels
from levy_core.base.errors import LevyError, NotFiniteError
from levy_core.base.seeds import generator
from levy_core.process.noise import Gaussian, Stable
from levy_core.process.parametrisation import Predictor
from levy_core.process.schedule import Exploding
from levy_core.sampling.guidance import ClassifierFree, Interval
from levy_core.sampling.loop import sample
from levy_core.sampling.oracles import Modes, nine_modes
from levy_core.sampling.particles import effective_share, resample, sample_corrected
from levy_core.sampling.solver import Solver, tabulate

CLASS, NOTHING = of_labels(torch.zeros(1, dtype=torch.long)), {LABEL: torch.tensor(1)}
N = 1500


def weights_of(values):
    return torch.tensor(values, dtype=torch.float64) / sum(values)


EVERYTHING = torch.tensor(nine_modes(Gaussian()).weights, dtype=torch.float64)
GENTLE, STRONG = weights_of(EVERYTHING.sqrt().tolist()), weights_of([1, 1, 2, 2, 2, 2, 3, 3, 4])


@dataclass
class TwoMixtures:
    """The nine modes without a class, and with other weights for the only class; as if the noise were Gaussian, where asked."""

    noise: object
    of_class: torch.Tensor
    as_gaussian: bool = False

    def both(self, y, rho, cond):
        modes = nine_modes(self.noise)
        if int(cond[LABEL][0]) == 0:
            modes = Modes(self.noise, modes.means, tuple(self.of_class.tolist()), modes.s)
        eps_hat, score = modes.both(y, rho, cond)
        return (eps_hat, -eps_hat / rho[:, None]) if self.as_gaussian else (eps_hat, score)

    def __call__(self, y, rho, cond):
        return self.both(y, rho, cond)[0]


def table(noise, steps=40, **changes):
    ends = {"rho_max": 30.0, "rho_min": 0.01, "denoise": True}
    return tabulate(
        Solver("ode", "2m-data", "uniform-log-rho", steps, **{**ends, **changes}), Exploding(noise.exponent)
    )


def draw(predictor, noise, w, resample_below, n=N, seed=0, **changes):
    return sample_corrected(
        predictor, table(noise), noise, seed, n, (2,), CLASS, NOTHING, w, resample_below, **changes
    )  # fmt: skip


def shares(particles):
    means = torch.tensor(nine_modes(Gaussian()).means, dtype=torch.float64)
    nearest = torch.cdist(particles.samples.double(), means).argmin(1)
    return torch.zeros(9, dtype=torch.float64).index_add_(0, nearest, particles.log_weights.exp())


def variation(found, of_class, w):
    target = EVERYTHING ** (1 - w) * of_class**w
    return float((found - target / target.sum()).abs().sum() / 2)


# The total variation of 1,500 draws of nine modes from their law is 0.027 +- 0.007; of weighted ones with an effective share
# of 0.5, 0.038 +- 0.01. The bounds are 4 deviations above.
@pytest.mark.parametrize(("noise", "w"), [(Stable(1.5), 2.0), (Stable(1.5), 3.0), (Gaussian(), 3.0)])
def test_weights_make_of_guidance_the_product_of_powers(noise, w):
    particles = draw(TwoMixtures(noise, GENTLE), noise, w, 0.0)
    unweighted = nine_modes(noise).shares(particles.samples)
    assert particles.resamplings == 0
    assert particles.effective[-1] > 0.4
    assert variation(shares(particles), GENTLE, w) < 0.08
    assert variation(nine_modes(noise).shares(particles.resampled), GENTLE, w) < 0.09
    assert w == 2.0 or variation(unweighted, GENTLE, w) > 0.1  # guidance alone


@pytest.mark.parametrize("w", [2.0, 3.0])
def test_a_score_that_is_the_gaussian_one_gives_all_weight_to_one_particle_under_stable_noise(w):
    particles = draw(TwoMixtures(Stable(1.5), GENTLE, as_gaussian=True), Stable(1.5), w, 0.0)
    assert particles.effective[-1] < 2 / N
    assert variation(shares(particles), GENTLE, w) > 0.5


def test_resampling_keeps_the_particles_that_count():
    noise = Stable(1.5)
    kept, drawn = (draw(TwoMixtures(noise, STRONG), noise, 3.0, below) for below in (0.0, 0.5))
    assert kept.effective[-1] < 0.05 < 0.5 < drawn.effective[-1]
    assert drawn.resamplings > 2
    assert variation(shares(drawn), STRONG, 3.0) < 0.08
    assert float(drawn.log_weights.exp().sum()) == pytest.approx(1)


@pytest.mark.parametrize("w", [0.0, 1.0])
def test_without_anything_to_correct_it_is_the_sampler_of_before_bit_for_bit(w):
    noise, oracle = Stable(1.5), TwoMixtures(Stable(1.5), STRONG)
    particles = draw(oracle, noise, w, 0.5, n=60, batch=7)
    guided = ClassifierFree(oracle, w, Interval(), NOTHING)
    plain = sample(guided, table(noise), noise, 0, range(60), (2,), of_labels(torch.zeros(60, dtype=torch.long)))
    assert torch.equal(particles.samples, plain)
    assert min(particles.effective) == pytest.approx(1)
    assert torch.equal(particles.resampled, plain)  # systematic: each once


def test_a_system_is_a_function_of_its_seed_and_not_of_the_parts_in_which_the_network_sees_it():
    noise, oracle = Stable(1.5), TwoMixtures(Stable(1.5), STRONG)
    one, parts, other = (draw(oracle, noise, 3.0, 0.9, n=50, seed=s, batch=b) for s, b in ((1, 250), (1, 7), (2, 250)))
    assert one.resamplings > 0
    for name in ("samples", "log_weights", "resampled"):
        assert torch.equal(getattr(one, name), getattr(parts, name)), name
        assert not torch.equal(getattr(one, name), getattr(other, name)), name


def test_systematic_resampling_rounds_each_share_up_or_down_and_favours_none():
    log_w = torch.log(torch.tensor([0.05, 0.31, 0.0, 0.44, 0.2], dtype=torch.float64)) + 700
    counts = torch.stack([torch.bincount(resample(log_w, generator(k)), minlength=5) for k in range(4000)]).double()
    expected = 5 * torch.softmax(log_w, 0)
    assert ((counts - expected).abs() < 1).all()
    # 5 means of 4,000 counts with deviation 0.5 at most, at 4.4 sigma: one false alarm in 18,000 runs, were the seeds free
    assert torch.allclose(counts.mean(0), expected, atol=4.4 * 0.5 / 4000**0.5)


def test_the_effective_share_is_1_of_equal_weights_and_1_over_n_of_a_single_one():
    assert effective_share(torch.full((40,), -3000.0, dtype=torch.float64)) == pytest.approx(1)
    assert effective_share(torch.tensor([0.0, -900.0, -900.0, -900.0], dtype=torch.float64)) == pytest.approx(0.25)


@pytest.mark.parametrize(
    "solver",
    [
        Solver("sde-e", "ei-noise", "karras", 4, 0.5),
        Solver("posterior", "ei-noise", "karras", 4),
        Solver("ode", "ei-noise", "karras", 4, limit="clamp"),
        Solver("ode", "ei-noise", "karras", 4, boost=2.0),
    ],
)
def test_what_is_not_the_flow_from_its_own_start_has_no_such_weights(solver):
    steps = tabulate(solver, Exploding(2.0))
    with pytest.raises(LevyError, match="weights belong to the flow itself"):
        sample_corrected(TwoMixtures(Gaussian(), GENTLE), steps, Gaussian(), 0, 4, (2,), CLASS, NOTHING, 2.0)


def test_what_cannot_be_weighed_is_refused():
    noise = Stable(1.5)
    given = (table(noise, 4), noise, 0, 4, (2,))
    two = of_labels(torch.tensor([0, 1]))
    with pytest.raises(LevyError, match=r"the condition has 2 rows of label.*draw one system per class"):
        sample_corrected(TwoMixtures(noise, GENTLE), *given, two, NOTHING, 2.0)
    without = Predictor(lambda x, log_rho, cond: x, "noise", noise)
    with pytest.raises(LevyError, match="train the design with score_head: true"):
        sample_corrected(without, *given, CLASS, NOTHING, 2.0)

    class Broken(TwoMixtures):
        def both(self, y, rho, cond):
            eps_hat, score = super().both(y, rho, cond)
            return eps_hat, score * float("nan")

    with pytest.raises(NotFiniteError, match="the score is NaN or infinite at step 1 of 4"):
        sample_corrected(Broken(noise, GENTLE), *given, CLASS, NOTHING, 2.0)
