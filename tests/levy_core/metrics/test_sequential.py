"""The gate over a year of nights: false promotions, real gains, and drift, by simulation with the noise of the digits."""

import numpy as np
import pytest

from levy_core.base.errors import LevyError
from levy_core.metrics.common.sequential import Looks
from tests.support.nights import FID, MARGIN, SHIPPED, judge, lost_in_a_year, measured


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
    nights, rng, gate = 1500, np.random.default_rng(0), {"fid_classes/x": "better"}
    verdicts = [judge(looks, measured(rng, looks), measured(rng, looks), gate=gate) for _ in range(nights)]
    promoted = np.mean([promoted for promoted, _ in verdicts])
    assert promoted <= looks.error + 4 * (looks.error / nights) ** 0.5


def test_a_gain_of_a_tenth_is_promoted_within_ten_nights_in_nine_runs_of_ten():
    rng, runs = np.random.default_rng(1), 20
    champion = measured(rng, SHIPPED)
    nights = [
        next((n for n in range(10) if judge(SHIPPED, measured(rng, SHIPPED, 0.9 * FID), champion)[0]), None)
        for _ in range(runs)
    ]
    assert sum(n is not None for n in nights) >= 0.9 * runs


def test_equal_models_cost_little_more_than_the_first_look():
    rng = np.random.default_rng(2)
    seeds = [judge(SHIPPED, measured(rng, SHIPPED), measured(rng, SHIPPED))[1] for _ in range(100)]
    assert np.mean(seeds) < 1.5 * SHIPPED.first


@pytest.mark.long
def test_equal_models_are_promoted_less_than_once_in_twenty_years():
    # 20,000 nights are 55 years; at one in 10,000 two are expected, and eight or more have a probability of 0.1 %.
    rng, gate = np.random.default_rng(3), {"fid_classes/x": "better"}
    verdicts = [judge(SHIPPED, measured(rng, SHIPPED), measured(rng, SHIPPED), gate=gate) for _ in range(20_000)]
    assert sum(promoted for promoted, _ in verdicts) < 8


def test_many_small_losses_do_not_add_up_beyond_the_margin_of_the_anchor():
    assert lost_in_a_year(np.random.default_rng(4), anchored=True, nights=30) <= MARGIN
    assert lost_in_a_year(np.random.default_rng(4), anchored=False, nights=30) > 2 * MARGIN


@pytest.mark.long
def test_in_a_year_of_nights_no_drift_is_beyond_the_margin():
    # A loss beyond the margin passes with at most 1e-4 per night, so in less than 4 % of years: of 10, three or more once in 200.
    lost = [lost_in_a_year(np.random.default_rng(seed), anchored=True) for seed in range(10)]
    assert sum(loss > MARGIN for loss in lost) < 3
