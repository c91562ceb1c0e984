"""NetCDF files are opened and read by one thread at a time, and closed by it: the HDF5 library is not safe with several."""

import faulthandler
import pickle
import subprocess
import sys

import numpy as np
import xarray as xr

from levy_core.datasets.fields.config import Variable
from levy_core.datasets.fields.opening import open_fields
from levy_core.datasets.fields.prepare import prepare_fields
from levy_core.datasets.fields.reading import BLOCK_BYTES
from levy_core.datasets.fields.sources import FILES, find, open_files, open_source
from tests.conftest import ROOT
from tests.support.fields import config, temperature, write

THREE = config(
    Variable("t2m", "degC"),
    Variable("tp", "mm day-1", accumulated="1h", stamped="end"),
    Variable("z", "m2 s-2", level=500),
)


def elsewhere(work, blocks):
    """As a worker has them: each block with the work anew, and with it all files."""
    sent = pickle.dumps(work)
    return (pickle.loads(sent)(block) for block in blocks)


def prepare_often(folder):
    faulthandler.enable()
    for i in range(2):
        into = folder / f"prepared{i}"
        into.mkdir()
        prepare_fields(
            folder / "data",
            THREE,
            into,
            None,
            lambda blocks: blocks,
            240_000 if i % 2 else BLOCK_BYTES,
            elsewhere if i % 2 else map,
        )


def era5(n=960):
    """Three files as the climate data store gives them: fields, amounts and pressure levels."""
    degrees = np.arange(10.0)
    one = temperature(n, 60 - degrees, degrees).rename(time="valid_time")
    said = {"number": 0, "expver": ("valid_time", np.where(np.arange(n) < 800, "0001", "0005"))}
    one = one.assign_coords(said)
    amounts = (abs(one["t2m"] - 280) / 1000).rename("tp").assign_attrs(units="m").to_dataset()
    levels = ("pressure_level", [850.0, 500.0], {"units": "hPa", "standard_name": "air_pressure"})
    heights = (one["t2m"] * 200).expand_dims(pressure_level=2, axis=1).assign_coords(pressure_level=levels)
    return one, amounts, heights.rename("z").assign_attrs(units="m**2 s**-2").to_dataset()


def test_preparing_again_and_again_beside_threads_that_collect_garbage_is_safe(tmp_path):
    """Where garbage keeps files open, zarr's threads close them: a segmentation fault, or a file that is called damaged (3 of 3 runs)."""
    write(tmp_path / "data", *era5())
    code = f"from pathlib import Path; from {__name__} import prepare_often; prepare_often(Path({str(tmp_path)!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_files_are_closed_but_read_again_where_values_are_asked_for(tmp_path):
    folder = write(tmp_path / "data", temperature())
    found = open_fields(folder, config())
    assert _held() == 0
    before = found["t2m"].to_numpy()
    with open_files():
        (data,) = open_source(find(folder)[0])
        assert _held() == 1
        assert (data["t2m"] == before).all()
    assert _held() == 0
    assert (data["t2m"] == before).all()


def _held():
    return sum(file._key in xr.backends.file_manager.FILE_CACHE for file in FILES)
