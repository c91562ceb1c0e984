"""Fields that know their day of the year, and their hour: classes by name, smooth numbers for the network, a time for each sample."""

from datetime import timedelta

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.climatology import design
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import Variable
from levy_core.datasets.fields.labels import class_numbers, classes, label, measured_as, season_of
from levy_core.datasets.fields.prepare import inspect
from levy_core.datasets.fields.times import drawn_times, field_samples, label_of, times_of
from tests.support.fields import config, groups, prepare, temperature, write

HOURLY = pd.date_range("2003-01-01", "2005-02-28T18", freq="6h").to_numpy()  # 29 February 2004 is in it


@pytest.mark.parametrize(
    ("season", "times", "count", "ends"),
    [
        ("day", HOURLY, 365, ("01-01", "12-31")),
        ("day-hour", HOURLY, 365 * 4, ("01-01T00", "12-31T18")),
        (
            "day",
            xr.date_range("2003-01-01", periods=400, calendar="360_day", use_cftime=True).to_numpy(),
            360,
            ("01-01", "12-30"),
        ),
    ],
)
def test_classes_are_all_days_of_the_calendar_with_the_hours_of_the_data(season, times, count, ends):
    names = classes(season, times)
    assert (len(set(names)), names[0], names[-1]) == (count, *ends)
    assert list(names) == sorted(names)
    assert season_of(names) == season
    labels, clock = label(season, times, names), xr.DataArray(times, dims="time").dt
    for i in range(0, len(times), 37):
        month, day, hour = (int(getattr(clock, part)[i]) for part in ("month", "day", "hour"))
        day = min(day, 28) if month == 2 and count % 365 == 0 else day
        assert names[labels[i]] == f"{month:02}-{day:02}" + (f"T{hour:02}" if season == "day-hour" else "")


def test_a_leap_day_is_the_day_before():
    names = classes("day-hour", HOURLY)
    leap, before = np.array(["2004-02-29T12", "2003-02-28T12"], dtype="datetime64[ns]")
    assert np.array_equal(label("day-hour", np.array([leap]), names), label("day-hour", np.array([before]), names))


@pytest.mark.parametrize("season", ["day", "day-hour"])
def test_numbers_of_days_are_the_terms_of_a_climatology_and_close_the_year(season):
    names = classes(season, HOURLY)
    numbers = class_numbers(names, "proleptic_gregorian")
    year = pd.date_range("2001-01-01", "2001-12-31T18", freq="D" if season == "day" else "6h").to_numpy()
    assert numbers.dtype == np.float32
    assert np.allclose(numbers[:-1, :-1], design(season, year), atol=1e-6)
    assert (numbers[:-1, -1] == 0).all()  # what says that there is no class
    assert (numbers[-1, :-1] == 0).all()
    assert numbers[-1, -1] == 1
    day = 1 if season == "day" else 4
    steps = np.linalg.norm(numbers[:-1] - np.roll(numbers[:-1], -day, axis=0), axis=1)
    assert steps[-day:].max() < 1.2 * steps[:-day].max()  # the last of December is as near to the first of January
    assert class_numbers(("DJF", "JJA"), "standard") is None
    assert class_numbers(("all",), "standard") is None


def prepared(tmp_path, season, **settings):
    data = temperature(4 * 500, freq="6h")
    prepare(write(tmp_path / "data", data), config(season=season, gap="0h", **settings), tmp_path / "into")
    train, _ = groups(tmp_path / "into")
    return train, Codec.load(tmp_path / "into"), field_samples(train)


def test_a_sample_has_the_time_that_its_number_says_however_many_are_drawn(tmp_path):
    train, codec, samples = prepared(tmp_path, "day-hour")
    labels = samples.usual_labels(0, 200)
    times = drawn_times(codec, samples, labels)
    for i, time in list(enumerate(times))[::8]:
        assert time.strftime("%m-%dT%H") == samples.classes[labels[i]]
        assert time == times_of(codec, samples, samples.usual_labels(i, 1))[0]
    drawn = np.bincount([time.month for time in times_of(codec, samples, samples.usual_labels(0, 4000))], minlength=13)
    real = np.bincount(xr.DataArray(train.times, dims="time").dt.month, minlength=13)
    assert np.abs(drawn / drawn.sum() - real / real.sum()).max() < 0.002  # in the proportions of the training period
    asked = samples.labels_of_counts({"07-25T12": 3})
    assert [t.strftime("%m-%dT%H") for t in times_of(codec, samples, asked)] == ["07-25T12"] * 3
    assert len(set(times_of(codec, samples, np.full(40, samples.no_class)))) == 40


def test_days_without_hours_have_those_of_the_data_where_a_cycle_of_the_day_was_taken_off(tmp_path):
    _, codec, samples = prepared(tmp_path, "day", climatology="hour")
    hours = [t.hour for t in times_of(codec, samples, samples.usual_labels(0, 400))]
    assert np.bincount(hours)[[0, 6, 12, 18]].min() > 90
    _, plain, samples = prepared(tmp_path / "plain", "day")
    assert {t.hour for t in times_of(plain, samples, samples.usual_labels(0, 9))} == {12}


def test_a_moment_says_its_class(tmp_path):
    _, _, samples = prepared(tmp_path, "day-hour")
    samples = field_samples(groups(tmp_path / "into")[0])
    moment = cftime.DatetimeProlepticGregorian(2019, 7, 25, 12)
    assert samples.classes[label_of(samples, moment, "x")] == "07-25T12"
    with pytest.raises(
        LevyError, match=r"2019-07-25.*lies in 07-25T13, of which .* nothing: it has 01-01T00 to 12-31T18$"
    ):
        label_of(samples, moment + timedelta(hours=1), "x")


def test_they_are_measured_by_season():
    names = classes("day", HOURLY)
    own = measured_as(names)
    assert [own[names.index(day)] for day in ("01-01", "03-01", "07-25", "11-30", "12-01")] == [0, 1, 2, 3, 0]
    assert own[-1] == 4  # no class
    assert measured_as(("DJF", "JJA")).tolist() == [0, 1, 2]


def test_a_training_period_that_cannot_show_them_is_refused(tmp_path):
    short = write(tmp_path / "short", temperature(300, freq="D"))
    with pytest.raises(
        LevyError,
        match=r"season is 'day', but the training period .* needs at least a year, .* take season, month or none",
    ):
        inspect(short, config(season="day", gap="0h"))
    daily = write(tmp_path / "daily", temperature(600, freq="D"))
    with pytest.raises(LevyError, match="season is 'day-hour', but the fields are 24 hours apart"):
        inspect(daily, config(season="day-hour", gap="0h"))
    assert len(inspect(daily, config(Variable("t2m", "K"), season="day", gap="0h")).classes) == 365


def test_no_day_that_can_be_asked_for_is_of_a_month_that_training_lacks(tmp_path):
    """Two ends of a record without its July, or a record with holes, are no year: that is what lets every day be a class."""
    halves = write(tmp_path / "halves", temperature(699, start="2001-08-01", freq="D"))  # to June 2003
    with pytest.raises(
        LevyError, match=r"season is 'day', but the training period .* is 330 days: .* needs at least a year"
    ):
        inspect(halves, config(season="day", test_years=(2002,)))
    with pytest.raises(LevyError, match="has 2002-07-01, a month of which the training period has no field"):
        inspect(halves, config(season="month", test_years=(2002,)))
    whole = temperature(900, freq="D")
    holes = write(tmp_path / "holes", whole.isel(time=np.flatnonzero(whole.time.dt.month != 7)))
    with pytest.raises(LevyError, match="after 2001-06-30 comes 2001-08-01: 2 such irregular"):
        inspect(holes, config(season="day"))


def test_messages_name_few_of_many_classes(tmp_path):
    _, _, samples = prepared(tmp_path, "day")
    with pytest.raises(LevyError, match=r"unknown class '13-01': the model knows 01-01, .*01-23, \.\.\., 12-31$"):
        samples.check_asked({"13-01": 1})
    assert samples.describe(samples.usual_labels(0, 400)) == "400 of 323 classes"
