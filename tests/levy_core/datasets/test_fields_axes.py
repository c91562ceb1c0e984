"""Which coordinate is which: what cf_xarray guesses, found once for all variables that are alike."""

from itertools import product

import cf_xarray
import numpy as np
import pytest
import xarray as xr

from levy_core.datasets.fields import axes
from levy_core.datasets.fields.axes import guess_axes
from levy_core.datasets.fields.prepare import inspect
from tests.support.fields import config, temperature, write

SPACES = (("lat", "lon"), ("latitude", "XLONG"), ("y", "x"), ("south_north", "cells"))
TIMES = {
    "datetime64": lambda: np.arange("2000-01-01", "2000-01-04", dtype="datetime64[D]").astype("datetime64[ns]"),
    "noleap": lambda: xr.date_range("2000-02-27", periods=3, calendar="noleap", use_cftime=True),
    "numbers": lambda: np.arange(3.0),
    "texts": lambda: np.array(["a", "b", "c"], dtype=object),
}


def variable(space, times, told, named):
    """On three times, two latitudes and two longitudes; ``told``: with CF attributes, ``named``: the coordinates that its attribute has."""
    latitude, longitude = space
    said = lambda kind: {"standard_name": kind, "units": "degrees_north"} if told else {}
    coords = {
        "time": ("time", TIMES[times]()),
        latitude: (latitude, [50.0, 51.0], said("latitude")),
        longitude: (longitude, [0.0, 1.0]),
        "height": ((), 2.0, {"positive": "up"} if told else {}),
    }
    attributes = {"coordinates": named} if named else {"long_name": "a variable"}
    return xr.DataArray(np.zeros((3, 2, 2)), coords, ("time", latitude, longitude), attrs=attributes)


def described(array):
    return {name: (coordinate.dims, coordinate.attrs) for name, coordinate in array.coords.items()}


def test_guesses_are_those_of_cf_xarray_and_leave_the_array_as_it_was():
    cases = list(product(SPACES, TIMES, (False, True), (None, "time", "height")))
    for case in [*cases, *cases[::7]]:  # some again, whose guesses are known
        array = variable(*case)
        before = described(array)
        assert described(guess_axes(array)) == described(array.cf.guess_coord_axis()), case
        assert described(array) == before


def test_attributes_of_a_guess_are_not_shared():
    one, other = (guess_axes(variable(("lat", "lon"), "datetime64", False, None)) for _ in range(2))
    one["lat"].attrs["units"] = "furlongs"
    assert other["lat"].attrs["units"] == guess_axes(other)["lat"].attrs["units"] == "degrees_north"


@pytest.mark.parametrize("files", [2, 12])
def test_a_series_of_files_is_guessed_once(files, tmp_path, monkeypatch):
    """A guess takes longer than opening a file."""
    data, guesses = temperature(120), []
    guess = cf_xarray.accessor.CFAccessor.guess_coord_axis
    monkeypatch.setattr(
        cf_xarray.accessor.CFAccessor, "guess_coord_axis", lambda self: guesses.append(1) or guess(self)
    )
    monkeypatch.setattr(axes, "GUESSES", {})
    size = 120 // files
    write(tmp_path / "data", *(data.isel(time=slice(k * size, (k + 1) * size)) for k in range(files)))
    inspect(tmp_path / "data", config())
    assert len(guesses) == 1
