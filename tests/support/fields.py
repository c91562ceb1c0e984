"""Small weather files for tests: known numbers in many costumes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from levy_core.datasets.fields.config import FieldsConfig, Variable
from levy_core.datasets.fields.prepare import prepare_fields
from levy_core.datasets.fields.store import FieldStore
from tests.conftest import SHARED

WEATHER = SHARED / "weather"
REAL = pytest.mark.skipif(not WEATHER.is_dir(), reason=f"{WEATHER} is not there")
T2M = Variable("t2m", "K")
RAIN = Variable("lwe_precipitation_rate", "mm day-1", transform="log1p", minimum=0.0)
GRIB_BYTES = 3360  # a message of the real GRIB file


def config(*variables, **settings):
    return FieldsConfig(variables or (T2M,), **settings)


def temperature(
    n=48, latitude=(52.0, 51.0, 50.0), longitude=(0.0, 1.0, 2.0, 3.0), start="2001-01-01", freq="h", seed=0
):
    """A data set of 2 m temperatures float32, [n, latitude, longitude], with ERA5's names and attributes."""
    values = 280 + 5 * np.random.default_rng(seed).standard_normal((n, len(latitude), len(longitude)))
    attributes = {"units": "K", "long_name": "2 metre temperature", "standard_name": "air_temperature"}
    return xr.Dataset(
        {"t2m": (("time", "latitude", "longitude"), values.astype(np.float32), attributes)},
        {
            "time": pd.date_range(start, periods=n, freq=freq),
            "latitude": ("latitude", np.array(latitude), {"units": "degrees_north", "standard_name": "latitude"}),
            "longitude": ("longitude", np.array(longitude), {"units": "degrees_east", "standard_name": "longitude"}),
        },
    )


def write(folder: Path, *data: xr.Dataset, **options) -> Path:
    """NetCDF files a.nc, b.nc ... in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for letter, part in zip("abcdefgh", data, strict=False):
        part.to_netcdf(folder / f"{letter}.nc", **options)
    return folder


def linked(folder: Path, name: str) -> Path:
    """A folder that holds one of the real files."""
    folder.mkdir(parents=True, exist_ok=True)
    if name.endswith(".grib"):  # its first 200 hours: scanning all takes a while
        (folder / name).write_bytes((WEATHER / name).read_bytes()[: 200 * GRIB_BYTES])
    else:
        shutil.copyfile(WEATHER / name, folder / name)  # an own file: HDF5 knows files by their inodes
    return folder


def prepare(folder, settings, into, previous=None, **options):
    """The statistics of fields prepared in a new folder."""
    into.mkdir()
    statistics = prepare_fields(folder, settings, into, previous, lambda blocks: blocks, **options)
    assert json.loads((into / "statistics.json").read_text()) == statistics
    return statistics


def groups(folder):
    """The training and the test group of a prepared folder."""
    return FieldStore.open(folder / "fields.zarr", "train"), FieldStore.open(folder / "fields.zarr", "test")
