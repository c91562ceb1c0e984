"""Fields on curved grids are trained as they lie: from file to store, codec, areas, coordinates and files of samples."""

import numpy as np
import pytest
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.cf import write_cf
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import Variable
from levy_core.datasets.fields.curved import cell_areas
from levy_core.datasets.fields.opening import open_fields
from levy_core.metrics.fields.spatial import even_cells
from levy_core.nets.globe import coordinate_channels
from tests.support.curved import cordex, hrrr, nemo, unrotated
from tests.support.fields import config, groups, prepare, write

GRIDS = {
    "CORDEX": (cordex, Variable("tas", "degC"), ("lat", "lon"), ("rlat", "rlon")),
    "HRRR": (hrrr, Variable("t2m", "degC"), ("latitude", "longitude"), ("y", "x")),
    "NEMO": (nemo, Variable("sosstsst", "degC"), ("nav_lat", "nav_lon"), ("y", "x")),
}


def refusal(folder, data, *variables, **settings):
    with pytest.raises(LevyError) as error:
        open_fields(write(folder, data), config(*variables, **settings))
    return str(error.value)


@pytest.mark.parametrize("name", GRIDS)
def test_fields_go_from_file_through_the_store_to_a_file_of_samples(name, tmp_path):
    make, variable, located, dims = GRIDS[name]
    data = make()
    prepare(write(tmp_path / "data", data), config(variable, gap="0h"), tmp_path / "into")
    codec, (_, test) = Codec.load(tmp_path / "into"), groups(tmp_path / "into")
    values = data[variable.name].to_numpy().astype(np.float64) - 273.15
    assert np.allclose(codec.decode(test[:])[:, 0], values[-12:], atol=1e-4, equal_nan=True)
    for mine, theirs in zip((codec.latitude, codec.longitude), located, strict=True):
        assert np.array_equal(mine, data[theirs].to_numpy().astype(np.float64))
    assert not codec.wraps
    assert codec.covers(Codec.load(tmp_path / "into"))
    write_cf(tmp_path / "samples.nc", codec, test[:3], None, {})
    with xr.open_dataset(tmp_path / "samples.nc") as found:
        drawn = found[variable.key]
        assert drawn.dims == ("realization", *dims)
        assert np.allclose(drawn, values[-12:-9], atol=1e-4, equal_nan=True)
        assert drawn.cf.coordinates["latitude"] == ["latitude"]
        assert np.array_equal(drawn.cf["longitude"], codec.longitude)
        if name == "CORDEX":
            assert drawn.attrs["grid_mapping"] == "rotated_pole"
            assert found["rotated_pole"].attrs == data["rotated_pole"].attrs
            assert np.array_equal(found["rlat"], data["rlat"])
            assert found["rlon"].attrs == data["rlon"].attrs
    again = open_fields(tmp_path / "data", config(variable))
    assert again[variable.key].dims == ("time", "y", "x")


@pytest.mark.parametrize("name", GRIDS)
def test_samples_are_data_of_the_same_grid_again(name, tmp_path):
    make, variable, *_ = GRIDS[name]
    prepare(write(tmp_path / "data", make()), config(variable, gap="0h"), tmp_path / "into")
    codec, (_, test) = Codec.load(tmp_path / "into"), groups(tmp_path / "into")
    (tmp_path / "drawn").mkdir()
    write_cf(tmp_path / "drawn" / "a.nc", codec, test[:], None, {})
    with xr.open_dataset(tmp_path / "drawn" / "a.nc") as found:
        series = found.rename(realization="time").assign_coords(time=test.times)
        series["time"].attrs.clear()
        (tmp_path / "again").mkdir()
        series.to_netcdf(tmp_path / "again" / "a.nc")
    back = open_fields(tmp_path / "again", config(Variable(variable.key, "degC")))
    assert np.array_equal(back.latitude, codec.latitude)
    assert back.latitude.attrs["projection"] == codec.projection


def test_measures_and_networks_know_the_true_cells(tmp_path):
    data = cordex()
    prepare(write(tmp_path / "data", data), config(GRIDS["CORDEX"][1], gap="0h"), tmp_path / "into")
    codec = Codec.load(tmp_path / "into")
    step = np.deg2rad(2.2)
    true = step * np.cos(np.deg2rad(data["rlat"].to_numpy()))[:, None] * 2 * np.sin(step / 2)
    assert np.allclose(codec.areas, np.broadcast_to(true, codec.areas.shape), rtol=2e-3)  # chords
    cells = even_cells(codec.areas, codec.shape[1:])
    assert cells.sum() == int(codec.areas.sum() / codec.areas.max())
    channels = coordinate_channels(11, 12, codec.latitude, codec.longitude).numpy()
    assert np.allclose(np.rad2deg(np.arcsin(channels[0])), codec.latitude, atol=1e-3)
    assert np.allclose(np.rad2deg(np.arctan2(channels[2], channels[1])), codec.longitude, atol=1e-3)
    with pytest.raises(LevyError, match="11 x 12 latitudes and 12 x 11 longitudes"):
        coordinate_channels(11, 12, codec.latitude, codec.longitude.T)


def test_areas_are_right_over_a_pole_and_across_the_date_line():
    axis = np.arange(-20.0, 21, 2)
    home = cell_areas(*unrotated(axis, axis, 90.0, 180.0))
    for pole in ((39.25, -162.0), (0.0, 0.0), (10.0, 5.0)):
        assert np.allclose(cell_areas(*unrotated(axis, axis, *pole)), home, rtol=1e-9)


def test_a_box_leaves_the_rows_and_columns_that_reach_into_it_and_hides_the_rest(tmp_path):
    data = cordex(20, step=1.1, height=24, width=24)
    box = (42.0, 50.0, -2.0, 8.0)
    folder = write(tmp_path / "data", data)
    found = open_fields(folder, config(GRIDS["CORDEX"][1], box=box))["tas"]
    inside = (data.lat >= 42) & (data.lat <= 50) & (data.lon >= -2) & (data.lon <= 8)
    expected = data["tas"].where(inside, drop=True) - 273.15
    assert found.shape == expected.shape
    assert np.allclose(found, expected, atol=1e-4, equal_nan=True)
    assert np.isnan(found).any()
    assert found.latitude.attrs["projection"].axes[0] == expected.rlat.to_numpy().tolist()
    prepare(folder, config(GRIDS["CORDEX"][1], box=box, gap="0h"), tmp_path / "into")
    valid = Codec.load(tmp_path / "into").valid[0]
    assert np.array_equal(valid, ~np.isnan(expected[0]))
    for beyond in ((42.0, 50.0, -60.0, 8.0), (-20.0, -10.0, 0.0, 10.0), (30.0, 75.0, -2.0, 8.0)):
        with pytest.raises(LevyError, match=r"reaches beyond the data, which have latitudes .* on a curved grid"):
            open_fields(folder, config(GRIDS["CORDEX"][1], box=beyond))


def test_curved_grids_that_cannot_be_used_are_refused(tmp_path):
    variable = GRIDS["CORDEX"][1]
    lost = cordex(20)
    lost["lat"][3, 4] = np.nan
    assert "1 cells without latitude or longitude, the first in row 3, column 4" in refusal(
        tmp_path / "a", lost, variable
    )
    seam = xr.concat([cordex(20), cordex(20).isel(rlon=[0, 1])], "rlon", data_vars="minimal")
    assert "22 places twice, the first in row 0, column 0 and row 0, column 12" in refusal(
        tmp_path / "b", seam, variable
    )
    folded = cordex(20)
    folded["lat"][:, 5], folded["lon"][:, 5] = folded["lat"][:, 5] + 0.1, folded["lon"][:, 5] + 9
    assert "cells that overlap" in refusal(tmp_path / "c", folded, variable)
    narrow = cordex(20).isel(rlat=[3])
    assert "1 x 12 cells: at least 2 x 2" in refusal(tmp_path / "d", narrow, variable)
    moving = nemo(20)
    moving["nav_lat"] = (
        moving["nav_lat"].expand_dims(time_counter=moving["time_counter"]).assign_attrs(moving["nav_lat"].attrs)
    )
    assert "has a latitude of time_counter, y, x and a longitude of y, x" in refusal(
        tmp_path / "e", moving, GRIDS["NEMO"][1]
    )


def test_files_of_different_curved_grids_are_refused(tmp_path):
    folder = write(tmp_path / "data", cordex(20))
    later = cordex(40, step=2.0).isel(time=slice(20, None))
    write(folder / "more", later)
    with pytest.raises(LevyError, match="different grids: a curved grid of 11 x 12 cells"):
        open_fields(folder, config(GRIDS["CORDEX"][1]))


def test_a_fill_value_on_a_curved_grid_is_told_with_its_place(tmp_path):
    data = cordex(40)
    data["tas"][30, 2, 3] = -9999
    place = f"latitude {float(data.lat[2, 3]):g}, longitude {float(data.lon[2, 3]):g}, is -9999"
    with pytest.raises(LevyError, match=place):
        prepare(write(tmp_path / "data", data), config(GRIDS["CORDEX"][1], gap="0h"), tmp_path / "into")


def test_members_and_merged_values_keep_their_curved_grid(tmp_path):
    data = cordex(40)
    late = (np.arange(40) >= 30)[:, None, None]
    halves = xr.concat([data["tas"].where(~late), data["tas"].where(late)], "expver").assign_coords(expver=[1, 5])
    every = xr.concat([halves, halves + 1], "realization").assign_attrs(data["tas"].attrs).to_dataset(name="tas")
    folder = write(tmp_path / "data", every.assign(rotated_pole=data["rotated_pole"]))
    settings = config(GRIDS["CORDEX"][1], gap="0h", select={"expver": "merge"}, members="realization")
    prepare(folder, settings, tmp_path / "into")
    codec, (_, test) = Codec.load(tmp_path / "into"), groups(tmp_path / "into")
    assert codec.projection.mapping["grid_north_pole_longitude"] == -162
    assert codec.projection.names == ("rlat", "rlon")
    values = data["tas"].to_numpy().astype(np.float64)[-8:] - 273.15
    assert np.allclose(
        codec.decode(test[:])[:, 0], np.repeat(values, 2, 0) + np.array([0, 1] * 8)[:, None, None], atol=1e-3
    )


def test_tiles_of_a_curved_grid_lie_nowhere(tmp_path):
    prepare(write(tmp_path / "data", hrrr()), config(GRIDS["HRRR"][1], gap="0h", patch=(4, 4)), tmp_path / "into")
    codec, (_, test) = Codec.load(tmp_path / "into"), groups(tmp_path / "into")
    assert codec.shape == (1, 4, 4)
    assert codec.latitude is codec.projection is codec.areas is None
    write_cf(tmp_path / "samples.nc", codec, test[:3], None, {})
    with xr.open_dataset(tmp_path / "samples.nc") as found:
        assert found["t2m"].dims == ("realization", "y", "x")
