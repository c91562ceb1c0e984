"""Years that are held out wherever they lie: which times these are, what is fitted to the others, and that nothing joins what is not neighbours."""

import pickle
import re
import warnings

import cftime
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.climatology import design
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import FieldsConfig
from levy_core.datasets.fields.opening import open_parts
from levy_core.datasets.fields.split import find_runs, say_runs, split
from levy_core.datasets.fields.whole_years import advise_whole_years
from tasks.kinds.fields.metrics import FieldMetrics, make_reference
from tasks.kinds.fields.settings import FieldEvaluation
from tests.levy_core.datasets.test_fields_prepare import contents
from tests.support.fields import T2M, config, groups, prepare, temperature, write

YEARS = (2003, 2006)


def days(last="2008-12-31", seed=0):
    """Daily fields with a season and, so that each year is known by its level, a trend."""
    n = int((np.datetime64(last) - np.datetime64("2001-01-01")) / np.timedelta64(1, "D")) + 1
    data = temperature(n, freq="D", seed=seed)
    season = 10 * np.cos(2 * np.pi * (np.arange(n) - 199) / 365.25) + np.arange(n) / 365
    return data.assign(t2m=(data.t2m + season.astype(np.float32)[:, None, None]).assign_attrs(data.t2m.attrs))


@settings(max_examples=30, deadline=None)
@given(
    start=st.sampled_from(["1990-01-01", "1991-04-17", "1990-11-30"]),
    freq=st.sampled_from(["D", "12h", "5D", "MS"]),
    calendar=st.sampled_from(["standard", "noleap", "360_day"]),
    held_out=st.sets(st.integers(1991, 1994), min_size=1, max_size=3),
    gap=st.sampled_from([0, 1, 2, 10]),
)
def test_all_times_of_these_years_are_held_out_and_training_has_all_that_are_further_than_the_gap(
    start, freq, calendar, held_out, gap
):
    times = xr.date_range(start, "1996-02-28", freq=freq, calendar=calendar, use_cftime=True).to_numpy()
    train, test = split(times, config(test_years=tuple(held_out), gap=f"{gap}D"))
    assert test.tolist() == [i for i, time in enumerate(times) if time.year in held_out]
    hours = np.asarray(cftime.date2num(times, "hours since 1990-01-01", calendar=calendar), dtype=float)
    apart = np.abs(hours[:, None] - hours[test]).min(1)
    assert train.tolist() == np.flatnonzero(apart > 24 * gap).tolist()
    for rows in (train, test):  # runs end where the next time is not the next of the record
        assert np.array_equal(find_runs(np.repeat(times[rows], 3))[::3], np.append(0, (np.diff(rows) > 1).cumsum()))


def test_the_last_years_held_out_are_the_last_part_held_out_to_the_last_bit(tmp_path):
    folder = write(tmp_path / "data", days())
    of_years, of_end = {"test_years": (2007, 2008), "gap": "2D"}, {"train_until": "2006-12-29", "gap": "2D"}
    for name, said in (("years", of_years), ("end", of_end)):
        prepare(folder, config(climatology="day", season="season", **said), tmp_path / name)
        (tmp_path / name / "reference").mkdir()
        make_reference(tmp_path / name, tmp_path / name / "reference", FieldEvaluation(resamples=20, most=300), name)
    assert contents(tmp_path / "years") == contents(tmp_path / "end")


def test_the_cycle_and_the_spread_are_those_of_the_other_years(tmp_path):
    data = days()
    statistics = prepare(
        write(tmp_path / "data", data), config(climatology="day", test_years=YEARS, gap="0h"), tmp_path / "into"
    )
    train, test = groups(tmp_path / "into")
    others = data.t2m.sel(time=~data.time.dt.year.isin(YEARS)).astype(np.float64)
    held_out = data.t2m.sel(time=data.time.dt.year.isin(YEARS))
    assert np.array_equal(train.times, others.time)
    assert np.array_equal(test.times, held_out.time)
    assert train.runs.tolist() == np.repeat([0, 1, 2], [730, 366 + 365, 365 + 366]).tolist()
    assert test.runs.tolist() == np.repeat([0, 1], 365).tolist()
    terms, values = design("day", others.time.to_numpy()), others.to_numpy().reshape(len(others), -1)
    expected = np.linalg.lstsq(terms, values, rcond=None)[0]
    codec = Codec.load(tmp_path / "into")
    assert np.allclose(codec.climatology.coefficients.reshape(len(expected), -1), expected, atol=1e-8)
    assert statistics["variables"]["t2m"]["std"] == pytest.approx((values - terms @ expected).std(), rel=1e-9)
    assert np.allclose(codec.decode(test[:], test.times)[:, 0], held_out, atol=1e-3)


def test_held_out_years_decide_nothing(tmp_path):
    said = config(climatology="day", season="season", test_years=YEARS)
    data = days()
    prepare(write(tmp_path / "one", data), said, tmp_path / "a")
    data["t2m"][data.time.dt.year.isin(YEARS).to_numpy()] += 20
    prepare(write(tmp_path / "two", data), said, tmp_path / "b")
    one, two = contents(tmp_path / "a"), contents(tmp_path / "b")
    differ = {name for name in one if one[name] != two[name]} - {"prepared.json"}
    assert differ
    assert all(name.startswith("fields.zarr/test/field/") for name in differ)


def test_newer_times_are_of_training_and_revised_ones_where_they_were(tmp_path, monkeypatch):
    for module in ("levy_core.datasets.fields.reading", "levy_core.datasets.fields.prepare"):
        monkeypatch.setattr(f"{module}.chunk_rows", lambda shape: 8)
    said, data = config(test_years=YEARS), days("2009-06-30")
    prepare(write(tmp_path / "old", data.sel(time=slice(None, "2008-12-31"))), said, tmp_path / "before")
    data["t2m"][800] += 1  # of 2003
    folder = write(tmp_path / "new", data)
    prepare(folder, said, tmp_path / "clean")
    prepare(folder, said, tmp_path / "grown", tmp_path / "before")
    assert contents(tmp_path / "grown") == contents(tmp_path / "clean")
    (old, held_out), (train, test) = groups(tmp_path / "before"), groups(tmp_path / "grown")
    assert np.array_equal(train.times, np.append(old.times, data.time.sel(time="2009")))
    assert np.array_equal(test.times, held_out.times)


def test_another_process_has_the_same_times_and_an_unreadable_field_is_named(tmp_path):
    folder, said = write(tmp_path / "data", days()), config(test_years=YEARS)
    fields = open_parts(folder, said)
    rows = np.concatenate(split(fields.data.time.to_numpy(), said))
    taken = fields.take(rows)
    xr.testing.assert_identical(taken.data, fields.data.isel(time=rows))
    xr.testing.assert_identical(pickle.loads(pickle.dumps(taken)).data, taken.data)
    broken = days()
    broken["t2m"][2000] = np.nan
    with pytest.raises(LevyError, match="2006-06-24"):
        prepare(write(tmp_path / "broken", broken), said, tmp_path / "into")


REFUSED = {
    "not in the data": ((1999, 2003, 2012), ["test_years has 1999, 2012", "2001 to 2008"]),
    "all": (tuple(range(2001, 2009)), ["8 of 8 years", "leaves 0"]),
    "all but one": (tuple(range(2001, 2008)), ["7 of 8 years", "leaves 1 for training: at least 2"]),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_years_that_cannot_be_held_out_are_refused_before_a_field_is_read(case, tmp_path):
    years, words = REFUSED[case]
    times = days().time.to_numpy()
    for word in words:
        with pytest.raises(LevyError, match=word):
            split(times, config(test_years=years))


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({"test_years": [2003, 2006, 2003]}, "2003 twice"),
        ({"test_years": []}, r"test_years is \[\]: years in a list"),
        ({"test_years": 2003}, "test_years is 2003: years in a list"),
        ({"test_years": ["2003"]}, r"test_years is \['2003'\]"),
        ({"test_years": [2003.0]}, r"test_years is \[2003\.0\]"),
        ({"test_years": [True]}, "test_years is"),
        ({"test_years": [2003], "train_until": "2005-12-31"}, "train_until and test_years each say"),
        ({"test_years": [2003], "test_share": 0.2}, "test_share and test_years each say"),
        ({"train_until": "2005-12-31", "test_share": 0.2}, "train_until and test_share each say"),
    ],
)
def test_one_setting_says_what_is_held_out_and_years_are_whole_numbers(said, message):
    with pytest.raises(LevyError, match=message):
        FieldsConfig.from_mapping({"variables": [{"name": "t2m", "units": "K"}], **said})
    assert FieldsConfig.from_mapping({"variables": [{"name": "t2m", "units": "K"}], "test_years": [2006]}) == config(
        T2M, test_years=(2006,)
    )


def advice(times, years):
    train, test = split(times, config(test_years=years))
    return advise_whole_years(times[train], times[test])


def test_held_out_years_that_are_not_whole_are_told_with_their_seasons():
    times = days("2008-06-30").time.to_numpy()
    assert advice(times, YEARS) == ""
    said = advice(times, (2003, 2008))
    assert re.match(
        r"measures compare unlike seasons: \d+ % DJF, 3\d % MAM, .* \(held out, 2003-01-01 to 2003-12-31, 2008-01-01 to 2008-06-30\)", said
    )  # fmt: skip
    assert advice(times[200:], (2001, 2003)).endswith("; hold out years of which the data have all months")


def test_when_times_are_is_said_by_their_runs():
    times = days().time.to_numpy()
    of = lambda *years: times[np.isin(times.astype("datetime64[Y]").astype(int) + 1970, years)]
    assert say_runs(times[:1]) == "2001-01-01 to 2001-01-01"
    assert say_runs(of(2002, 2003, 2006)) == "2002-01-01 to 2003-12-31, 2006-01-01 to 2006-12-31"
    assert say_runs(of(*range(2001, 2008, 2))).count(" to ") == 4
    many = np.concatenate([of(2001, 2003, 2005, 2007), times[-9:]])
    assert say_runs(many) == "5 periods from 2001-01-01 to 2008-12-31"


def test_measures_of_held_out_years_are_kept_with_their_runs(tmp_path):
    prepare(write(tmp_path / "data", days()), config(climatology="day", test_years=YEARS), tmp_path / "into")
    (tmp_path / "reference").mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_reference(tmp_path / "into", tmp_path / "reference", FieldEvaluation(resamples=20, most=300), "weather")
    for name, lengths in (("test", [150, 150]), ("train", [100, 90, 100])):
        found = FieldMetrics(tmp_path / "reference").references[name]
        assert np.bincount(found.runs).tolist() == lengths
        assert np.isfinite(found.floor(50))
