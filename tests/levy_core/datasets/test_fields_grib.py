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
