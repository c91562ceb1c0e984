"""Probabilities of rare events: return periods lie within their intervals as often as they should, curves fall, too little is refused."""

import pytest
import torch
from scipy import stats

from levy_core.base.errors import LevyError
from levy_core.base.seeds import generator
from levy_core.process.noise import Gaussian, StudentT
from levy_core.sampling.events import Estimate, Excess, _choose_evenly, check_effective, find_strength
from levy_core.sampling.oracles import Scale, Student
from levy_core.sampling.steering import Steered, steer
from tests.support.steered import D, ensemble_of, first, table


def coverage(oracle, law, size, runs):
    """How often a return period of 1,000 samples lies within its interval, and all estimates of its probability."""
    threshold = float(law.isf(1e-3))
    found = [ensemble_of(oracle, threshold, size, seed).exceedance(threshold) for seed in range(runs)]
    return sum(1 / e.high <= 1000 <= 1 / e.low for e in found), torch.tensor([e.probability for e in found])


def test_a_return_period_of_1000_lies_within_its_interval_in_about_9_of_10_runs():
    """Gaussian fields, 400 particles. Were the coverage 0.85, 12 or fewer of 20 runs would come once in 170 tries, free of seeds."""
    hits, found = coverage(Scale(Gaussian()), stats.norm(), 40, 20)
    assert hits > 12
    assert float(found.var()) < 1e-3 / 400 / 2
    assert float(found.mean()) == pytest.approx(1e-3, rel=0.4)


@pytest.mark.long
def test_a_return_period_of_1000_of_a_student_t_field_lies_within_its_interval():
    """2,000 particles, noise with tails, too. Were the coverage 0.85, 35 or fewer of 50 runs would come once in 190 tries."""
    hits, found = coverage(Student(StudentT(5.0), 4.0), stats.t(4), 200, 50)
    assert hits > 35
    assert float(found.var()) < 1e-3 / 2000 / 2
    assert float(found.mean()) == pytest.approx(1e-3, rel=0.2)


@pytest.fixture(scope="module")
def gaussian():
    """Ten systems of 100 Gaussian fields about the threshold 3."""
    return ensemble_of(Scale(Gaussian()), 3.0, 100, 0)


def test_one_set_of_weights_has_a_curve_that_falls_and_holds_the_law(gaussian):
    thresholds = gaussian.thresholds(3.0)
    assert 3.0 in thresholds
    assert len(thresholds) > 5
    found = [gaussian.exceedance(t) for t in thresholds]
    curve = [e.probability for e in found]
    assert curve == sorted(curve, reverse=True)
    assert all(e.low < e.probability < e.high for e in found)
    # Thresholds of one set are off together. 2.8 half-widths are 5 standard errors of nine degrees of freedom: once in 1,300 tries.
    for t, e in zip(thresholds, found, strict=True):
        assert (
            abs(torch.tensor(e.probability / stats.norm.sf(t)).log()) < 2.8 * torch.tensor(e.high / e.probability).log()
        )


def test_a_table_begins_two_steps_below_the_event_where_intervals_still_hold(gaussian):
    thresholds = gaussian.thresholds(3.0)
    below, above = [t for t in thresholds if t < 3], [t for t in thresholds if t > 3]
    assert len(below) == 2
    assert len(above) > 3
    assert torch.tensor(thresholds).diff().tolist() == pytest.approx([above[0] - 3] * (len(thresholds) - 1), rel=1e-5)


def test_a_value_without_end_is_steered_only_once_there_is_a_strength():
    values = torch.tensor([-torch.inf, -1.0, 2.0], dtype=torch.float64)
    at = lambda strength: Excess(lambda x0, start: values, 1.0, strength)(values, torch.arange(3)).tolist()
    assert at(0.0) == [0.0, 0.0, 0.0]
    assert at(2.0) == [-500.0, -4.0, 0.0]


def test_a_strength_is_found_beside_values_without_end():
    g = generator(0, "values")
    values = torch.where(torch.rand(400, generator=g) < 0.3, -torch.inf, torch.randn(400, generator=g)).double()

    def draw(potential, k):
        log_h = potential(values, torch.arange(400))
        return Steered(values, torch.arange(400), -log_h * 0, log_h, (1.0,), 0)

    strength, pilots = find_strength(draw, lambda x0, start: x0, 2.0)
    assert 0 < strength < 100
    assert pilots > 1


def test_members_are_different_particles_in_the_event_of_as_many_starts_as_can_be(gaussian):
    system, row = gaussian.choose(3.0, 20, seed=0)
    assert (gaussian.values[system, row] > 3).all()
    assert len(set(zip(system.tolist(), row.tolist(), strict=True))) == 20
    starts = set(zip(system.tolist(), gaussian.start[system, row].tolist(), strict=True))
    assert len(starts) > 0.6 * min(20, gaussian.exceedance(3.0).effective)
    with pytest.raises(LevyError, match="1000 members of the event are asked for, but"):
        gaussian.choose(3.0, 1000, seed=0)


def test_what_is_chosen_evenly_has_its_share_and_is_never_chosen_twice():
    weights = torch.tensor([0.0, 5.0, 1.0, 1.0, 2.0, 0.0, 1.0], dtype=torch.float64)
    rows = [_choose_evenly(weights, 3, generator(k)) for k in range(4000)]
    assert all(len(set(chosen.tolist())) == 3 for chosen in rows)
    share = torch.stack([torch.bincount(chosen, minlength=7) for chosen in rows]).double().mean(0)
    # 5 of 10 for 3 places is more than one: it is always there, and the others share two places by their weights.
    expected = torch.tensor([0, 1, 0.4, 0.4, 0.8, 0, 0.4], dtype=torch.float64)
    # 4 means of 4,000 draws at 4.4 sigma: one false alarm in 20,000 runs, were the seeds free
    assert torch.allclose(share, expected, atol=4.4 * 0.5 / 4000**0.5)


def test_an_event_that_is_not_rare_is_counted():
    oracle = Scale(Gaussian())
    draw = lambda potential, k: steer(oracle, table(), Gaussian(), potential, k, range(100), (D,), {})
    assert find_strength(draw, first, 0.5) == (0.0, 1)


def test_what_is_out_of_reach_or_rests_on_too_little_is_refused():
    class Bounded:
        def __call__(self, y, rho, cond):
            return (y - y.clamp(-1, 1)) / rho[:, None]

    draw = lambda potential, k: steer(Bounded(), table(), Gaussian(), potential, k, range(50), (D,), {})
    with pytest.raises(
        LevyError,
        match=r"15 pilots, .* do not reach the event, which may be impossible for this model",
    ):
        find_strength(draw, first, 2.0)
    with pytest.raises(
        LevyError, match=r"the equivalent of 3.2 independent samples of 400 particles.*raise the particles"
    ):
        check_effective(Estimate(0.1, 0.05, 0.2, 3.2), 400)
