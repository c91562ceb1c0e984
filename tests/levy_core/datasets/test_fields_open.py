"""Whatever form fields come in, opening them gives the same numbers on the same axes, lazily."""

import functools
import http.server
import threading

import cftime
import dask
import fsspec
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from fsspec.registry import known_implementations
from hypothesis import given, settings
from hypothesis import strategies as st

from levy_core.base.errors import LevyError
from levy_core.datasets.fields import grid
from levy_core.datasets.fields.config import Variable
from levy_core.datasets.fields.opening import open_fields
from levy_core.datasets.fields.sources import find
from tests.support.fields import REAL, T2M, WEATHER, config, linked, temperature, write


def same(found, expected):
    """Values and axes of a data set of temperatures."""
    assert found["t2m"].dims == ("time", "latitude", "longitude")
    assert np.array_equal(found["t2m"].to_numpy(), expected["t2m"].to_numpy().astype(np.float64))
    for name in ("time", "latitude", "longitude"):
        assert np.array_equal(found[name].to_numpy(), expected[name].to_numpy())
    return True


def renamed(data):
    data = data.rename(time="valid_time", latitude="nav_lat", longitude="x")
    data["x"].attrs = {"axis": "X", "units": "degrees_east"}
    return data


COSTUMES = {
    "as it is": lambda d: d,
    "other names": renamed,
    "no attributes but the names": lambda d: d.assign_coords({k: d[k].to_numpy() for k in ("latitude", "longitude")}),
    "south to north": lambda d: d.isel(latitude=slice(None, None, -1)),
    "dimensions in another order": lambda d: d.transpose("longitude", "time", "latitude"),
    "size-1 dimensions": lambda d: d.expand_dims(number=[0], surface=[0.0]).transpose("time", ...),
    "more variables": lambda d: d.assign(other=("station", np.arange(3.0)), tp=d["t2m"] * 0),
    "float32 coordinates": lambda d: d.assign_coords(
        latitude=d["latitude"].astype("float32").assign_attrs(d["latitude"].attrs)
    ),
    "under its standard_name alone": lambda d: d.rename(t2m="temp"),
}


@pytest.mark.parametrize("costume", COSTUMES)
def test_every_costume_gives_the_same_fields(costume, tmp_path):
    data = temperature()
    write(tmp_path, COSTUMES[costume](data))
    variable = T2M if costume != "under its standard_name alone" else Variable("air_temperature", "K")
    found = open_fields(tmp_path, config(variable)).rename({variable.key: "t2m"})
    assert same(found, data)
    assert found["t2m"].attrs["units"] == "K"


@pytest.mark.parametrize("form", ["NETCDF4", "NETCDF3_CLASSIC", "NETCDF3_64BIT", "zarr 2", "zarr 3"])
def test_every_format_gives_the_same_fields(form, tmp_path):
    data = temperature()
    if form.startswith("zarr"):
        data.chunk(time=10).to_zarr(tmp_path / "a.zarr", zarr_format=int(form[-1]), consolidated=form == "zarr 2")
    else:
        data.to_netcdf(tmp_path / "a.nc", format=form)
    assert same(open_fields(tmp_path, config()), data)


def test_packed_and_missing_values_are_decoded(tmp_path):
    data = temperature()
    data["t2m"][3, 1, 2] = np.nan
    packing = {"dtype": "int16", "scale_factor": 0.01, "add_offset": 280.0, "_FillValue": -32768}
    data.to_netcdf(tmp_path / "a.nc", encoding={"t2m": packing})
    found = open_fields(tmp_path, config())["t2m"].to_numpy()
    assert np.argwhere(np.isnan(found)).tolist() == [[3, 1, 2]]
    assert np.nanmax(np.abs(found - data["t2m"].to_numpy())) < 0.006


def test_opening_reads_no_field(tmp_path, monkeypatch):
    write(tmp_path, temperature())
    monkeypatch.setattr(dask.array.Array, "compute", lambda *_, **__: pytest.fail("a field was read"))
    found = open_fields(tmp_path, config(resample="1D"))
    assert found["t2m"].shape == (2, 3, 4)


def test_many_files_are_joined_in_order_of_time_whatever_their_names(tmp_path):
    data = temperature(60)
    write(tmp_path, *(data.isel(time=slice(a, a + 20)) for a in (40, 0, 20)))
    assert same(open_fields(tmp_path, config()), data)


def test_variables_may_lie_in_different_files_and_forms(tmp_path):
    data = temperature()
    write(tmp_path, data)
    other = (data.rename(t2m="d2m") - 3).assign_attrs()
    other["d2m"].attrs = {"units": "K"}
    other.to_zarr(tmp_path / "sub" / "more.zarr")
    found = open_fields(tmp_path, config(Variable("d2m", "K"), T2M))
    assert list(found) == ["d2m", "t2m"]
    assert np.allclose(found["t2m"] - found["d2m"], 3, atol=1e-4)


@pytest.mark.parametrize(
    "line", ["{there}/a.nc", "file://{there}/a.nc", "{there}/*.nc", "../there/a.nc", "# a comment\n\n{there}/a.nc"]
)
def test_sources_may_be_listed(line, tmp_path):
    data = temperature()
    there = write(tmp_path / "there", data)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sources.txt").write_text(line.format(there=there) + "\n")
    assert same(open_fields(tmp_path / "data", config()), data)


def test_zarr_is_read_behind_a_url(tmp_path):
    data = temperature()
    local = tmp_path / "a.zarr"
    data.to_zarr(local, zarr_format=3, consolidated=False)
    memory = fsspec.filesystem("memory")
    for path in local.rglob("*"):
        if path.is_file():
            memory.pipe_file(f"/bucket/a.zarr/{path.relative_to(local)}", path.read_bytes())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sources.txt").write_text("memory://bucket/a.zarr\n")
    assert same(open_fields(tmp_path / "data", config()), data)


def test_netcdf_is_fetched_from_a_url_and_globs_work_there(tmp_path):
    data = temperature(40)
    write(tmp_path / "there", data.isel(time=slice(0, 20)), data.isel(time=slice(20, 40)))
    memory = fsspec.filesystem("memory")
    for name in ("a.nc", "b.nc"):
        memory.pipe_file(f"/months/{name}", (tmp_path / "there" / name).read_bytes())
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sources.txt").write_text("memory://months/*.nc\n")
    assert same(open_fields(tmp_path / "data", config()), data)


@pytest.fixture
def server(tmp_path):
    """The URL of a web server that serves a folder, and the folder."""
    folder = tmp_path / "served"
    folder.mkdir()
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}", folder
        running.shutdown()
        thread.join()


def test_a_web_server_is_read(server, tmp_path, capfd):
    url, folder = server
    data = temperature(40)
    data.isel(time=slice(0, 20)).to_zarr(folder / "a.zarr", zarr_format=2, consolidated=True)
    data.isel(time=slice(20, 40)).to_netcdf(folder / "b.nc")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sources.txt").write_text(f"{url}/a.zarr\n{url}/b.nc\n")
    assert same(open_fields(tmp_path / "data", config()), data)
    (tmp_path / "data" / "sources.txt").write_text(f"{url}/gone.nc\n")
    with pytest.raises(LevyError, match=r"gone\.nc cannot be read"):
        open_fields(tmp_path / "data", config())


SERVED = pytest.mark.parametrize("served", [False, True], ids=["a copy on disk", "a web server"])
WEATHERBENCH = (
    Variable("2m_temperature", "degC"),
    Variable("total_precipitation_6hr", "mm day-1", accumulated="6h", stamped="end", minimum=0.0),
    Variable("geopotential", "m2 s-2", level=500),
)


@SERVED
def test_a_store_as_weatherbench_lays_it_out_is_read_by_days(server, tmp_path, served):
    """Longitude before latitude, south first, names of the variables in words, levels, amounts of the six hours before."""
    url, folder = server
    n, rng = 120, np.random.default_rng(0)
    axes = ("time", "longitude", "latitude")
    longitude, latitude = np.arange(0, 360, 45.0), np.linspace(-78.75, 78.75, 8)
    values = lambda *shape: rng.gamma(2.0, 1.0, shape).astype(np.float32)
    store = xr.Dataset(
        {
            "2m_temperature": (
                axes,
                270 + values(n, 8, 8),
                {"short_name": "t2m", "standard_name": "unknown", "units": "K"},
            ),
            "total_precipitation_6hr": (axes, values(n, 8, 8) / 1000, {"short_name": "tp", "units": "m"}),
            "geopotential": (("time", "level", *axes[1:]), 5e4 + values(n, 2, 8, 8), {"units": "m**2 s**-2"}),
        },
        {
            "time": pd.date_range("2001-01-01", periods=n, freq="6h"),
            "level": ("level", [500, 850]),
            "longitude": ("longitude", longitude, {"standard_name": "longitude", "units": "degrees_east"}),
            "latitude": ("latitude", latitude, {"standard_name": "latitude", "units": "degrees_north"}),
        },
    )
    name = "1959-2023_01_10-6h-8x8_equiangular_conservative.zarr"
    store.chunk({"time": 50}).to_zarr(folder / name, zarr_format=2, consolidated=True)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sources.txt").write_text(f"{url if served else folder}/{name}\n")
    found = open_fields(tmp_path / "data", config(*WEATHERBENCH, resample="1D"))
    ordered = store.transpose("time", "level", "latitude", "longitude").isel(latitude=slice(None, None, -1))
    daily = ordered.resample(time="1D").mean().sel(time=found.time)
    amounts = ordered.total_precipitation_6hr.assign_coords(time=ordered.time - np.timedelta64(6, "h")).resample(
        time="1D"
    )
    whole = amounts.sum().sel(time=found.time)  # only days of whole amounts are kept
    np.testing.assert_allclose(found["2m_temperature"], daily["2m_temperature"] - 273.15, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found["geopotential_500"], daily["geopotential"].sel(level=500), rtol=1e-6)
    np.testing.assert_allclose(found["total_precipitation_6hr"], 1000 * whole, rtol=1e-5)
    assert len(found.time) == 29
    assert found.latitude[0] > 0


ARCO = (
    Variable("2m_temperature", "degC"),
    Variable("total_precipitation", "mm day-1", accumulated="1h", stamped="end", minimum=0.0),
    Variable("geopotential", "m2 s-2", level=500),
)


@SERVED
def test_a_store_as_arco_era5_lays_it_out_is_read_by_days(server, tmp_path, served):
    """One hour per chunk, north first, hours since 1900, more variables than are asked for, and an axis of times that goes on
    before and after the hours that were ever written."""
    url, folder = server
    n, rng = 24 * 8, np.random.default_rng(0)
    axes, shape = ("time", "latitude", "longitude"), (n, 5, 8)
    values = lambda *of: rng.gamma(2.0, 1.0, of).astype(np.float32)
    written = slice(24 * 2, 24 * 6)
    described = lambda name, units, short: {"long_name": name, "short_name": short, "units": units}
    store = xr.Dataset(
        {
            "2m_temperature": (axes, 270 + values(*shape), described("2 metre temperature", "K", "t2m")),
            "total_precipitation": (axes, values(*shape) / 1000, described("Total precipitation", "m", "tp")),
            "geopotential": (
                ("time", "level", *axes[1:]),
                5e4 + values(n, 3, *shape[1:]),
                described("Geopotential", "m**2 s**-2", "z") | {"standard_name": "geopotential"},
            ),
            "sea_surface_temperature": (axes, 280 + values(*shape), described("Sea surface temperature", "K", "sst")),
        },
        {
            "time": pd.date_range("2001-01-01", periods=n, freq="h"),
            "level": ("level", [500, 850, 1000]),
            "latitude": ("latitude", np.linspace(90, -90, 5), {"long_name": "latitude", "units": "degrees_north"}),
            "longitude": ("longitude", np.arange(0, 360, 45.0), {"long_name": "longitude", "units": "degrees_east"}),
        },
        {"valid_time_start": "2001-01-03", "valid_time_stop": "2001-01-06"},
    )
    name = "full_3-1h-45deg-chunk-1.zarr-v3"
    encoding: dict[str, dict[str, object]] = {"time": {"units": "hours since 1900-01-01", "dtype": "int64"}}
    store.chunk({"time": 1}).to_zarr(folder / name, zarr_format=2, consolidated=True, encoding=encoding, compute=False)
    some = store.isel(time=written).drop_vars(["level", "latitude", "longitude"])
    some.chunk({"time": 1}).to_zarr(folder / name, zarr_format=2, region={"time": written})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sources.txt").write_text(f"{url if served else folder}/{name}\n")
    found = open_fields(tmp_path / "data", config(*ARCO, resample="1D"))
    days = [
        str(day)[:10]
        for day, field in zip(found.time.values, found["2m_temperature"], strict=True)
        if field.notnull().all()
    ]
    assert days == ["2001-01-03", "2001-01-04", "2001-01-05", "2001-01-06"]
    whole = found.sel(time=["2001-01-04", "2001-01-05"])
    hours = store.sel(time=whole.time.dt.strftime("%Y-%m-%d").values[0])
    np.testing.assert_allclose(
        whole["2m_temperature"][0], hours["2m_temperature"].mean("time") - 273.15, rtol=1e-5, atol=1e-4
    )
    np.testing.assert_allclose(
        whole["geopotential_500"][0], hours["geopotential"].sel(level=500).mean("time"), rtol=1e-6
    )
    amounts = store["total_precipitation"].sel(time=slice("2001-01-04T01", "2001-01-05T00")).sum("time")
    np.testing.assert_allclose(whole["total_precipitation"][0], 1000 * amounts, rtol=1e-5)


def test_a_missing_backend_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(known_implementations, "gs", {"class": "absent_package.Files", "err": "Please install gcsfs"})
    (tmp_path / "sources.txt").write_text("gs://bucket/era5.zarr\n")
    with pytest.raises(LevyError, match="gcsfs"):
        open_fields(tmp_path, config())


def test_files_are_found_in_folders_and_hidden_ones_are_not(tmp_path):
    write(tmp_path / "sub", temperature())
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "x.nc").touch()
    (tmp_path / "notes.md").touch()
    assert find(tmp_path) == [str(tmp_path / "sub" / "a.nc")]


def test_pressure_levels_are_chosen_in_hpa_whatever_their_units(tmp_path):
    data = temperature()
    levels = np.array([500.0, 850.0])
    stacked = data["t2m"] + xr.DataArray(levels, dims="plev")
    for i, (name, units, factor) in enumerate((("plev", "Pa", 100), ("level", "millibars", 1), ("level", "", 1))):
        coordinate = (name, levels * factor, {"units": units} if units else {})
        t = stacked.rename("t").rename(plev=name).assign_coords({name: coordinate}).assign_attrs(units="K")
        folder = write(tmp_path / str(i), t.to_dataset())
        found = open_fields(folder, config(Variable("t", "K", level=850), Variable("t", "K", level=500)))
        assert list(found) == ["t_850", "t_500"]
        assert np.allclose(found["t_850"] - found["t_500"], 350, atol=1e-3)
        with pytest.raises(LevyError, match=r"levels 500, 850 hPa"):
            open_fields(folder, config(Variable("t", "K")))
        with pytest.raises(LevyError, match="no level 700"):
            open_fields(folder, config(Variable("t", "K", level=700)))


@pytest.mark.parametrize("calendar", ["noleap", "360_day", "julian", "all_leap"])
def test_other_calendars_keep_their_times(calendar, tmp_path):
    times = xr.date_range("2000-02-27", periods=6, freq="D", calendar=calendar, use_cftime=True)
    data = temperature(6).assign_coords(time=times)
    write(tmp_path, data)
    found = open_fields(tmp_path, config(period=("2000-02-28", "2000-03-01")))
    assert found["time"].to_numpy()[0] == cftime.datetime(2000, 2, 28, calendar=calendar)
    assert found["time"].dt.calendar == calendar
    assert found.sizes["time"] == {"noleap": 2, "360_day": 4, "julian": 3, "all_leap": 3}[calendar]


def forecasts(steps, references=("2001-01-01T06", "2001-01-01T18")):
    """Forecasts as cfgrib gives them: time is the reference time."""
    reference = pd.DatetimeIndex(references)
    step = pd.to_timedelta(steps, unit="h")
    values = np.arange(len(reference) * len(step), dtype=np.float64).reshape(len(reference), len(step), 1, 1) + 280
    data = temperature(1).isel(latitude=[0], longitude=[0])
    return xr.Dataset(
        {"t2m": (("time", "step", "latitude", "longitude"), values, {"units": "K"})},
        {
            "time": ("time", reference, {"standard_name": "forecast_reference_time"}),
            "step": ("step", step, {"standard_name": "forecast_period"}),
            "valid_time": (
                ("time", "step"),
                reference.to_numpy()[:, None] + step.to_numpy(),
                {"standard_name": "time"},
            ),
            "latitude": data["latitude"],
            "longitude": data["longitude"],
        },
    )


def test_forecasts_that_follow_each_other_become_one_time_axis(tmp_path):
    data = forecasts(range(1, 13))
    data["t2m"][0, :3] = np.nan  # not in the file
    found = open_fields(write(tmp_path, data), config())["t2m"]
    assert found["time"].to_numpy()[0] == np.datetime64("2001-01-01T10")
    assert np.array_equal(found.to_numpy().ravel(), np.arange(3, 24) + 280.0)


def test_forecasts_that_overlap_are_refused(tmp_path):
    with pytest.raises(LevyError, match="times must rise"):
        open_fields(write(tmp_path, forecasts(range(1, 15))), config())


GLOBE = st.sampled_from([1.0, 2.5, 30.0])


@settings(max_examples=60, deadline=None)
@given(step=GLOBE, start=st.sampled_from([-180.0, 0.0]), west=st.integers(-180, 180), width=st.integers(31, 359))
def test_a_box_holds_exactly_the_longitudes_between_its_edges(step, start, west, width):
    longitude = start + np.arange(0, 360, step)
    east = west + width if west + width <= 360 else west + width - 360
    runs, found = grid.columns(longitude, (-90, 90, west, east), "a file")
    expected = [x for x in np.sort((longitude - west) % 360) if x <= (width if width < 360 else 359.999)]
    assert np.allclose(found - west, expected)  # rising, from the western edge
    assert np.allclose((np.concatenate([longitude[r] for r in runs]) - found) % 360, 0)
    assert len(runs) <= 2


def test_a_box_across_0_and_across_the_date_line(tmp_path):
    longitude = np.arange(0, 360, 10.0)
    data = temperature(3, latitude=(60.0, 50.0, 40.0, 30.0), longitude=longitude)
    write(tmp_path, data)
    across = open_fields(tmp_path, config(box=(40, 50, -20, 10)))["t2m"]
    assert across["longitude"].to_numpy().tolist() == [-20, -10, 0, 10]
    assert np.array_equal(across, data["t2m"].isel(latitude=[1, 2], longitude=[34, 35, 0, 1]))
    date_line = open_fields(tmp_path, config(box=(40, 50, 170, -170)))["t2m"]
    assert date_line["longitude"].to_numpy().tolist() == [170, 180, 190]


@pytest.mark.parametrize("box", [None, (40, 60, -30, 20), (30, 60, 170, -170)])
def test_longitudes_that_run_westwards_are_turned(box, tmp_path):
    data = temperature(3, latitude=(60.0, 50.0, 40.0, 30.0), longitude=np.arange(0, 360, 10.0))
    write(tmp_path / "east", data)
    write(tmp_path / "west", data.isel(longitude=slice(None, None, -1)))
    found, expected = (open_fields(tmp_path / name, config(box=box))["t2m"] for name in ("west", "east"))
    assert np.array_equal(found.longitude, expected.longitude)
    assert np.array_equal(found, expected)


def test_files_from_0_and_from_minus_180_degrees_are_of_one_grid(tmp_path):
    data = temperature(6, longitude=np.arange(0, 360, 10.0))
    turned = data.assign_coords(
        longitude=("longitude", (data.longitude.to_numpy() + 180) % 360 - 180, data.longitude.attrs)
    )
    turned = turned.sortby("longitude")
    folder = write(tmp_path, data.isel(time=slice(0, 3)), turned.isel(time=slice(3, 6)))
    assert np.array_equal(open_fields(folder, config())["t2m"], data["t2m"])
    west = temperature(6, longitude=(350.0, 352.0, 354.0))
    shifted = west.assign_coords(longitude=west.longitude - 360)
    shifted.longitude.attrs = west.longitude.attrs
    folder = write(tmp_path / "regional", west.isel(time=slice(0, 3)), shifted.isel(time=slice(3, 6)))
    assert np.array_equal(open_fields(folder, config())["t2m"], west["t2m"])


@pytest.mark.parametrize(("how", "reduction"), [("mean", np.mean), ("sum", np.sum), ("max", np.max), ("min", np.min)])
def test_resampling_takes_whole_days_only_and_keeps_gaps(how, reduction, tmp_path):
    data = temperature(24 * 4 + 5, start="2001-01-01T19")  # 5 hours, 4 days
    data["t2m"][30, 0, 0] = np.nan  # 1 January ends after 5 hours: on the 3rd
    found = open_fields(write(tmp_path, data), config(resample="1D", how=how))["t2m"]
    days = data["t2m"].to_numpy().astype(np.float64)[5:].reshape(4, 24, 3, 4)
    assert np.array_equal(found.to_numpy(), reduction(days, axis=1), equal_nan=True)
    assert np.isnan(found.to_numpy()).sum() == 1
    assert found["time"].to_numpy()[0] == np.datetime64("2001-01-02")
    assert found.attrs["cell_methods"].startswith(f"time: {how}")


@pytest.mark.parametrize("calendar", ["proleptic_gregorian", "360_day"])
def test_months_are_those_of_xarray(calendar, tmp_path):
    times = xr.date_range("2001-01-01", periods=120, freq="D", calendar=calendar, use_cftime=calendar == "360_day")
    data = temperature(120).assign_coords(time=times)
    found = open_fields(write(tmp_path, data), config(resample="1MS"))["t2m"]
    expected = data["t2m"].astype(np.float64).resample(time="1MS").mean()
    assert (
        found.sizes["time"] == 4 if calendar == "360_day" else 3
    )  # 120 days: the fourth month lacks no day, or is left out
    assert np.allclose(found.to_numpy(), expected.to_numpy()[: found.sizes["time"]])


def test_stations_keep_their_names_and_places(tmp_path):
    data = xr.Dataset(
        {"tas": (("station", "time"), np.random.default_rng(0).normal(10, 1, (3, 40)), {"units": "degC"})},
        {
            "time": pd.date_range("2001-01-01", periods=40),
            "station": ["Kew", "Oxford", "Wick"],
            "lat": ("station", [51.5, 51.8, 58.4]),
            "lon": ("station", [-0.3, -1.3, -3.1]),
        },
    )
    found = open_fields(write(tmp_path, data), config(Variable("tas", "K")))["tas"]
    assert found.dims == ("time", "place")
    assert found["place"].to_numpy().tolist() == ["Kew", "Oxford", "Wick"]
    assert np.allclose(found, data["tas"].T + 273.15)
    south = open_fields(tmp_path, config(Variable("tas", "K"), box=(50, 55, -5, 5)))["tas"]
    assert south["place"].to_numpy().tolist() == ["Kew", "Oxford"]


def test_a_variable_that_has_the_steps_already_is_taken_as_it_is_beside_one_of_shorter_steps(tmp_path):
    hours, days = temperature(96), temperature(4, seed=1).rename(t2m="pr")
    days = days.assign_coords(
        time=pd.date_range("2001-01-01T12", periods=4)
    )  # a mean of the day, stamped in its middle
    found = open_fields(write(tmp_path / "days", hours, days), config(T2M, Variable("pr", "K"), resample="1D"))
    assert np.array_equal(found["time"], pd.date_range("2001-01-01", periods=4))
    assert np.array_equal(found["pr"], days["pr"])
    assert np.allclose(found["t2m"], hours["t2m"].to_numpy().astype(float).reshape(4, 24, 3, 4).mean(1), rtol=1e-12)
    six = temperature(16, seed=1, freq="6h").rename(t2m="u")
    found = open_fields(write(tmp_path / "hours", hours, six), config(T2M, Variable("u", "K"), resample="6h"))
    assert np.array_equal(found["u"], six["u"])
    with pytest.raises(LevyError, match="variable 'u' has 16 steps of 6 hours"):
        open_fields(tmp_path / "hours", config(T2M, Variable("u", "K"), resample="3h"))


def stations(name, order=(0, 1, 2), **coordinates):
    """A data set of three stations in some order, that their dimension does not name."""
    order = list(order)
    data = xr.Dataset(
        {name: (("time", "station"), np.random.default_rng(0).normal((20, 10, 0), 1, (40, 3))[:, order])},
        {
            "time": pd.date_range("2001-01-01", periods=40),
            "lat": ("station", np.array([48.0, 52.0, 60.0])[order], {"units": "degrees_north"}),
            "lon": ("station", np.array([2.0, 13.0, 25.0])[order], {"units": "degrees_east"}),
            **{k: ("station", np.array(names)[order]) for k, names in coordinates.items()},
        },
    )
    data[name].attrs["units"] = "degC"
    return data


def test_places_of_two_files_must_be_the_same_in_the_same_order(tmp_path):
    two = config(Variable("tx", "degC"), Variable("tn", "degC"))
    assert open_fields(write(tmp_path / "same", stations("tx"), stations("tn")), two).sizes["place"] == 3
    west = stations("tn").assign_coords(lon=("station", [2.0, 13.0, 385.0], {"units": "degrees_east"}))
    assert open_fields(write(tmp_path / "turned", stations("tx"), west), two).sizes["place"] == 3
    at = r"number 1 of 3 is 0 at 48, 2 degrees for 'tx' in .*a\.nc, but 0 at 60, 25 degrees for '\w+' in .*b\.nc"
    with pytest.raises(LevyError, match=at):
        open_fields(write(tmp_path / "reversed", stations("tx"), stations("tn", (2, 1, 0))), two)
    later = stations("tx", (2, 1, 0)).assign_coords(time=pd.date_range("2001-02-10", periods=40))
    with pytest.raises(LevyError, match=at):
        open_fields(write(tmp_path / "later", stations("tx"), later), config(Variable("tx", "degC")))
    named = [stations(name, order, id=["P", "B", "H"]) for name, order in (("tx", (0, 1, 2)), ("tn", (0, 2, 1)))]
    with pytest.raises(LevyError, match=r"number 2 of 3 is B at 52, 13 degrees .* but H at 60, 25 degrees"):
        open_fields(write(tmp_path / "named", *named), two)


def test_places_have_the_names_of_a_coordinate_beside_their_dimension(tmp_path):
    def names(folder, data):
        return open_fields(write(tmp_path / folder, data), config(Variable("tx", "degC")))["place"].to_numpy().tolist()

    towns = ["Paris", "Köln", "Turku"]
    assert names("text", stations("tx", town=towns)) == towns
    assert names("bytes", stations("tx", town=[town.encode() for town in towns])) == towns
    both = stations("tx", town=towns, code=[71, 86, 29])
    both["code"].attrs["cf_role"] = "timeseries_id"
    assert names("identified", both) == ["71", "86", "29"]
    assert names("twice", stations("tx", country=["FR", "DE", "DE"])) == ["0", "1", "2"]
    assert names("two texts", stations("tx", town=towns, country=["FR", "DE", "FI"])) == ["0", "1", "2"]


def test_a_series_without_a_place_is_one_place(tmp_path):
    data = temperature().isel(latitude=0, longitude=0, drop=True)
    assert open_fields(write(tmp_path, data), config())["t2m"].shape == (48, 1)


@REAL
def test_the_grib_file_is_that_of_cfgrib(tmp_path):
    name = "era5-2mt-2019-03-uk.grib"
    found = open_fields(linked(tmp_path, name), config(Variable("t2m", "degC"), box=(51, 55, -3, 1)))["t2m"]
    theirs = xr.open_dataset(tmp_path / name, engine="cfgrib", backend_kwargs={"indexpath": ""})["t2m"]
    theirs = theirs.sel(latitude=slice(55, 51), longitude=slice(-3, 1))
    assert found.shape == (200, 17, 17)
    assert np.array_equal(found.to_numpy(), theirs.to_numpy().astype(np.float64) - 273.15)
    assert [p.name for p in tmp_path.iterdir()] == [name]  # no index beside the data


@REAL
def test_the_precipitation_file_keeps_its_calendar_and_missing_cells(tmp_path):
    folder = linked(tmp_path, "pr_day_CanESM2_rcp85_2095.nc")
    found = open_fields(folder, config(Variable("lwe_precipitation_rate", "mm day-1")))["lwe_precipitation_rate"]
    theirs = xr.open_dataset(folder / "pr_day_CanESM2_rcp85_2095.nc")["pr"]
    assert found["time"].dt.calendar == "noleap"
    assert np.array_equal(found.to_numpy(), theirs.to_numpy().astype(np.float64) * 86400, equal_nan=True)
    assert np.isnan(found.to_numpy()).sum() == 2 * 365


@REAL
def test_the_cities_become_places_in_the_units_asked_for(tmp_path):
    variables = (Variable("tas", "degC"), Variable("pr", "mm day-1"), Variable("dew_point_temperature", "K"))
    found = open_fields(linked(tmp_path, "era5_daily_surface_cancities_1990-1993.nc"), config(*variables))
    theirs = xr.open_dataset(WEATHER / "era5_daily_surface_cancities_1990-1993.nc")
    assert found["place"].to_numpy().tolist() == theirs["location"].to_numpy().tolist()
    assert np.allclose(found["pr"], theirs["pr"].T.astype(np.float64) * 86400, rtol=1e-12)
    assert found["pr"].attrs["standard_name"] == "lwe_precipitation_rate"  # a flux of mass has become a depth
    assert np.allclose(found["tas"], theirs["tas"].T - 273.15, atol=1e-4)
