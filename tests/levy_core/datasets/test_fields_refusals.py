"""Bad fields are refused with variable, time and file, before anything is written."""

import re
import shutil

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.config import FieldsConfig, Variable
from levy_core.datasets.fields.opening import open_fields
from levy_core.datasets.fields.prepare import prepare_fields
from tests.support.fields import GRIB_BYTES, REAL, T2M, WEATHER, config, temperature, write

RAIN = Variable("tp", "mm day-1", accumulated="1h", minimum=0.0, transform="log1p")


def refused(folder, settings, *words):
    """Preparing fails with a message that has all the words (regular expressions), and writes nothing."""
    into = folder.parent / "into"
    into.mkdir(exist_ok=True)
    with pytest.raises(LevyError) as error:
        prepare_fields(folder, settings, into, None, lambda blocks: blocks)
    for word in words:
        assert re.search(word, str(error.value)), f"{word!r} is not in: {error.value}"
    assert list(into.iterdir()) == []


def rain(n=48, seed=0):
    data = temperature(n)
    values = np.random.default_rng(seed).exponential(1e-4, data["t2m"].shape)
    return xr.Dataset(
        {"tp": (data["t2m"].dims, values, {"units": "m", "long_name": "Total precipitation"})}, data.coords
    )


TIMES = {
    "a missing hour": (np.delete(np.arange(48), 30), ["a.nc", "t2m", "2001-01-02T05:00:00", "T07:00:00", "1 hour"]),
    "a time twice": (np.sort(np.append(np.arange(48), 30)), ["a.nc", "t2m", "2001-01-02T06:00:00 is there twice"]),
    "unsorted times": (np.r_[0:20, 21, 20, 22:48], ["a.nc", "t2m", "2001-01-01T20:00:00 comes after 2001-01-01T21"]),
}


@pytest.mark.parametrize("case", TIMES)
def test_irregular_times(case, tmp_path):
    rows, words = TIMES[case]
    folder = write(tmp_path / "data", temperature().isel(time=rows))
    refused(folder, config(), *words)
    with pytest.raises(LevyError):  # also without reading a field
        open_fields(folder, config())


def test_the_same_time_in_two_files(tmp_path):
    data = temperature()
    folder = write(tmp_path / "data", data.isel(time=slice(0, 30)), data.isel(time=slice(29, 48)))
    refused(folder, config(), r"2001-01-02T05:00:00 in .*b\.nc", r"in .*a\.nc", "twice")


def test_a_gap_between_files_names_the_file_before_it(tmp_path):
    data = temperature()
    folder = write(tmp_path / "data", data.isel(time=slice(0, 20)), data.isel(time=slice(22, 48)))
    refused(folder, config(), r"a\.nc", "2001-01-01T19:00:00 comes 2001-01-01T22:00:00")


def test_a_field_without_values(tmp_path):
    data = temperature()
    data["t2m"][33] = np.nan
    folder = write(tmp_path / "data", data.isel(time=slice(0, 30)), data.isel(time=slice(30, 48)))
    refused(folder, config(gap="0h"), r"b\.nc", "'t2m' at 2001-01-02T09:00:00", "no value at all")


def test_too_many_missing_cells(tmp_path):
    data = temperature()
    data["t2m"][:, 0, 0] = np.nan  # always missing: not counted
    data["t2m"][7, 1, :2] = np.nan
    folder = write(tmp_path / "data", data)
    refused(folder, config(gap="0h", max_missing=0.1), "2001-01-01T07:00:00", r"18\.2%", r"10\.0%")
    into = tmp_path / "fine"
    into.mkdir()
    prepare_fields(folder, config(gap="0h", max_missing=0.2), into, None, lambda blocks: blocks)


def test_an_infinite_value(tmp_path):
    data = temperature()
    data["t2m"][40, 1, 1] = np.inf
    refused(write(tmp_path / "data", data), config(gap="0h"), r"a\.nc", "2001-01-02T16:00:00", "infinite")


@pytest.mark.parametrize("share", [0, 10])
def test_a_variable_that_is_constant_in_training(share, tmp_path):
    data = temperature()
    data["t2m"][: 48 - share] = 273.15
    refused(write(tmp_path / "data", data), config(gap="0h"), "'t2m'", "273.15 K everywhere", "remove it")


def test_different_grids(tmp_path):
    one, two = temperature(24), temperature(24, longitude=(0.0, 1.5, 3.0, 4.5), start="2001-01-02")
    folder = write(tmp_path / "data", one, two)
    refused(folder, config(), "different grids", r"a\.nc", r"b\.nc", "0 to 3", r"0 to 4\.5")


def test_different_calendars(tmp_path):
    one, two = temperature(24), temperature(24, start="2001-01-02")
    times = xr.date_range("2001-01-02", periods=24, freq="h", calendar="noleap", use_cftime=True)
    folder = write(tmp_path / "data", one, two.assign_coords(time=times))
    refused(folder, config(), "calendars", "noleap")


def test_a_variable_that_lacks_times(tmp_path):
    folder = write(tmp_path / "data", temperature(), rain(40))
    refused(folder, config(T2M, RAIN), "'t2m' has 2001-01-02T16:00:00, which variable 'tp' lacks", "7 more")


def test_an_unknown_variable_lists_what_there_is(tmp_path):
    folder = write(tmp_path / "data", temperature(), rain())
    refused(folder, config(Variable("t3m", "K")), "no variable 't3m'", r"t2m \(air_temperature\)", "tp")


def test_a_standard_name_that_several_variables_have(tmp_path):
    data = temperature()
    data["tmax"] = data["t2m"]
    folder = write(tmp_path / "data", data)
    refused(folder, config(Variable("air_temperature", "K")), "several variables", "t2m", "tmax")


BOXES = {
    "south of the data": (10, 20, 0, 3),
    "east of the data": (50, 52, 20, 30),
    "wider than the data": (50, 52, -10, 3),
    "higher than the data": (50, 60, 0, 3),
}


@pytest.mark.parametrize("box", BOXES)
def test_a_box_outside_the_data(box, tmp_path):
    refused(
        write(tmp_path / "data", temperature()), config(box=BOXES[box]), r"a\.nc", "beyond the data", "change `box`"
    )


def test_negative_rain(tmp_path):
    data = rain()
    data["tp"][11, 0, 0] = -3e-4
    refused(
        write(tmp_path / "data", data),
        config(RAIN, gap="0h"),
        r"a\.nc",
        "2001-01-01T11:00:00",
        r"-7\.2 mm day-1",
        "minimum of 0",
    )


def test_negative_rain_of_packing_is_let_through(tmp_path):
    data = rain()
    data["tp"][11, 0, 0] = -float(data["tp"].max()) * 2**-17
    into = tmp_path / "into"
    into.mkdir()
    prepare_fields(write(tmp_path / "data", data), config(RAIN, gap="0h"), into, None, lambda blocks: blocks)


def test_values_that_their_units_cannot_have(tmp_path):
    data = temperature()
    data["t2m"][:] -= 273.15  # degC that says K
    refused(write(tmp_path / "data", data), config(gap="0h"), r"a\.nc", "no air temperature is", "source_units")


def test_rain_in_millimetres_that_says_metres(tmp_path):
    data = rain() * 1000 * 24
    data["tp"].attrs = {"units": "m", "long_name": "Total precipitation"}
    refused(
        write(tmp_path / "data", data),
        config(RAIN, gap="0h"),
        r"a\.nc",
        "'tp'",
        "no precipitation flux is",
        "source_units",
    )


def test_a_value_that_the_transform_has_no_number_for(tmp_path):
    data = rain()
    data["tp"][5, 0, 0] = -float(data["tp"].max()) * 2**-16
    variable = Variable("tp", "mm day-1", accumulated="1h", minimum=0.0, transform="log1p", scale=1e-5)
    refused(write(tmp_path / "data", data), config(variable, gap="0h"), "2001-01-01T05:00:00", "log1p", "larger scale")


UNITS = {
    "missing": ({}, T2M, ["no units", "source_units"]),
    "empty": ({"units": ""}, T2M, ["no units", "source_units"]),
    "C": ({"units": "C"}, T2M, ["'C'", "Celsius or coulombs", "source_units"]),
    "deg": ({"units": "deg"}, T2M, ["'deg'", "angle or a temperature"]),
    "another quantity": ({"units": "m s-1"}, T2M, ["'m s-1'", "cannot become 'K'"]),
    "unknown": ({"units": "zork"}, T2M, ["'zork'", "not known"]),
    "1 for a percentage": ({"units": "1"}, Variable("t2m", "%"), ["'1'", "percentage", "source_units"]),
    "a depth for a rate": ({"units": "m"}, Variable("t2m", "mm day-1"), ["'m'", "accumulated: 1h"]),
    "a rate for a depth": ({"units": "mm day-1"}, Variable("t2m", "mm"), ["'mm day-1'", "are a rate"]),
    "accumulated, but a rate": (
        {"units": "mm s-1"},
        Variable("t2m", "mm day-1", accumulated="1h"),
        ["remove `accumulated`"],
    ),
}


@pytest.mark.parametrize("case", UNITS)
def test_units_that_are_no_use(case, tmp_path):
    attributes, variable, words = UNITS[case]
    data = temperature()
    data["t2m"].attrs = attributes
    refused(write(tmp_path / "data", data), config(variable), r"a\.nc", "'t2m'", *words)


SHORT = {
    "no time in the period": ({"period": ("1999-01-01", "1999-02-01")}, ["no time in the period", "2001-01-01"]),
    "no test fields": (
        {"train_until": "2001-01-02"},
        ["48 fields", "48 for training and 0 for the test", "longer period"],
    ),
    "no training fields": ({"train_until": "2000-01-02"}, ["0 for training"]),
    "the gap takes all": ({"gap": "20D"}, ["gap 20D", "0 for training"]),
    "no year for its cycle": ({"climatology": "day", "gap": "0h"}, ["day", r"1\.58333 days", "at least a year"]),
    "no such period": ({"period": ("yesterday", "today")}, ["yesterday", "2001-01-01 and 2001-01-02 23"]),
    "no such end of training": ({"train_until": "soon"}, ["soon"]),
}


@pytest.mark.parametrize("case", SHORT)
def test_a_period_that_is_too_short(case, tmp_path):
    settings, words = SHORT[case]
    refused(write(tmp_path / "data", temperature()), config(**settings), *words)


def test_a_season_that_training_never_saw(tmp_path):
    data = temperature(400, freq="D")
    settings = config(season="season", train_until="2001-05-15")
    refused(write(tmp_path / "data", data), settings, "2001-06-01", "DJF, MAM", "season")


def test_a_cycle_of_the_day_needs_several_fields_a_day(tmp_path):
    refused(write(tmp_path / "data", temperature(60, freq="D")), config(climatology="hour"), "24 hours apart", "hour")


def test_resampling_to_steps_that_the_data_do_not_fill(tmp_path):
    folder = write(tmp_path / "data", temperature(20))
    for rule in ("1D", "1h", "30min"):
        refused(folder, config(resample=rule), re.escape(repr(rule)), "20 steps of 1 hour")
    refused(folder, config(resample="soon"), "'soon'", "1D")


def test_no_files_and_no_folder(tmp_path):
    (tmp_path / "data").mkdir()
    refused(tmp_path / "data", config(), "holds nothing", "GRIB", "sources.txt")
    (tmp_path / "data" / "notes.csv").touch()
    refused(tmp_path / "data", config(), r"notes\.csv")
    refused(tmp_path / "nowhere", config(), "is not a folder")
    (tmp_path / "data" / "sources.txt").write_text("gone/*.nc\n")
    refused(tmp_path / "data", config(), r"gone/\*\.nc", "finds no file")


def test_files_that_are_something_else(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.nc").write_bytes(b"PK\x03\x04 a zip that a download left")
    refused(tmp_path / "data", config(), r"a\.nc", "neither GRIB nor NetCDF", "unpack")


@pytest.mark.parametrize("form", ["NETCDF4", "NETCDF3_CLASSIC", "NETCDF3_64BIT"])
@pytest.mark.parametrize("share", [0.3, 0.999])
def test_truncated_netcdf(form, share, tmp_path):
    folder = write(tmp_path / "data", temperature(400), format=form)
    whole = (folder / "a.nc").read_bytes()
    (folder / "a.nc").write_bytes(whole[: int(len(whole) * share)])
    refused(folder, config(), r"a\.nc", "damaged or truncated")


def test_a_truncated_zarr_chunk_names_its_time(tmp_path):
    data = temperature(60)
    path = tmp_path / "data" / "a.zarr"
    data.to_zarr(path, zarr_format=3, consolidated=False, encoding={"t2m": {"chunks": (20, 3, 4)}})
    chunk = path / "t2m" / "c" / "1" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:50])
    refused(path.parent, config(gap="0h"), r"a\.zarr", "'t2m' at 2001-01-01T20:00:00", "damaged or truncated")


def test_a_missing_zarr_chunk_is_a_field_without_values(tmp_path):
    data = temperature(60)
    path = tmp_path / "data" / "a.zarr"
    data.to_zarr(path, zarr_format=3, consolidated=False, encoding={"t2m": {"chunks": (20, 3, 4)}})
    (path / "t2m" / "c" / "2" / "0" / "0").unlink()
    refused(path.parent, config(gap="0h"), r"a\.zarr", "2001-01-02T16:00:00", "no value at all")


@REAL
@pytest.mark.parametrize("cut", [-100, 4 * GRIB_BYTES - 500, 50])
def test_truncated_grib(cut, tmp_path):
    (tmp_path / "data").mkdir()
    whole = (WEATHER / "era5-2mt-2019-03-uk.grib").read_bytes()[: 10 * GRIB_BYTES]  # ten messages
    (tmp_path / "data" / "a.grib").write_bytes(whole[:cut])
    refused(tmp_path / "data", config(), r"a\.grib", "damaged or truncated")


def test_a_wide_dimension_is_named(tmp_path):
    data = temperature().expand_dims(number=[0, 1]).transpose("time", ...)
    refused(write(tmp_path / "data", data), config(), r"number \(2: 0, 1\)", "`select: {number: 0}`")


def test_axes_that_are_no_degrees(tmp_path):
    data = temperature().drop_vars(["latitude", "longitude"]).rename(latitude="y", longitude="x")
    data = data.assign_coords(
        y=("y", np.arange(3) * 25e3, {"units": "m"}), x=("x", np.arange(4) * 25e3, {"units": "m"})
    )
    refused(write(tmp_path / "data", data), config(), r"y \(3\), x \(4\)", "no latitude and longitude")


def test_without_times(tmp_path):
    data = temperature().drop_vars("time")
    refused(write(tmp_path / "data", data), config(), "has no time", "hours since")


SETTINGS = {
    "no variables": lambda: FieldsConfig(()),
    "a variable twice": lambda: config(T2M, T2M),
    "an unknown transform": lambda: Variable("t2m", "K", transform="cube"),
    "no scale": lambda: Variable("t2m", "K", scale=0.0),
    "log1p without a minimum": lambda: Variable("tp", "mm", transform="log1p"),
    "wet at its minimum": lambda: Variable("tp", "mm", minimum=0.0, wet=0.0),
    "a wrong box": lambda: config(box=(60, 50, 0, 1)),
    "a wrong length of time": lambda: config(gap="soon"),
    "tiles without their place": lambda: config(patch=(2, 2), climatology="day"),
    "a share": lambda: config(test_share=0.0),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_impossible_settings(case):
    with pytest.raises(LevyError):
        SETTINGS[case]()


def test_a_patch_larger_than_the_field(tmp_path):
    refused(write(tmp_path / "data", temperature()), config(patch=(5, 5), gap="0h"), r"\[5, 5\]", "3 x 4 cells")


def test_what_was_prepared_before_stays_when_new_data_are_bad(tmp_path):
    data = temperature(80)
    folder = write(tmp_path / "data", data.isel(time=slice(0, 60)))
    settings, before = config(train_until="2001-01-01", gap="0h"), tmp_path / "before"
    before.mkdir()
    prepare_fields(folder, settings, before, None, lambda blocks: blocks)
    kept = shutil.copytree(before, tmp_path / "kept")
    data["t2m"][70] = np.nan
    data.isel(time=slice(60, 80)).to_netcdf(folder / "b.nc")
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(LevyError, match="2001-01-03T22:00:00"):
        prepare_fields(folder, settings, into, before, lambda blocks: blocks)
    assert list(into.iterdir()) == []
    for path in kept.rglob("*"):
        if path.is_file():
            assert path.read_bytes() == (before / path.relative_to(kept)).read_bytes()


def test_monthly_fields_are_regular(tmp_path):
    data = temperature(36).assign_coords(time=pd.date_range("2001-01-01", periods=36, freq="MS"))
    assert open_fields(write(tmp_path, data), config()).sizes["time"] == 36
    (tmp_path / "gap").mkdir()
    data.isel(time=np.delete(np.arange(36), 20)).to_netcdf(tmp_path / "gap" / "a.nc")
    with pytest.raises(LevyError, match="after 2002-08-01 comes 2002-10-01: 1 such"):
        open_fields(tmp_path / "gap", config())


@pytest.mark.parametrize("settings", [{"train_until": "2001-02-31"}, {"period": ("2001-02-31", "2001-03-31")}])
def test_a_date_that_a_calendar_lacks_is_answered_by_one_that_it_has(settings, tmp_path):
    times = xr.date_range("2001-01-01", periods=120, freq="D", calendar="360_day", use_cftime=True)
    folder = write(tmp_path / "data", temperature(120).assign_coords(time=times))
    with pytest.raises(LevyError) as error:
        prepare_fields(folder, config(**settings), tmp_path, None, lambda blocks: blocks)
    suggested = re.findall(r"\d{4}-\d\d-\d\d", str(error.value).split("such as")[1].split("(")[0])
    assert suggested
    for date in suggested:
        assert int(date[8:]) <= 30
