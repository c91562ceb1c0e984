"""Labels and times of samples that nobody asked a class or a date of."""

from dataclasses import replace

import numpy as np
import pytest

from levy_core.base.samples import RECORDED, Samples
from levy_core.datasets.fields.climatology import Climatology
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import Variable
from levy_core.datasets.fields.times import times_of

SEASONS = Samples("fields", ("DJF", "MAM", "JJA", "SON"), **RECORDED["fields"], shares=(0.4, 0.3, 0.2, 0.1))


@pytest.mark.parametrize("first", [0, 13])
@pytest.mark.parametrize("classes", [2, 4, 10, 100])
def test_balanced_labels_are_as_many_of_each_class_and_none_are_without(first, classes):
    samples = replace(SEASONS, classes=tuple(map(str, range(classes))), shares=None)
    for rounds, more in ((1, 0), (1, 1), (7, classes - 1), (50, 0)):
        labels = samples.labels("balanced", first, rounds * classes + more)
        counts = np.bincount(labels, minlength=classes)
        assert (counts.min(), counts.max()) == (rounds, rounds + (more > 0))
        assert np.array_equal(labels[:2], samples.labels("balanced", first, 2))
    few = np.sort(replace(SEASONS, classes=tuple(map(str, range(366))), shares=None).labels("balanced", first, 61))
    assert np.diff(few).max() < 3 * 6  # days of the whole year
    assert SEASONS.labels("none", first, 5).tolist() == [4] * 5


@pytest.mark.parametrize(("dropout", "labels"), [(None, [1, 1]), (0.5, [1, 1]), (1.0, [1, 1]), (0.0, [0, 0])])
def test_a_model_that_was_never_trained_without_a_class_is_not_drawn_without(dropout, labels):
    samples = Samples("fields", ("all",), **RECORDED["fields"], label_dropout=dropout)
    assert samples.usual_labels(0, 2).tolist() == labels
    assert Samples.from_mapping(samples.to_mapping()) == samples


def test_a_model_that_was_trained_without_classes_draws_without():
    assert replace(SEASONS, label_dropout=1.0).labels("balanced", 0, 3).tolist() == [4, 4, 4]


def test_a_model_that_does_not_know_its_shares_draws_without_a_class():
    assert Samples("images", ("a", "b", "c"), **RECORDED["images"]).usual_labels(5, 3).tolist() == [3, 3, 3]


@pytest.mark.parametrize("first", [0, 17, 1000])
@pytest.mark.parametrize("n", [10, 100, 5000])
def test_every_part_of_the_samples_has_each_season_in_its_share(first, n):
    counts = np.bincount(SEASONS.usual_labels(first, n), minlength=4)
    # A golden-ratio sequence is out by at most about log(n) / 2 in an interval.
    assert np.abs(counts - n * np.array(SEASONS.shares)).max() <= 1 + np.log(n) / 2


def test_a_sample_has_the_label_of_its_number_whatever_the_batch():
    whole = SEASONS.usual_labels(0, 60)
    parts = np.concatenate([SEASONS.usual_labels(start, 7) for start in range(0, 56, 7)])
    assert np.array_equal(parts, whole[:56])


@pytest.mark.parametrize("calendar", ["proleptic_gregorian", "noleap", "360_day"])
@pytest.mark.parametrize(
    ("classes", "months"),
    [
        (("DJF", "MAM", "JJA", "SON"), [{12, 1, 2}, {3, 4, 5}, {6, 7, 8}, {9, 10, 11}]),
        (("Mar", "Nov"), [{3}, {11}]),
        (("all",), [set(range(1, 13))]),
    ],
)
def test_generated_fields_lie_in_the_season_that_they_were_asked_for(calendar, classes, months):
    one = np.ones(1)
    codec = Codec((Variable("t2m", "K"),), one, one, np.ones((1, 2, 2), dtype=bool), calendar=calendar)
    labels = np.arange(40) % (len(classes) + 1)  # the last stands for 'no class'
    times = times_of(codec, Samples("fields", classes, **RECORDED["fields"]), labels)
    for label, allowed in enumerate([*months, set(range(1, 13))]):
        own = [time for time, its in zip(times, labels, strict=True) if its == label]
        assert {time.month for time in own} <= allowed
        assert own == sorted(own)
        assert len(set(own)) == len(own)
    assert {time.calendar for time in times} == {calendar}


@pytest.mark.parametrize("n", [1, 5, 20, 365])
def test_the_days_of_generated_fields_have_the_mean_of_their_season(n):
    """A season counts its ends as the rest; n days in the middles of n parts are off by the rounding to days, and by curvature."""
    one = np.ones(1)
    codec = Codec((Variable("t2m", "K"),), one, one, np.ones((1, 2, 2), dtype=bool))
    days = lambda n, label: [t.dayofyr for t in times_of(codec, SEASONS, np.full(n, label))]
    for label, first, length in ((2, 152, 92), (4, 1, 365)):
        assert np.mean(days(n, label)) == pytest.approx(first + (length - 1) / 2, abs=0.6)
    warm = lambda days: np.mean((np.array(days) - 197) ** 2)
    if n >= 5:
        assert warm(days(n, 2)) == pytest.approx(warm(days(92, 2)), rel=0.1)


def test_generated_fields_have_the_hours_of_the_data():
    one, samples = np.ones(1), Samples("fields", ("all",), **RECORDED["fields"])
    cycle = Climatology("day-hour", np.zeros((1, 20, 2, 2)))
    plain = Codec((Variable("t2m", "K"),), one, one, np.ones((1, 2, 2), dtype=bool), hours=(0,))
    several = replace(plain, hours=(0, 12))
    for codec, hours in (
        (plain, {0}),
        (several, {12}),
        (replace(several, climatology=cycle), {0, 12}),
        (replace(several, climatology=cycle, hours=(3, 9, 15, 21)), {3, 9, 15, 21}),
    ):
        assert {time.hour for time in times_of(codec, samples, np.zeros(50, dtype=int))} == hours


@pytest.mark.parametrize("n", [73, 200, 365, 730])
def test_the_hours_of_generated_fields_are_all_alike_however_many_there_are(n):
    one = np.ones(1)
    cycle = Climatology("day-hour", np.zeros((1, 20, 2, 2)))
    codec = Codec((Variable("t2m", "K"),), one, one, np.ones((1, 2, 2), dtype=bool), climatology=cycle)
    times = times_of(codec, Samples("fields", ("all",), **RECORDED["fields"]), np.zeros(n, dtype=int))
    counts = np.bincount([time.hour for time in times], minlength=24)[[0, 6, 12, 18]]
    assert counts.sum() == n
    assert np.ptp(counts) <= 4
    for part in np.array_split([time.hour for time in times], 4):  # of each season
        assert np.ptp(np.bincount(part, minlength=24)[[0, 6, 12, 18]]) <= 4
