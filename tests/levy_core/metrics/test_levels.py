"""Weeks that are higher or lower than usual in their season are found; persistence, seasons, heavy tails and few years alone are not."""

import numpy as np
import pytest
from scipy.signal import lfilter
from scipy.special import ndtr
from scipy.stats import t as student

from levy_core.metrics.common.levels import Periods, find_level_shifts

RHO = 0.8  # from a day to the next
YEAR = 365.25 / 7  # weeks
LAWS = {
    "gaussian": lambda g: g,
    "heavy": lambda g: student.ppf(ndtr(g), 3),
    "rain": lambda g: np.maximum(g - 0.5, 0) ** 2,
}


def weeks(rng, years, new, law="gaussian", change=lambda days: days, series=3):
    """Weekly means of days with persistence and a cycle of the year: those of some years, and new ones whose days have changed."""
    count = round(years * YEAR) + new
    white = rng.standard_normal((7 * count + 60, series)) * np.sqrt(1 - RHO**2)
    days = LAWS[law](lfilter([1], [1, -RHO], white, axis=0)[60:])
    days[-7 * new :] = change(days[-7 * new :])
    middle = (np.arange(count) + 0.5) / YEAR
    angles = 2 * np.pi * middle[:, None] * np.arange(1, 4)
    terms = np.hstack([np.ones((count, 1)), np.cos(angles), np.sin(angles)])
    values = days.reshape(count, 7, series).mean(1) + 10 * terms[:, 1:2]
    every = Periods(values, terms, middle % 1, middle.astype(int))
    return every.take(slice(count - new)), every.take(slice(count - new, None))


def alarms(deliveries, years, new, fresh, false_alarms, **options):
    rng = np.random.default_rng(3)
    found = [
        find_level_shifts(*weeks(rng, years, new, **options), fresh, 13, 0.01, false_alarms) for _ in range(deliveries)
    ]
    return sum(map(bool, found))


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("years", "new", "fresh"), [(3, 1, 1), (4, 13, 1), (4, 13, 13), (4, 30, 30)])
def test_without_a_change_alarms_are_as_seldom_as_was_asked(law, years, new, fresh):
    """At a rate of 0.05, 120 deliveries have at most 6 alarms on average, and more than 15 with a probability below 0.001."""
    assert alarms(120, years, new, fresh, 0.05, law=law) <= 15


@pytest.mark.long
@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize(("years", "new", "fresh"), [(3, 1, 1), (10, 1, 1), (10, 13, 1), (10, 13, 13), (3, 13, 13)])
def test_at_the_shipped_rate_thousands_of_deliveries_have_few_alarms(law, years, new, fresh):
    """At a rate of 0.001, 4000 deliveries have at most 4 alarms on average, and more than 12 with a probability below 0.001."""
    assert alarms(4000, years, new, fresh, 0.001, law=law) <= 12


@pytest.mark.parametrize(
    ("law", "change", "new", "fresh", "least"),
    [
        ("gaussian", lambda days: days + 1, 26, 26, 20),  # a standard deviation of days, half a year
        ("gaussian", lambda days: days + 2, 13, 1, 24),
        ("gaussian", lambda days: np.concatenate([days[:-7], days[-7:] + 30]), 13, 1, 30),  # other units, since a week
        ("heavy", lambda days: np.concatenate([days[:-7], days[-7:] - 100]), 13, 1, 30),
    ],
)
def test_of_thirty_changes_so_many_are_found(law, change, new, fresh, least):
    assert alarms(30, 10, new, fresh, 0.001, law=law, change=change) >= least


def test_what_is_found_has_its_numbers():
    reference, newest = weeks(np.random.default_rng(0), 10, 13)
    newest.values[:, 1] += 5
    (found,) = find_level_shifts(reference, newest, 1, 13, 0.5, 0.001)
    assert (found.series, found.periods) == (1, 13)
    assert found.now == newest.values[:, 1].mean()
    assert found.now - found.expected == pytest.approx(5, abs=0.5)
    assert found.shift > 2
    assert found.p < 1e-5
    assert not find_level_shifts(reference, newest, 1, 13, 10.0, 0.001)


def test_a_series_that_is_always_the_same_alarms_when_it_changes_and_not_before():
    reference, newest = weeks(np.random.default_rng(0), 4, 13)
    reference.values[:], newest.values[:] = 0.1, 0.1
    assert not find_level_shifts(reference, newest, 1, 13, 0.01, 0.5)
    newest.values[:] = 0.2
    assert len(find_level_shifts(reference, newest, 1, 13, 0.5, 0.001)) == 3
