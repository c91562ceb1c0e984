"""A model answers for the days of the year that its training period had, and for no others."""

import json
from dataclasses import replace

import cftime
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.base.samples import RECORDED, Samples
from levy_core.datasets.fields.climatology import Climatology
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.events import read_event
from levy_core.datasets.fields.known_days import find_known_days, refuse_unknown, say_days
from levy_core.datasets.fields.observed import read_observed
from levy_core.datasets.fields.times import field_samples, times_of
from tests.support.fields import config, groups, prepare, temperature, write

ALL = Samples("fields", ("all",), **RECORDED["fields"])


def days(*ranges, freq="D"):
    return np.concatenate([pd.date_range(*ends, freq=freq).to_numpy() for ends in ranges])


@pytest.mark.parametrize(
    ("times", "known"),
    [
        (days(("2019-03-01", "2019-03-31"), freq="h"), "03-01 to 03-31"),
        (days(("2018-12-01", "2019-02-28"), ("2019-12-01", "2020-02-29")), "12-01 to 02-28"),
        (days(("2018-06-01", "2018-08-31"), ("2019-11-05", "2019-11-05")), "06-01 to 08-31, 11-05"),
        (days(("2018-01-01", "2018-10-15")), "01-01 to 10-15"),
        (days(("2020-02-29", "2020-02-29")), "02-28"),
        (days(("2018-06-15", "2018-08-15"), freq="MS") + np.timedelta64(14, "D"), "07-15 to 08-15"),
        (xr.date_range("2001-02-30", periods=20, calendar="360_day", use_cftime=True).to_numpy(), "02-30 to 03-19"),
    ],
)
def test_known_days_are_those_of_the_training_period_in_a_year_that_closes(times, known):
    calendar = str(xr.DataArray(times, dims="time").dt.calendar)
    assert say_days(find_known_days(times), calendar) == known


@pytest.mark.parametrize(
    "times",
    [
        days(("2003-01-01", "2003-12-31")),
        days(("2001-03-01", "2002-02-15"), freq="6h"),
        days(("2000-01-01", "2009-12-01"), freq="MS"),  # monthly fields
        days(("2003-01-01", "2003-11-20")),  # lacks 41 days
        xr.date_range("2001-01-01", periods=12, freq="MS", calendar="360_day", use_cftime=True).to_numpy(),
    ],
)
def test_periods_that_go_round_the_year_know_all_of_it(times):
    assert find_known_days(times) is None


@pytest.fixture(scope="module")
def march(tmp_path_factory):
    """A codec of three-hourly fields of one March, with the cycle of the day, and what its models draw."""
    folder = tmp_path_factory.mktemp("march")
    data = temperature(31 * 8, start="2019-03-01", freq="3h")
    prepare(write(folder / "data", data), config(climatology="hour", gap="0h"), folder / "into")
    return Codec.load(folder / "into"), field_samples(groups(folder / "into")[0])


def test_a_model_of_one_month_draws_and_answers_for_that_month(march, tmp_path):
    codec, samples = march
    drawn = times_of(codec, samples, np.zeros(600, dtype=int))
    assert {time.month for time in drawn} == {3}
    assert {time.hour for time in drawn} == set(range(0, 24, 3))
    last = int(codec.days[-1][3:])  # of the training period
    assert {time.day for time in drawn} == set(range(1, last + 1))
    read_event("t2m mean > 285 K", codec, samples, "2020-03-12T12")
    with pytest.raises(
        LevyError, match=rf"the event '.*': 2019-07-25 12.* of which the model .* 03-01 to 03-{last}, and"
    ):
        read_event("t2m mean > 285 K", codec, samples, "2019-07-25T12")
    table = tmp_path / "stations.csv"
    table.write_text("variable,latitude,longitude,value\nt2m,51,1,280\n")
    assert read_observed(table, codec, samples, {"": 1.0}, time="2019-03-04T12").time.day == 4
    with pytest.raises(LevyError, match=r"stations.csv: 2019-07-04 12:30.* it was trained on 03-01 to 03-"):
        read_observed(table, codec, samples, {"": 1.0}, time="2019-07-04T12:30")
    timeless = replace(codec, climatology=None)  # a moment changes nothing, but may still be wrong
    assert read_observed(table, timeless, samples, {"": 1.0}, time="2019-03-04T12").time is None
    with pytest.raises(LevyError, match="it was trained on 03-01 to 03-"):
        read_observed(table, timeless, samples, {"": 1.0}, time="2019-07-04T12:30")


def test_days_close_by_are_answered_for():
    known = ("03-01", "03-02")
    for day, month, knows in ((14, 2, True), (13, 2, False), (17, 3, True), (18, 3, False)):
        moment = cftime.DatetimeNoLeap(2019, month, day, 6)
        if knows:
            refuse_unknown(moment, known, "noleap", "x")
        else:
            with pytest.raises(
                LevyError, match=r"^x: 2019-0.*it was trained on 03-01 to 03-02, and answers for days up to 15 before"
            ):
                refuse_unknown(moment, known, "noleap", "x")


def test_a_codec_says_its_days_only_where_some_are_missing_and_an_older_one_knows_all(march, tmp_path):
    codec, samples = march
    codec.save(tmp_path)
    assert Codec.load(tmp_path).days == codec.days
    described = json.loads((tmp_path / "codec.json").read_text())
    del described["days"]
    (tmp_path / "codec.json").write_text(json.dumps(described))
    older = Codec.load(tmp_path)
    assert {time.month for time in times_of(older, samples, np.zeros(600, dtype=int))} == set(range(1, 13))
    read_event("t2m mean > 285 K", older, samples, "2019-07-25T12")
    older.save(tmp_path)
    assert "days" not in json.loads((tmp_path / "codec.json").read_text())


@pytest.mark.parametrize(
    ("kind", "classes", "said"),
    [
        ("hour", ("all",), "depend on the hour of the day: say it"),
        ("day-hour", ("all",), "depend on the day of the year and the hour of the day: say it"),
        (None, ("DJF", "JJA"), "depend on the season: say it"),
        ("day", ("Jan", "Feb"), "depend on the month and the day of the year: say it"),
    ],
)
def test_what_a_moment_is_needed_for_is_said_as_it_is(march, tmp_path, kind, classes, said):
    cycle = None if kind is None else Climatology(kind, np.zeros((1, 20, 3, 4)))
    codec = replace(march[0], climatology=cycle)
    table = tmp_path / "stations.csv"
    table.write_text("variable,latitude,longitude,value\nt2m,51,1,280\n")
    with pytest.raises(LevyError, match=said):
        read_observed(table, codec, Samples("fields", classes, **RECORDED["fields"]), {"": 1.0})
