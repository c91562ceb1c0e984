"""Samples as CF files that other libraries read."""

from dataclasses import replace

import netCDF4
import numpy as np
import pytest
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.base.samples import RECORDED, Samples
from levy_core.datasets.fields.cf import write_cf
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import Variable
from levy_core.datasets.fields.export import FieldExporter
from levy_core.datasets.fields.opening import open_fields
from tests.support.fields import RAIN, REAL, config, groups, linked, prepare, temperature, write


def samples(tmp_path, **changes):
    data = temperature(400, freq="D")
    data["t2m"][:, 0, 1] = np.nan
    variable = Variable("t2m", "degC", minimum=-15.0)
    prepare(
        write(tmp_path / "data", data),
        config(variable, climatology="day", gap="0h", test_share=0.05, **changes),
        tmp_path / "into",
    )
    codec, (train, _) = Codec.load(tmp_path / "into"), groups(tmp_path / "into")
    return codec, train[:30], train.times[:30]


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_samples_are_written_as_cf_that_others_read(suffix, tmp_path):
    codec, x, times = samples(tmp_path)
    x[0, 0, 1, 1] = -50  # far below the minimum
    path = tmp_path / f"samples{suffix}"
    for _ in range(2):  # what is there is replaced
        write_cf(path, codec, x, times, {"title": "drawn", "source": "a model"})
    found = xr.open_dataset(path) if suffix == ".nc" else xr.open_zarr(path)
    assert found.attrs["Conventions"] == "CF-1.11"
    assert found.attrs["title"] == "drawn"
    assert {k: v for k, v in found.cf.axes.items() if k != "Z"} == {
        "T": ["time"],
        "Y": ["latitude"],
        "X": ["longitude"],
    }
    assert found.cf["air_temperature"].attrs["units"] == "degC"
    expected = np.maximum(codec.decode(x, times), -15)
    assert np.allclose(found["t2m"], expected[:, 0], atol=1e-5, equal_nan=True)
    assert float(found["t2m"].min()) == -15
    assert np.isnan(found["t2m"][:, 0, 1]).all()
    assert np.array_equal(found["time"], times)


def test_netcdf4_sees_fill_values_and_units(tmp_path):
    codec, x, times = samples(tmp_path)
    write_cf(tmp_path / "a.nc", codec, x, times, {})
    write_cf(tmp_path / "b.nc", codec, x, times, {})
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()
    with netCDF4.Dataset(tmp_path / "a.nc") as found:
        assert found["t2m"][:].mask.sum() == 30
        assert found["t2m"].dimensions == ("realization", "latitude", "longitude")
        assert found["latitude"].units == "degrees_north"
        assert netCDF4.num2date(found["time"][0], found["time"].units, found["time"].calendar).year == 2001


@pytest.mark.parametrize("seasonal", [False, True])
def test_samples_are_independent_draws_and_no_series(seasonal, tmp_path):
    """With a climatology each has the day and hour that it was drawn for, whatever their order; without, no time at all."""
    codec, x, times = samples(tmp_path)
    codec = codec if seasonal else replace(codec, climatology=None)
    write_cf(tmp_path / "a.nc", codec, x, times[::-1] if seasonal else None, {})
    found = xr.open_dataset(tmp_path / "a.nc")
    assert found["t2m"].dims == ("realization", "latitude", "longitude")
    assert found["realization"].attrs["standard_name"] == "realization"
    assert ("time" in found.coords) == seasonal
    if seasonal:
        assert found["time"].dims == ("realization",)
        assert np.array_equal(found["time"], times[::-1])


def test_only_nc_and_zarr_are_written(tmp_path):
    codec, x, times = samples(tmp_path)
    with pytest.raises(LevyError, match=r"\.nc or \.zarr"):
        write_cf(tmp_path / "a.grib", codec, x, times, {})


def test_exported_samples_say_by_what_they_were_drawn(tmp_path):
    codec, x, _ = samples(tmp_path)
    codec.save(tmp_path)
    drawn = {"model": "models:/levy-x/3", "data_md5": "ab.dir", "seed": "7", "sampler": "{}", "guidance": "none"}
    exporter = FieldExporter(tmp_path, Samples("fields", ("all",), **RECORDED["fields"]))
    assert exporter.write(x, np.zeros(len(x), dtype=int), drawn, tmp_path) == "30 fields (samples.nc)"
    about = xr.open_dataset(tmp_path / "samples.nc").attrs
    assert {name.removeprefix("levy_"): value for name, value in about.items() if name.startswith("levy_")} == drawn
    assert about["Conventions"] == "CF-1.11"
    assert "seed 7" in about["history"]


@REAL
def test_samples_of_places_and_of_other_calendars_open_again_as_fields(tmp_path):
    for i, (name, variable) in enumerate((("pr_day_CanESM2_rcp85_2095.nc", RAIN), ("era5_daily_surface_cancities_1990-1993.nc", Variable("pr", "mm day-1", minimum=0.0)))):  # fmt: skip
        folder, into = linked(tmp_path / f"data{i}", name), tmp_path / f"into{i}"
        prepare(folder, config(variable), into)
        codec, (train, _) = Codec.load(into), groups(into)
        (tmp_path / f"out{i}").mkdir()
        write_cf(tmp_path / f"out{i}" / "a.nc", codec, train[:50], train.times[:50], {})
        again = open_fields(tmp_path / f"out{i}", config(variable))[variable.key]
        expected = open_fields(folder, config(variable))[variable.key].isel(time=slice(0, 50))
        assert again.dims == expected.dims
        assert again["time"].dt.calendar == expected["time"].dt.calendar
        assert np.allclose(again, np.maximum(expected, 0), rtol=1e-4, atol=1e-4, equal_nan=True)
