"""New fields are held against the same season of the training period: what has changed is told, ordinary weather is not."""

import json
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
import yaml
from scipy.signal import lfilter

from levy_core.base.errors import LevyError
from tasks.kinds.fields.drift import find_drift
from tasks.kinds.fields.settings import FieldDrift, FieldSettings
from tests.conftest import ROOT
from tests.support.fields import REAL, WEATHER, write

SETTINGS = {
    "kind": "fields",
    "variables": [{"name": "t2m", "units": "K"}, {"name": "tp", "units": "mm day-1"}],
    "train_until": "2005-12-31",
}
LAST = "2006-12-30"


def weather(last="2007-04-02", seed=0):
    """Days of temperature with a season and of rain, both with persistence, on 24 cells."""
    times = np.arange(np.datetime64("2001-01-01", "ns"), np.datetime64(last, "ns"), np.timedelta64(1, "D"))
    white = np.random.default_rng(seed).standard_normal((2, len(times) + 60, 4, 6)) * 0.6
    shared = np.random.default_rng(seed + 1).standard_normal((2, len(times) + 60, 1, 1)) * 0.6
    anomalies = lfilter([1], [1, -0.8], 0.95 * white + 0.3 * shared, axis=1)[:, 60:]
    season = 10 * np.cos(2 * np.pi * (np.arange(len(times)) - 199) / 365.25)[:, None, None]
    dims, places = ("time", "latitude", "longitude"), {"latitude": np.arange(4.0, 0, -1), "longitude": np.arange(6.0)}
    units = {name: {"units": f"degrees_{way}"} for name, way in (("latitude", "north"), ("longitude", "east"))}
    rain = 5 * np.maximum(anomalies[1] - 0.5, 0) ** 1.5
    return xr.Dataset(
        {
            "t2m": (dims, 283 + season + 4 * anomalies[0], {"units": "K", "standard_name": "air_temperature"}),
            "tp": (dims, rain, {"units": "mm day-1", "standard_name": "lwe_precipitation_rate"}),
        },
        {"time": times} | {name: (name, values, units[name]) for name, values in places.items()},
    )


def since(start, data, **changes):
    """The data with other values from a day on."""
    new = data.time >= np.datetime64(start)
    return data.assign(
        {k: data[k].where(~new, change(data[k])).assign_attrs(data[k].attrs) for k, change in changes.items()}
    )


def told(folder, data, last=LAST, **drift):
    found = find_drift(
        write(folder, data), FieldSettings(**SETTINGS), {"last": str(np.datetime64(last, "ns"))}, FieldDrift(**drift)
    )
    return [each.text for each in found]


def variables(texts):
    return {text.split(",")[0] for text in texts}


def test_ordinary_weather_is_not_told(tmp_path):
    assert told(tmp_path, weather()) == []


def test_a_unit_that_changed_is_told_after_a_week_with_its_numbers(tmp_path):
    data = weather()
    texts = told(tmp_path / "a", since("2007-03-26", data, t2m=lambda x: x - 273.15), "2007-03-26")
    assert variables(texts) == {"t2m"}
    assert any(
        text.startswith("t2m, mean of cells: ") and "7 fields up to 2007-04-01, usual is 27" in text for text in texts
    )
    # The week is judged when it is whole, and not again.
    assert (
        told(tmp_path / "b", since("2007-03-26", data, t2m=lambda x: x - 273.15).isel(time=slice(-1)), "2007-03-26")
        == []
    )
    assert told(tmp_path / "c", since("2007-03-26", data, t2m=lambda x: x - 273.15), "2007-04-01") == []


def test_a_year_that_is_warmer_by_a_standard_deviation_or_has_twice_the_rain_is_told(tmp_path):
    data = weather("2008-01-06")
    assert variables(told(tmp_path / "a", since(LAST, data, t2m=lambda x: x + 4))) == {"t2m"}
    assert variables(told(tmp_path / "b", since(LAST, data, tp=lambda x: 2 * x))) == {"tp"}


def test_extremes_that_are_cut_off_are_told(tmp_path):
    cut = since(LAST, weather("2008-01-06"), tp=lambda x: x.clip(max=3))
    texts = told(tmp_path, cut)
    assert variables(texts) == {"tp"}
    assert any(" 99.9 %" in text for text in texts)
    assert not any(" 50 %" in text for text in texts)


def test_too_short_a_training_period_is_named(tmp_path):
    data = weather().sel(time=slice("2004-01-01", None))
    with pytest.raises(LevyError, match=r"training has 2 years before 20.*takes 3 years to know"):
        told(tmp_path, data)


def test_held_out_years_are_part_of_what_is_usual(tmp_path):
    """Told is what would be were all years up to the new fields of training; a year that is held out at the end ends training before it."""
    new = write(tmp_path / "new", since("2007-01-01", weather(), t2m=lambda x: x + 4))
    before = {"last": str(np.datetime64(LAST, "ns"))}
    of = lambda **held_out: find_drift(
        new, FieldSettings(**{**SETTINGS, "train_until": None, **held_out}), before, FieldDrift()
    )
    assert variables([each.text for each in of(test_years=[2002, 2004])]) == {"t2m"}
    assert of(test_years=[2002, 2004]) == of(train_until=LAST)
    assert of(test_years=[2006, 2007]) == of(train_until="2005-12-29")


def test_a_first_version_has_nothing_to_be_held_against(tmp_path):
    assert find_drift(tmp_path, FieldSettings(**SETTINGS), {"counts": {}}, FieldDrift()) == []


def test_the_program_that_a_retraining_calls_prints_what_it_found(tmp_path):
    write(tmp_path / "data/w", since(LAST, weather(), t2m=lambda x: x + 30))
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params |= {"datasets": ["w"], "data": {"w": SETTINGS}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    before, after = (
        {"counts": {"fields": n}, "last": str(np.datetime64(last, "ns"))}
        for n, last in ((2189, LAST), (2282, "2007-04-01"))
    )
    done = subprocess.run(
        [sys.executable, "-m", "tasks", "drift", "--dataset", "w"], cwd=tmp_path, capture_output=True, text=True, check=True,
        input=json.dumps({"before": before, "after": after}),
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    assert {each["numbers"]["variable"] for each in found} == {"t2m"}
    assert all(each["numbers"]["p"] < 0.001 for each in found)


@REAL
def test_of_real_weather_a_changed_unit_is_told_and_a_year_like_others_is_not(tmp_path):
    with xr.open_dataset(WEATHER / "era5_daily_surface_cancities_1990-1993.nc") as file:
        data = file[["tas", "pr"]].transpose("time", "location").load()
    names = [{"name": "tas", "units": "K"}, {"name": "pr", "units": "mm day-1"}]
    settings = FieldSettings(kind="fields", variables=names, train_until="1992-12-31")
    before = {"last": "1993-01-02T00:00:00.000000000"}
    for folder, change, expected in (("a", lambda x: x, set()), ("b", lambda x: x - 273.15, {"tas"})):
        raw = write(tmp_path / folder, since("1993-01-03", data, tas=change))
        assert {each.numbers["variable"] for each in find_drift(raw, settings, before, FieldDrift())} == expected


def test_members_of_an_ensemble_are_one_series(tmp_path):
    data = since("2007-01-01", weather(), t2m=lambda x: x + 4)
    every = xr.concat([data, data, data], "number").assign_coords(number=[0, 1, 2]).transpose("time", "number", ...)
    settings = FieldSettings(**SETTINGS, members="number")
    before = {"last": str(np.datetime64(LAST, "ns"))}
    found = find_drift(write(tmp_path / "ensemble", every), settings, before, FieldDrift())
    alone = find_drift(write(tmp_path / "alone", data), FieldSettings(**SETTINGS), before, FieldDrift())
    assert found
    assert [f.text.split(":")[0] for f in found] == [f.text.split(":")[0] for f in alone]
