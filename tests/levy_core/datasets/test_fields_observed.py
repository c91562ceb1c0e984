"""Observed values in physical units are rows of the standardised field that the network sees, wherever and however they were observed."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy.special import ndtri

from levy_core.base.errors import LevyError
from levy_core.base.samples import RECORDED, Samples
from levy_core.datasets.fields.climatology import Climatology, design
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import Variable
from levy_core.datasets.fields.observed import read_observed
from levy_core.datasets.fields.quantile_mapping import QuantileMapping

LATITUDE, LONGITUDE = np.linspace(60, 46, 8), np.linspace(-10, 12, 12)
T2M, RAIN = Variable("t2m", "degC"), Variable("tp", "mm day-1", transform="log1p", minimum=0.0, accumulated="1D")
TIME = "2019-07-25T12"
ALL = Samples("fields", ("all",), **RECORDED["fields"])
SEASONAL = Samples("fields", ("DJF", "JJA"), **RECORDED["fields"])
EXACT = {"": 0.0}


def codec(longitude=LONGITUDE, **changes):
    rng = np.random.default_rng(0)
    terms = design("day", pd.DatetimeIndex([TIME]).to_numpy()).shape[1]
    parts = {
        "variables": (T2M, RAIN),
        "mean": np.array([9.0, 0.7]),
        "std": np.array([5.0, 0.8]),
        "valid": np.ones((2, 8, len(longitude)), dtype=bool),
        "latitude": LATITUDE,
        "longitude": longitude,
        "climatology": Climatology("day", rng.standard_normal((2, terms, 8, len(longitude)))),
    }
    return Codec(**{**parts, **changes})


def field(it, seed=1):
    """A physical field [1, 2, H, W] of TIME, and as the network sees it, flattened."""
    x = np.random.default_rng(seed).standard_normal((1, *it.shape)).astype(np.float32)
    time = np.array(["2019-07-25T12"], dtype="datetime64[ns]")
    values = np.maximum(it.decode(x, time), [[[[-99.0]], [[0.0]]]])
    return values, it.encode(values, time).reshape(-1).astype(np.float64)


def dataset(it, values, time=TIME):
    space = {"latitude": it.latitude, "longitude": it.longitude}
    data = {v.key: (("latitude", "longitude"), values[0, c], {"units": v.units}) for c, v in enumerate(it.variables)}
    coordinates = space | ({} if time is None else {"time": pd.Timestamp(time)})
    return xr.Dataset(data, coordinates)


def seen(observed, x):
    return (x[observed.cells] * observed.weights).sum(1)


def test_a_grid_with_gaps_gives_the_cells_that_were_observed(tmp_path):
    it = codec()
    values, x = field(it)
    gaps = np.random.default_rng(2).random(values.shape) < 0.7
    dataset(it, np.where(gaps, np.nan, values)).to_netcdf(tmp_path / "a.nc")
    found = read_observed(tmp_path / "a.nc", it, ALL, {"t2m": 0.5, "": 0.0})
    assert found.cells[:, 0].tolist() == np.flatnonzero(~gaps.reshape(-1)).tolist()
    assert np.allclose(found.values, seen(found, x), atol=1e-4)
    assert np.unique(found.std).tolist() == [0, 0.1]  # half a degree of five
    assert (
        found.text == f"{(~gaps[0, 0]).sum()} values of t2m, {(~gaps[0, 1]).sum()} values of tp at 2019-07-25 12:00:00"
    )


@pytest.mark.parametrize("part", [{"latitude": [3]}, {"longitude": [5]}, {"latitude": [3], "longitude": [5]}], ids=str)
def test_one_row_one_column_and_one_cell_are_parts_of_the_grid(tmp_path, part):
    it = codec()
    values, x = field(it)
    dataset(it, values).expand_dims(["time", "number"]).isel(part).to_netcdf(tmp_path / "a.nc")
    found = read_observed(tmp_path / "a.nc", it, ALL, EXACT)
    rows, columns = part.get("latitude", range(8)), part.get("longitude", range(12))
    assert found.cells[:, 0].tolist() == [c * 96 + r * 12 + k for c in range(2) for r in rows for k in columns]
    assert np.allclose(found.values, seen(found, x), atol=1e-4)


def test_the_error_of_a_transformed_value_goes_through_the_transform(tmp_path):
    it = codec()
    values, _ = field(it)
    values[0, 1] = 9.0
    dataset(it, values)[["tp"]].to_netcdf(tmp_path / "a.nc")
    found = read_observed(tmp_path / "a.nc", it, ALL, {"tp": 0.01})
    assert np.allclose(found.std, 0.01 / 10 / 0.8, rtol=1e-3)  # the slope of log(1 + x) at 9


def test_part_of_the_grid_in_any_order_units_and_turn(tmp_path):
    it = codec()
    values, x = field(it)
    part = dataset(it, values)[["t2m"]].isel(latitude=[6, 2], longitude=[11, 0, 5])
    part["t2m"] = part.t2m + 273.15
    part.t2m.attrs["units"] = "K"
    part = part.assign_coords(longitude=part.longitude % 360)
    part.to_netcdf(tmp_path / "a.nc")
    found = read_observed(tmp_path / "a.nc", it, ALL, EXACT)
    assert found.cells[:, 0].tolist() == [6 * 12 + 11, 6 * 12, 6 * 12 + 5, 2 * 12 + 11, 2 * 12, 2 * 12 + 5]
    assert np.allclose(found.values, seen(found, x), atol=1e-4)


@pytest.mark.parametrize("flip", [False, True])
def test_a_coarse_grid_gives_means_over_cells_by_area(tmp_path, flip):
    it = codec()
    values, x = field(it)
    weights = xr.DataArray(np.cos(np.deg2rad(LATITUDE)), {"latitude": LATITUDE}, "latitude")
    fine = dataset(it, values)[["t2m"]]
    blocks = {"latitude": 2, "longitude": 3}
    coarse = (fine * weights).coarsen(blocks).sum() / (xr.ones_like(fine.t2m) * weights).coarsen(blocks).sum()
    coarse.t2m.attrs["units"] = "degC"
    coarse = coarse.isel(latitude=slice(None, None, -1 if flip else 1))
    coarse.to_netcdf(tmp_path / "a.nc")
    found = read_observed(tmp_path / "a.nc", it, ALL, EXACT, means=True)
    assert found.cells.shape == (16, 6)
    assert np.allclose(found.values, seen(found, x), atol=1e-4)


@pytest.mark.parametrize("globe", [False, True])
def test_stations_are_interpolated_between_cells_as_xarray_does(tmp_path, globe):
    it = codec(np.arange(12) * 30.0) if globe else codec()
    values, x = field(it)
    rng = np.random.default_rng(3)
    latitude = rng.uniform(46, 60, 20)
    longitude = rng.uniform(-180, 180, 20) if globe else rng.uniform(-10, 12, 20)
    around = dataset(it, values).pad(longitude=(0, 1 if globe else 0), mode="wrap")
    if globe:
        around = around.assign_coords(longitude=np.arange(13) * 30.0)
    at = {
        "latitude": xr.DataArray(latitude, dims="p"),
        "longitude": xr.DataArray(longitude % 360 if globe else longitude, dims="p"),
    }
    table = pd.DataFrame(
        {"variable": "t2m", "latitude": latitude, "longitude": longitude, "value": around.t2m.interp(at), "std": 0.2}
    )
    table.to_csv(tmp_path / "a.csv", index=False)
    found = read_observed(tmp_path / "a.csv", it, ALL, {}, time=TIME)
    assert np.allclose(found.values, seen(found, x), atol=1e-4)
    assert np.allclose(found.std, 0.04)
    table.assign(variable="tp", value=around.tp.interp(at), std=0.0).to_csv(tmp_path / "b.csv", index=False)
    rain = read_observed(tmp_path / "b.csv", it, ALL, {}, time=TIME)
    behind, cells = rain.behind, x[rain.cells][None]
    means = (behind.inside(cells) * rain.weights).sum(-1)
    assert np.allclose(means[0], rain.reported.values, atol=1e-4)
    assert np.allclose(behind.outside(means)[0], rain.values, atol=1e-4)
    assert behind.points


def test_the_nearest_cell_stands_for_points_behind_a_transform_only(tmp_path):
    it = codec()
    values, x = field(it)
    near = {"latitude": LATITUDE[3] + 0.1, "longitude": LONGITUDE[4] - 0.2}
    table = pd.DataFrame([{"variable": name, **near, "value": values[0, c, 3, 4]} for c, name in enumerate(it.names)])
    table.to_csv(tmp_path / "a.csv", index=False)
    found = read_observed(tmp_path / "a.csv", it, ALL, EXACT, time=TIME)
    nearest = found.nearest()
    assert nearest.behind is None
    assert nearest.places[1] == {(8 * 12 + 3 * 12 + 4, 1.0)}
    assert nearest.places[0] == found.places[0]
    assert np.allclose(nearest.values[1], seen(nearest, x)[1], atol=1e-4)  # the cycle of that cell


def test_a_station_beside_cells_without_values_is_the_nearest_cell(tmp_path):
    """As on a coast; where the nearest cell has no values, it is refused."""
    valid = np.ones((2, 8, 12), dtype=bool)
    valid[:, 3, 5] = False
    it = codec(valid=valid)
    line = f"{{}},{LATITUDE[3] + 0.1},{{}},7\n"
    head = "variable,latitude,longitude,value\n"
    for c, name in enumerate(it.names):
        (tmp_path / "a.csv").write_text(head + line.format(name, LONGITUDE[4] + 0.2))
        found = read_observed(tmp_path / "a.csv", it, ALL, EXACT, time=TIME)
        assert found.places == [{(c * 96 + 3 * 12 + 4, 1.0)}]
        assert found.behind is None
        (tmp_path / "b.csv").write_text(head + line.format(name, LONGITUDE[5] + 0.2))
        with pytest.raises(LevyError, match="is observed in 1 places where the model's fields have no values"):
            read_observed(tmp_path / "b.csv", it, ALL, EXACT, time=TIME)


def test_the_season_is_that_of_the_moment(tmp_path):
    it = codec()
    dataset(it, field(it)[0]).to_netcdf(tmp_path / "a.nc")
    assert read_observed(tmp_path / "a.nc", it, SEASONAL, EXACT).label == 1
    assert read_observed(tmp_path / "a.nc", it, SEASONAL, EXACT, time="2019-01-05").label == 0
    assert read_observed(tmp_path / "a.nc", it, ALL, EXACT).label is None
    timeless = codec(climatology=None)
    dataset(timeless, field(it)[0], None).to_netcdf(tmp_path / "b.nc")
    assert read_observed(tmp_path / "b.nc", timeless, ALL, EXACT).time is None


def test_a_file_that_there_is_not_is_named(tmp_path):
    for name in ("a.csv", "a.nc"):
        with pytest.raises(LevyError, match="there is no such file of observations"):
            read_observed(tmp_path / name, codec(), ALL, EXACT, time=TIME)


def test_means_of_a_transformed_variable_are_means_of_what_lies_behind_it(tmp_path):
    it = codec()
    values, x = field(it)
    coarse = dataset(it, values).coarsen(latitude=2, longitude=2).mean(keep_attrs=True)
    coarse.to_netcdf(tmp_path / "coarse.nc")
    found = read_observed(tmp_path / "coarse.nc", it, SEASONAL, {"": 0.1}, means=True)
    behind, rain = found.behind, found.reported.variable == 1
    assert behind.rows.tolist() == rain.tolist()
    assert not behind.points
    means = (behind.inside(x[found.cells][None]) * found.weights).sum(-1)
    physical = (values.reshape(-1)[found.cells] * found.weights).sum(-1)
    np.testing.assert_allclose(means[0, rain], physical[rain], atol=1e-5)
    seen = behind.outside(means)[0]
    linear = (x[found.cells] * found.weights).sum(-1)
    np.testing.assert_allclose(linear[~rain], seen[~rain], atol=1e-5)
    assert np.abs(linear - seen)[rain].max() > 0.05  # a mean of logarithms is not the logarithm of a mean
    in_units = np.where(rain, found.reported.values, behind.inside(found.values[None, :, None])[0, :, 0])
    np.testing.assert_allclose(behind.outside(in_units[None])[0, rain], found.values[rain], atol=1e-9)
    assert np.allclose(found.std[~rain], 0.1 / 5.0)


def test_a_dry_mean_of_what_is_mapped_is_the_highest_that_is_dry_and_a_dry_cell_the_middle_of_its_ranks(tmp_path):
    """Generated values are normal, 60 % of real ones dry: what lies below their 60 % quantile is dry."""
    rng = np.random.default_rng(0)
    mapping = QuantileMapping.fit(rng.standard_normal(20_000), np.maximum(rng.standard_normal(20_000) - ndtri(0.6), 0))
    rain = replace(RAIN, transform="identity", quantile_mapping=True, mapping=mapping)
    it = codec(variables=(T2M, rain), climatology=None)
    values = field(it)[0]
    values[:, 1] = 0
    dataset(it, values).coarsen(latitude=2, longitude=2).mean(keep_attrs=True).to_netcdf(tmp_path / "coarse.nc")
    found = read_observed(tmp_path / "coarse.nc", it, ALL, EXACT, means=True)
    dry = found.reported.variable == 1
    edge = (ndtri(0.6) - 0.7) / 0.8
    np.testing.assert_allclose(
        found.values[dry], edge, atol=0.05
    )  # 20,000 values: 0.0095 of each quantile, 5 sigma; knots
    alike = lambda x: (found.behind.inside(np.full((1, *found.cells.shape), x)) * found.weights).sum(-1)[0, dry]
    assert np.all(alike(found.values[dry][0]) < 1e-12)  # mm: rounding at the edge
    assert np.all(alike(found.values[dry][0] + 0.1) > 0.01)
    np.testing.assert_allclose(found.behind.outside(np.zeros((1, len(dry))))[0, dry], found.values[dry])
    dataset(it, values).to_netcdf(tmp_path / "cells.nc")
    cells = read_observed(tmp_path / "cells.nc", it, ALL, EXACT)
    np.testing.assert_allclose(cells.values[cells.reported.variable == 1], (ndtri(0.3) - 0.7) / 0.8, atol=0.05)


def test_cells_that_are_alike_are_seen_as_they_are_behind_a_transform(tmp_path):
    it = codec(climatology=None)
    table = pd.DataFrame([{"variable": "tp", "latitude": 50.3, "longitude": 1.1, "value": 2.0}])
    table.to_csv(tmp_path / "a.csv", index=False)
    behind = read_observed(tmp_path / "a.csv", it, ALL, EXACT).behind
    means = (behind.inside(np.full((1, 1, 4), 0.3)) * np.full(4, 0.25)).sum(-1)
    np.testing.assert_allclose(behind.outside(means), 0.3)


BAD = {
    "no std": (lambda d: d, {}, {}, "no std of the observed values of t2m: .*std t2m=0.5"),
    "no time": (lambda d: d.drop_vars("time"), EXACT, {}, "does not say when it was observed"),
    "a season that the model has not": (lambda d: d, EXACT, {"time": "2019-04-01"}, "2019-04-01"),
    "another grid": (lambda d: d.assign_coords(latitude=d.latitude + 0.3), EXACT, {}, "has latitude 60.3, which is none of the model's"),
    "nothing seen": (lambda d: d.where(d.t2m > 1e6), EXACT, {}, "has no observed value of t2m or tp"),
    "other variables": (lambda d: d.rename(t2m="u10", tp="v10"), EXACT, {}, r"has no observed value .*it has u10, v10"),
    "rain below its minimum": (lambda d: d - 50, EXACT, {}, "tp has -.*, but its minimum is 0"),
    "no units": (lambda d: d.drop_attrs(), EXACT, {}, "has no units"),
    "no block at all": (lambda d: d.isel(latitude=slice(0)), EXACT, {"means": True}, "lies on 0 x 12 cells, which are not means"),
    "blocks that do not fit": (lambda d: d.isel(latitude=slice(3)), EXACT, {"means": True}, "lies on 3 x 12 cells, which are not means"),
    "an infinite value": (lambda d: d.where(d.t2m < 5, np.inf), EXACT, {}, "t2m' has the value inf, which looks like a fill value"),
    "a fill value": (lambda d: d.where(d.t2m < 5, -9999.0), EXACT, {}, "t2m' has the value -9999, which looks like a fill value"),
    "several members": (lambda d: d.expand_dims(number=[0, 1]), EXACT, {}, "has 2 entries along number: choose one of them"),
    "the std of no variable": (lambda d: d, {"wind": 0.5, "": 0.0}, {}, "std is given of wind, but the model has t2m, tp"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_the_model_cannot_use_is_named(tmp_path, name):
    change, std, options, message = BAD[name]
    it = codec()
    changed = change(dataset(it, field(it)[0]))
    changed.to_netcdf(tmp_path / "a.nc")
    with pytest.raises(LevyError, match=message):
        read_observed(tmp_path / "a.nc", it, SEASONAL, std, **options)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("variable,latitude\nt2m,50\n", "has no column longitude, value"),
        ("variable,latitude,longitude,value\nt2m,50,0,warm\n", "line 2 has no finite number"),
        (
            "variable,latitude,longitude,value\nt2m,50,0,1\nt2m,10,0,1\n",
            "line 3 lies at latitude 10, longitude 0, outside",
        ),
        ("variable,latitude,longitude,value\nwind,50,0,1\n", "unknown variable 'wind': the model has t2m, tp"),
        ("variable,latitude,longitude,value\nt2m,50,0,1\nNA,50,0,1\n", "unknown variable 'NA'"),
        ("variable,latitude,longitude,value\nt2m,50,0,1\n,50,0,1\n", "unknown variable ''"),
        ("variable,latitude,longitude,value\n007,50,0,1\n", "unknown variable '007'"),
        ("variable,latitude,longitude,value\nt2m,50,0,1e400\n", "line 2 has no finite number"),
        ("variable,latitude,longitude,value\nt2m,50,0,-9999\n", "the value -9999, which looks like a fill value"),
        ("variable,latitude,longitude,value,std\nt2m,50,0,1,-1\n", "the std of t2m is -1"),
        ("variable,latitude,longitude,value\n", "has no line of values"),
        ("", "is no table"),
    ],
)
def test_tables_that_cannot_be_used_are_named(tmp_path, table, message):
    (tmp_path / "a.csv").write_text(table)
    with pytest.raises(LevyError, match=message):
        read_observed(tmp_path / "a.csv", codec(), ALL, EXACT, time=TIME)
