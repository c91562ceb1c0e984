"""GRIB as cfgrib decodes it: several variables, levels and forecasts in one file, all real messages with changed keys."""

import eccodes
import numpy as np
import pytest

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.config import Variable
from levy_core.datasets.fields.opening import open_fields
from tests.support.fields import GRIB_BYTES, REAL, T2M, WEATHER, config

pytestmark = REAL


def write_grib(path, *changes):
    """A message of the real file for each dictionary of keys, its values raised by `add`; the fields without it, [n, 33, 49]."""
    path.parent.mkdir(exist_ok=True)
    fields = []
    real = (WEATHER / "era5-2mt-2019-03-uk.grib").read_bytes()
    with path.open("wb") as file:
        for i, keys in enumerate(changes):
            message = eccodes.codes_new_from_message(real[i * GRIB_BYTES : (i + 1) * GRIB_BYTES])
            fields.append(eccodes.codes_get_values(message).reshape(33, 49))
            for key, value in keys.items():
                eccodes.codes_set(message, key, value)
            eccodes.codes_write(message, file)
            eccodes.codes_release(message)
    return np.stack(fields)


def test_levels_and_surface_fields_of_one_file_are_told_apart(tmp_path):
    level = {"shortName": "t", "typeOfLevel": "isobaricInhPa"}
    hours = [{"dataDate": 20190301, "dataTime": 100 * h} for h in range(4)]
    fields = write_grib(
        tmp_path / "data" / "a.grib",
        *hours, *({**level, "level": 850, **h} for h in hours), *({**level, "level": 500, **h} for h in hours),
    )  # fmt: skip
    found = open_fields(
        tmp_path / "data", config(T2M, Variable("t", "K", level=500), Variable("air_temperature", "K", level=850))
    )
    assert list(found) == ["t2m", "t_500", "air_temperature_850"]
    for key, start in (("t2m", 0), ("air_temperature_850", 4), ("t_500", 8)):
        assert np.allclose(found[key], fields[start : start + 4], atol=0.01)
    with pytest.raises(LevyError, match="levels"):
        open_fields(tmp_path / "data", config(Variable("t", "K")))


def forecast_keys(references, steps):
    return [{"dataDate": 20190301, "dataTime": 100 * r, "step": s} for r in references for s in steps]


def test_forecasts_become_one_axis_of_valid_times(tmp_path):
    fields = write_grib(tmp_path / "data" / "a.grib", *forecast_keys((0, 6), range(1, 7))[2:])
    found = open_fields(tmp_path / "data", config())["t2m"]
    assert found["time"].to_numpy()[0] == np.datetime64("2019-03-01T03")  # the first two steps are not in the file
    assert np.array_equal(np.diff(found["time"]), np.full(9, np.timedelta64(1, "h")))
    assert np.allclose(found, fields, atol=0.01)


def test_overlapping_forecasts_are_refused(tmp_path):
    write_grib(tmp_path / "data" / "a.grib", *forecast_keys((0, 6), range(1, 9)))
    with pytest.raises(LevyError, match=r"a\.grib.*times must rise"):
        open_fields(tmp_path / "data", config())


def test_one_forecast_is_an_axis_of_its_steps(tmp_path):
    fields = write_grib(tmp_path / "data" / "a.grib", *forecast_keys((0,), range(5)))
    found = open_fields(tmp_path / "data", config())["t2m"]
    assert found["time"].to_numpy()[-1] == np.datetime64("2019-03-01T04")
    assert np.allclose(found, fields, atol=0.01)


def write_amounts(path, reference, ranges, values):
    """A message of total precipitation in metres per (first, last) step of a day's forecast."""
    path.parent.mkdir(exist_ok=True)
    real = (WEATHER / "era5-2mt-2019-03-uk.grib").read_bytes()[:GRIB_BYTES]
    with path.open("wb") as file:
        for i, value in enumerate(values):
            message = eccodes.codes_new_from_message(real)
            first, last = ranges[i % len(ranges)]
            keys = {"shortName": "tp", "dataDate": 20190301 + i // len(ranges), "dataTime": 100 * reference}
            for key, given in (keys | {"stepType": "accum", "startStep": first, "endStep": last}).items():
                eccodes.codes_set(message, key, given)
            eccodes.codes_set_values(message, np.full(33 * 49, value) + np.arange(33 * 49) * 1e-9)
            eccodes.codes_write(message, file)
            eccodes.codes_release(message)


HOURS = np.random.default_rng(3).integers(0, 32, (3, 24)) / 1024  # metres


def test_amounts_of_era5_and_of_era5_land_are_told_apart_by_their_step_ranges(tmp_path):
    """ERA5: the hour before, of forecasts from 06 UTC. ERA5-Land: since 00 UTC. Nobody says so in params."""
    steps = [(h, h + 1) for h in range(24)]
    write_amounts(tmp_path / "era5" / "a.grib", 6, steps, np.roll(HOURS.ravel(), -6))
    write_amounts(tmp_path / "land" / "a.grib", 0, [(0, h + 1) for h in range(24)], HOURS.cumsum(1).ravel())
    for folder, days in (("era5", slice(1, 3)), ("land", slice(0, 3))):
        found = open_fields(tmp_path / folder, config(Variable("tp", "mm day-1"), resample="1D"))["tp"]
        assert np.allclose(found[:, 0, 0], 1000 * HOURS.sum(1)[days], atol=1e-2)
    with pytest.raises(LevyError, match=r"since 00 UTC.*accumulated: 1h"):
        open_fields(tmp_path / "land", config(Variable("tp", "mm day-1", accumulated="1h")))


def test_totals_since_the_start_of_another_forecast_are_refused(tmp_path):
    write_amounts(tmp_path / "data" / "a.grib", 12, [(0, h + 1) for h in range(24)], HOURS.cumsum(1).ravel())
    with pytest.raises(LevyError, match=r"a\.grib.*totals since 12 UTC"):
        open_fields(tmp_path / "data", config(Variable("tp", "mm day-1", accumulated="since-00")))
