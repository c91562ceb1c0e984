"""Fields that are the same at all times: found in the files that people have, standardised, and refused where they do not fit."""

import json

import numpy as np
import pytest
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.config import FieldsConfig, Static, Variable
from levy_core.datasets.fields.opening import open_parts
from levy_core.datasets.fields.prepare import inspect
from levy_core.datasets.fields.static import load_static, read_static
from tests.support.curved import cordex
from tests.support.fields import config, groups, prepare, temperature, write

STATIC = Static("static.nc", ("z", "lsm"))
HEIGHT = np.array([[0, 0, 20, 400], [0, 10, 900, 1500], [0, 0, 300, 700.0]])


def surface(data, height=HEIGHT, **changes):
    """Geopotential and land-sea mask on the grid of a data set, without times."""
    latitude, longitude = data["latitude"], data["longitude"]
    said = {"z": {"units": "m**2 s**-2", "standard_name": "geopotential"}, "lsm": {"units": "(0 - 1)"}}
    values = {"z": 9.80665 * height, "lsm": (height > 0).astype(float)} | changes
    return xr.Dataset(
        {k: (("latitude", "longitude"), v.astype(np.float32), said[k]) for k, v in values.items()},
        {"latitude": latitude, "longitude": longitude},
    )


def beside(tmp_path, static, data=None):
    """A folder with fields and static.nc."""
    folder = write(tmp_path / "data", temperature() if data is None else data)
    static.to_netcdf(folder / "static.nc")
    return folder


def found(folder, settings):
    """What is read, [K, H, W], in the units of the source."""
    return np.stack([field.values for field in read_static(open_parts(folder, settings))])


COSTUMES = {
    "as it is": lambda d: d,
    "from south to north, from -180 to 180": lambda d: d.isel(latitude=slice(None, None, -1)).assign_coords(
        longitude=(d.longitude + 180) % 360 - 180
    ),
    "of one time, as the Climate Data Store gives it": lambda d: d.expand_dims(
        valid_time=[np.datetime64("1940-01-01", "ns")]
    ).assign_coords(number=0, expver="0001"),
    "at many times": lambda d: d.expand_dims(
        time=np.arange("2001-01-01", "2001-01-04", dtype="datetime64[D]").astype("datetime64[ns]")
    ),
    "by other names of the axes": lambda d: d.rename(latitude="lat", longitude="lon"),
    "larger than the box": lambda d: d.pad(latitude=(0, 1), longitude=(1, 1), mode="edge").assign_coords(
        latitude=("latitude", np.array([52.0, 51, 50, 49]), d.latitude.attrs),
        longitude=("longitude", np.arange(-1.0, 5), d.longitude.attrs),
    ),
}


@pytest.mark.parametrize("costume", COSTUMES)
def test_they_are_found_in_the_costumes_of_era5(costume, tmp_path):
    static = COSTUMES[costume](surface(temperature()))
    settings = config(static=STATIC, box=(50, 52, 0, 3))
    assert np.allclose(found(beside(tmp_path, static), settings), [9.80665 * HEIGHT, HEIGHT > 0], rtol=1e-6)


def test_they_are_standardised_over_their_cells_in_the_order_asked_for(tmp_path):
    coast = np.where(HEIGHT > 0, HEIGHT, np.nan)
    folder = beside(tmp_path, surface(temperature(200), z=coast), temperature(200))
    statistics = prepare(folder, config(static=Static("static.nc", ("lsm", "z")), gap="0h"), tmp_path / "into")
    lsm, z = load_static(tmp_path / "into", ["lsm", "z"])
    land = HEIGHT > 0
    assert np.allclose(lsm, (land - land.mean()) / land.std(), atol=1e-6)
    assert np.allclose(z[land], (HEIGHT[land] - HEIGHT[land].mean()) / HEIGHT[land].std(), atol=1e-6)
    assert (z[~land] == 0).all()  # the mean, as networks are shown missing values of fields
    assert statistics["static"][1] == pytest.approx(
        {
            "name": "z",
            "mean": HEIGHT[land].mean(),
            "std": HEIGHT[land].std(),
            "min": 10,
            "max": 1500,
            "missing": (~land).sum(),
        }
    )
    with pytest.raises(LevyError, match=r"holds lsm, z, but z are expected: run the prepare stage again"):
        load_static(tmp_path / "into", ["z"])


def test_they_change_nothing_of_the_fields(tmp_path):
    prepare(beside(tmp_path, surface(temperature(200)), temperature(200)), config(static=STATIC), tmp_path / "with")
    prepare(write(tmp_path / "alone", temperature(200)), config(), tmp_path / "without")
    for told, plain in zip(groups(tmp_path / "with"), groups(tmp_path / "without"), strict=True):
        assert np.array_equal(told[:], plain[:])
    for name in ("codec.json", "codec.safetensors", "prepared.json"):
        assert (tmp_path / "with" / name).read_bytes() == (tmp_path / "without" / name).read_bytes()
    assert not (tmp_path / "without" / "static.safetensors").exists()
    assert "static" not in json.loads((tmp_path / "without" / "statistics.json").read_text())


def test_a_surface_may_share_its_name_with_levels_and_its_store_with_fields(tmp_path):
    data = temperature()
    levels = data.rename(t2m="z").expand_dims(level=[850.0, 500.0])
    levels = levels.assign_coords(level=("level", [850.0, 500.0], {"units": "hPa"}))
    levels["z"].attrs = {"units": "m2 s-2"}
    folder = write(tmp_path / "levels", levels)
    surface(data).to_netcdf(folder / "static.nc")
    settings = config(Variable("z", "m2 s-2", level=500), static=STATIC)
    assert np.allclose(found(folder, settings)[0], 9.80665 * HEIGHT, rtol=1e-6)
    both = tmp_path / "both"
    xr.merge([data, surface(data)]).to_zarr(both / "era5.zarr", zarr_format=2)
    assert np.allclose(found(both, config(static=Static("era5.zarr", ("lsm",)))), HEIGHT > 0)


def test_members_and_curved_grids_have_them_too(tmp_path):
    data = xr.concat([cordex(40), cordex(40, seed=1)], "realization", data_vars=["tas"]).assign_coords(
        realization=[1, 2]
    )
    (tmp_path / "data").mkdir()
    data.to_netcdf(tmp_path / "data" / "tas.nc")
    height = np.abs(data.lat - 40).drop_vars("height")
    xr.Dataset({"orog": height.assign_attrs(units="m")}).to_netcdf(tmp_path / "data" / "orog.nc")
    settings = config(
        Variable("tas", "K"), members="realization", select={"height": 2}, static=Static("orog.nc", ("orog",))
    )
    assert np.allclose(found(tmp_path / "data", settings)[0], height)
    cut = found(tmp_path / "data", FieldsConfig.from_mapping(settings.to_mapping() | {"box": [35, 45, -10, 5]}))[0]
    assert np.isnan(cut).any()
    assert np.nanmax(cut) <= 5


REFUSED = {
    "another grid": (
        lambda d: d.assign_coords(latitude=d.latitude + 0.5),
        r"different grids: 3 x 4 cells from 52 to 50 .* for 't2m' in .*a\.nc, but 3 x 4 cells from 52.5 .* for 'z' in .*static\.nc: .*interpolate",
    ),
    "a variable that is not there": (
        lambda d: d.drop_vars("lsm").rename(z="oro"),
        r"static\.nc in .*data has no variable 'z' for `static`: there are oro",
    ),
    "no value": (lambda d: d.where(d.latitude > 90), r"static\.nc: static variable 'z' has no value in any cell"),
    "the same everywhere": (lambda d: d * 0, r"'z' is 0 in all cells of the fields, which tells a network nothing"),
    "a fill value": (lambda d: d.where(d.z > 0, -9999), r"'z' has the value -9999, which looks like a fill value"),
    "a field that changes": (
        lambda d: (
            d.expand_dims(time=np.arange("2001-01-01", "2001-01-03", dtype="datetime64[D]").astype("datetime64[ns]"))
            * xr.DataArray([1, 2], dims="time")
        ),
        r"'z' has 2 times, of which the first and the last differ",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused_before_anything_is_written(case, tmp_path):
    change, message = REFUSED[case]
    folder = beside(tmp_path, change(surface(temperature())))
    with pytest.raises(LevyError, match=message):
        inspect(folder, config(static=STATIC, gap="0h"))  # what `levy check` asks
    with pytest.raises(LevyError, match=message):
        prepare(folder, config(static=STATIC, gap="0h"), tmp_path / "again")
    assert list((tmp_path / "again").iterdir()) == []


def test_a_file_that_is_not_there_and_one_that_is_there_twice(tmp_path):
    folder = beside(tmp_path, surface(temperature()))
    with pytest.raises(
        LevyError, match=r"`files` of `static`: other\.nc finds no file: correct the path, relative to .*data"
    ):
        inspect(folder, config(static=Static("other.nc", ("z",)), gap="0h"))
    surface(temperature()).to_netcdf(folder / "static2.nc")
    with pytest.raises(LevyError, match=r"'z' is in .*static\.nc and in .*static2\.nc: name one"):
        inspect(folder, config(static=Static("static*.nc", ("z",)), gap="0h"))


@pytest.mark.parametrize(
    "said",
    ["static.nc", {"files": "static.nc"}, {"files": "a", "variables": "z"}, {"files": "a", "variables": ["z"], "x": 1}],
)
def test_settings_that_say_something_else_are_refused(said):
    variables = [{"name": "t2m", "units": "K"}]
    with pytest.raises(LevyError, match=r"such as `static: \{files: static\.nc, variables: \[z, lsm\]\}`"):
        FieldsConfig.from_mapping({"variables": variables, "static": said})
    with pytest.raises(LevyError, match="at least one is needed, each only once"):
        Static("static.nc", ("z", "z"))
    with pytest.raises(LevyError, match="tiles do not know: leave `static` or `patch` out"):
        config(static=STATIC, patch=(2, 2))


def test_settings_survive_json():
    settings = config(static=STATIC)
    assert FieldsConfig.from_mapping(json.loads(json.dumps(settings.to_mapping()))) == settings
