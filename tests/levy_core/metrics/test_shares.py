"""A class that comes more or less often than before is found; chance, few samples and small changes are not."""

import numpy as np
import pytest

from levy_core.metrics.common.shares import find_share_shifts

BEFORE = {"a": 500, "b": 300, "c": 150, "d": 40, "e": 10}


def names(new, before=BEFORE):
    return [shift.name for shift in find_share_shifts(before, new, 1.5, 0.001)]


@pytest.mark.parametrize("arrived", [3, 30, 1000])
def test_without_a_change_alarms_are_as_seldom_as_was_asked(arrived):
    """At a rate of 0.05, 1000 nights have at most 50 alarms on average, and more than 73 with a probability below 0.001."""
    rng, law = np.random.default_rng(7), np.array(list(BEFORE.values())) / 1000
    nights = [[dict(zip("abcde", rng.multinomial(n, law), strict=True)) for n in (1000, arrived)] for _ in range(1000)]
    assert sum(bool(find_share_shifts(had, new, 1.001, 0.05)) for had, new in nights) <= 73


def test_a_class_that_comes_more_often_is_found_with_its_numbers():
    (shift,) = find_share_shifts(BEFORE, {"a": 50, "b": 30, "c": 15, "d": 30}, 1.5, 0.001)
    assert (shift.name, shift.before, shift.now) == ("d", 0.04, 0.24)
    assert shift.p < 1e-9


def test_a_class_that_stays_away_and_one_that_is_new_are_found():
    assert names({"a": 250, "b": 150, "d": 20, "e": 5}) == ["c"]
    assert names({"a": 50, "b": 30, "c": 15, "d": 4, "f": 20}) == ["f"]


@pytest.mark.parametrize(
    "new",
    [
        {"d": 2},  # too few
        {"a": 5600, "b": 2700, "c": 1350, "d": 360, "e": 90},  # beyond chance, within the factor
        {},
        {"a": 0},
    ],
)
def test_few_samples_and_small_changes_are_no_drift(new):
    assert names(new) == []


def test_first_data_are_no_drift():
    assert names({"a": 5}, before={}) == []
