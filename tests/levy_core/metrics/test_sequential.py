"""The gate over a year of nights: false promotions, real gains, and drift, by simulation with the noise of the digits."""

import numpy as np
import pytest

from levy_core.base.errors import LevyError
from levy_core.metrics.common.paired import compare
from levy_core.metrics.common.sequential import Looks
from tasks.kinds.kind import kind_of

MEASURES = kind_of("images").measures
# Mean and standard deviation over seeds of the error of 400 digits of a trained model (docs/retraining.md).
FID, FID_STD, COVERAGE, COVERAGE_STD = 2.32, 0.142, 0.127, 0.0316
GATE = {"fid/x": "better", "coverage/x": 0.05}
SHIPPED = Looks(12, 48, 1e-4)


def draw(rng, looks, fid=FID, loss=0.0):
    """What a model of such a mean FID and of a coverage that is smaller by ``loss`` measures at all seeds."""
    values = (
        fid + FID_STD * rng.standard_normal(looks.most),
        1 - COVERAGE - loss + COVERAGE_STD * rng.standard_normal(looks.most),
    )
    return [{"fid/x": a, "coverage/x": b} for a, b in zip(*values, strict=True)]


def passes(looks, gate, challenger, champion, anchor=None):
    """Whether a challenger is promoted, and after how many seeds."""
    for level, seeds in zip(looks.levels, looks.seeds, strict=True):
        lines = compare(gate, MEASURES, challenger[:seeds], champion[:seeds], "champion", level)
        if anchor:
            margins = {metric: rule for metric, rule in gate.items() if rule != "better"}
            lines += compare(margins, MEASURES, challenger[:seeds], anchor[:seeds], "anchor", level)
        if looks.is_over(lines):
            break
    return all(line.passed for line in lines), seeds


def test_looks_double_and_share_the_error():
    assert SHIPPED.seeds == (12, 24, 48)
    assert sum(SHIPPED.levels) == pytest.approx(1e-4)
    assert SHIPPED.levels[2] == pytest.approx(4 * SHIPPED.levels[0])
    assert Looks(3, 7, 0.3).seeds == (3, 6, 7)
    assert Looks(3, 3, 0.2).seeds == (3,)


def test_so_few_seeds_that_nothing_could_pass_are_refused_with_the_number_that_would_do():
    with pytest.raises(LevyError, match=r"most 12 is too few: .* once in 4,096; an error of 0.0001 needs 15 or more"):
        Looks(12, 12, 1e-4)
    with pytest.raises(LevyError, match="need 2 <= first <= most"):
        Looks(1, 12, 0.1)


@pytest.mark.parametrize("looks", [Looks(6, 24, 0.05), Looks(5, 5, 0.05)], ids=str)
def test_equal_models_are_promoted_no_more_often_than_is_said(looks):
    # False alarms: 4 standard deviations of a binomial count.
    nights, rng = 1500, np.random.default_rng(0)
    promoted = np.mean(
        [passes(looks, {"fid/x": "better"}, *(draw(rng, looks) for _ in range(2)))[0] for _ in range(nights)]
    )
    assert promoted <= looks.error + 4 * (looks.error / nights) ** 0.5


def test_a_gain_of_a_tenth_is_promoted_within_ten_nights_in_nine_runs_of_ten():
    rng, runs = np.random.default_rng(1), 20
    champion = draw(rng, SHIPPED)
    nights = [
        next((n for n in range(10) if passes(SHIPPED, GATE, draw(rng, SHIPPED, 0.9 * FID), champion)[0]), None)
        for _ in range(runs)
    ]
    assert sum(n is not None for n in nights) >= 0.9 * runs


def test_equal_models_cost_little_more_than_the_first_look():
    rng = np.random.default_rng(2)
    seeds = [passes(SHIPPED, GATE, draw(rng, SHIPPED), draw(rng, SHIPPED))[1] for _ in range(100)]
    assert np.mean(seeds) < 1.5 * SHIPPED.first


@pytest.mark.long
def test_equal_models_are_promoted_less_than_once_in_twenty_years():
    # 20,000 nights are 55 years; at one in 10,000 two are expected, and eight or more have a probability of 0.1 %.
    rng = np.random.default_rng(3)
    promoted = [passes(SHIPPED, {"fid/x": "better"}, draw(rng, SHIPPED), draw(rng, SHIPPED))[0] for _ in range(20_000)]
    assert sum(promoted) < 8


def year(rng, anchored, nights=365, gain=0.15, loss=0.02):
    """The coverage that is lost in a year whose every night brings a better FID and a slightly worse coverage than the champion's."""
    fid, lost = FID, 0.0
    anchor = draw(rng, SHIPPED) if anchored else None
    for _ in range(nights):
        new = fid * (1 - gain), lost + loss
        champion = draw(rng, SHIPPED, fid, lost)
        if passes(SHIPPED, GATE, draw(rng, SHIPPED, *new), champion, anchor)[0]:
            fid, lost = new
    return lost


def test_many_small_losses_do_not_add_up_beyond_the_margin_of_the_anchor():
    assert year(np.random.default_rng(4), anchored=True, nights=30) <= GATE["coverage/x"]
    assert year(np.random.default_rng(4), anchored=False, nights=30) > 2 * GATE["coverage/x"]


@pytest.mark.long
def test_in_a_year_of_nights_no_drift_is_beyond_the_margin():
    # A loss beyond the margin passes with at most 1e-4 per night, so in less than 4 % of years: of 10, three or more once in 200.
    beyond = [year(np.random.default_rng(seed), anchored=True) > GATE["coverage/x"] for seed in range(10)]
    assert sum(beyond) < 3
