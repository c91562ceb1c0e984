"""Fields of which each cell is standardised by its own mean and standard deviation, and all that leads back to units."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.base.samples import RECORDED, Samples
from levy_core.datasets.fields.climatology import Climatology, design
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import Variable
from levy_core.datasets.fields.events import read_event
from levy_core.datasets.fields.moments import FEWEST_FIELDS, FLOOR
from levy_core.datasets.fields.observed import read_observed
from levy_core.datasets.fields.prepare import inspect
from tests.support.fields import config, groups, prepare, temperature, write

LATITUDE, LONGITUDE = (53.0, 52.0, 51.0, 50.0), tuple(map(float, range(6)))
FACTORS = 2.0 ** np.random.default_rng(5).integers(-1, 3, (4, 6))
INDEX, AMOUNT = Variable("index", "kg"), Variable("amount", "kg", transform="power", minimum=0.0)
TIME = "2019-07-25T12"
ALL = Samples("fields", ("all",), **RECORDED["fields"])


def anomalies(n=730, seed=0):
    """Numbers of no known quantity about 0 on 4 x 6 cells."""
    data = temperature(n, LATITUDE, LONGITUDE, freq="D", seed=seed) - 280
    data = data.rename(t2m="index")
    data["index"].attrs = {"units": "kg"}
    return data


def own(*variables, **settings):
    return config(*(variables or (INDEX,)), standardise="cell", **settings)


@pytest.mark.parametrize("climatology", ["none", "day"])
def test_a_field_that_was_stretched_in_each_cell_has_the_same_store(climatology, tmp_path):
    data = anomalies()
    stretched = data.assign(index=data["index"] * FACTORS + 64 * np.arange(6))
    settings = own(climatology=climatology)
    for name, each in (("plain", data), ("stretched", stretched)):
        prepare(write(tmp_path / name, each), settings, tmp_path / f"{name}-store")
    for plain, other in zip(groups(tmp_path / "plain-store"), groups(tmp_path / "stretched-store"), strict=True):
        np.testing.assert_allclose(other[:], plain[:], rtol=0, atol=3e-5)  # float32 of the source, which were shifted
    codecs = [Codec.load(tmp_path / f"{name}-store") for name in ("plain", "stretched")]
    np.testing.assert_allclose(codecs[1].std[0] / codecs[0].std[0], FACTORS, rtol=1e-6)


@pytest.mark.parametrize("climatology", ["none", "day"])
def test_each_cell_has_the_spread_of_its_own_training_values_about_what_is_taken_off(climatology, tmp_path):
    data = anomalies()
    values = (data["index"] * FACTORS).where(np.random.default_rng(1).random(data["index"].shape) > 0.03)
    values[:, 0, 0], values[np.arange(730) % 10 > 0, 0, 1], values[:, 0, 2] = np.nan, np.nan, 7.0
    folder = write(tmp_path / "data", data.assign(index=values))
    statistics = prepare(folder, own(climatology=climatology, max_missing=0.4), tmp_path / "into")
    codec, train = Codec.load(tmp_path / "into"), groups(tmp_path / "into")[0]
    terms = design(climatology, train.times)
    real, std = values.to_numpy()[: len(train)].reshape(len(train), -1), codec.std.reshape(-1)
    total = np.zeros(2)
    for cell in range(24):
        there = np.isfinite(real[:, cell])
        if there.any():
            residuals = np.linalg.lstsq(terms[there], real[there, cell], rcond=None)
            left = real[there, cell] - terms[there] @ residuals[0]
            total += (left**2).sum(), there.sum()
            if cell not in (1, 2):
                assert std[cell] == pytest.approx(np.sqrt((left**2).mean()), rel=1e-6)
    pooled = np.sqrt(total[0] / total[1])
    assert statistics["variables"]["index"]["std"] == pytest.approx(pooled, rel=1e-6)
    assert std[[0, 1]] == pytest.approx(pooled, rel=1e-6)  # never there, and every tenth day
    assert std[2] == pytest.approx(FLOOR * pooled, rel=1e-6)  # the same at all times
    of_cells = statistics["variables"]["index"]["cell_std"]
    assert of_cells == {"low": std[1:].min(), "high": std[1:].max(), "at_floor": 1}
    x = train[:].reshape(len(train), -1)
    assert np.isnan(x[:, 0]).all()
    np.testing.assert_allclose(x[:, 2], 0, atol=1e-6)
    np.testing.assert_allclose(np.nanstd(x[:, 3:], axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(np.nanmean(x[:, 3:], axis=0), 0, atol=1e-5)


def test_sums_are_the_same_bits_whoever_reads_the_blocks(tmp_path):
    folder, stores = write(tmp_path / "data", anomalies()), []
    with ThreadPoolExecutor(3) as pool:
        for name, block_map in (("one", map), ("three", pool.map)):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("levy_core.datasets.fields.reading.chunk_rows", lambda shape: 7)
                prepare(folder, own(climatology="day"), tmp_path / name, block_bytes=8 * 24 * 60, block_map=block_map)
            stores.append({p.name: p.read_bytes() for p in (tmp_path / name).iterdir() if p.is_file()})
    assert stores[0] == stores[1]


def test_appended_days_are_written_alone_and_a_revised_training_day_moves_all(tmp_path):
    data, settings = anomalies(), own(train_until="2002-06-01", gap="0h")
    prepare(write(tmp_path / "short", data.isel(time=slice(700))), settings, tmp_path / "a")
    longer = write(tmp_path / "long", data)
    prepare(longer, settings, tmp_path / "b", previous=tmp_path / "a")
    prepare(longer, settings, tmp_path / "clean")
    for mine, theirs in zip(groups(tmp_path / "b"), groups(tmp_path / "clean"), strict=True):
        assert np.array_equal(mine[:], theirs[:])
    revised = data.copy(deep=True)
    revised["index"][3, 0, 0] += 1
    prepare(write(tmp_path / "revised", revised), settings, tmp_path / "c", previous=tmp_path / "a")
    assert not np.array_equal(Codec.load(tmp_path / "c").std, Codec.load(tmp_path / "a").std)


def codec(climatology=True, **changes):
    """Of anomalies as they are and of amounts through a root; deviations from one to four."""
    rng = np.random.default_rng(0)
    cycle = Climatology("day", rng.standard_normal((2, 7, 4, 6))) if climatology else None
    latitude, longitude = np.array(LATITUDE), np.array(LONGITUDE)
    parts = {
        "mean": np.zeros(2) if climatology else rng.standard_normal((2, 4, 6)) + np.array([0.0, 30.0])[:, None, None],
        "std": 1 + 3 * rng.random((2, 4, 6)),
        "valid": np.ones((2, 4, 6), dtype=bool),
        "latitude": latitude,
        "longitude": longitude,
        "climatology": cycle,
    }
    if climatology:
        cycle.coefficients[1, 0] += 30
    return Codec(**{"variables": (INDEX, AMOUNT), **parts, **changes})


def noise(n, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 2, 4, 6)).astype(np.float32)


def moments(n):
    return pd.date_range(TIME, periods=n).to_numpy()


@pytest.mark.parametrize("climatology", [False, True])
def test_decoding_undoes_encoding_and_unit_noise_has_the_spread_of_its_cell(climatology, tmp_path):
    it, x, times = codec(climatology), noise(200), moments(200)
    np.testing.assert_allclose(it.encode(it.decode(x, times), times), x, atol=1e-4)
    np.testing.assert_allclose(it.anomalies(x).std(0), x.astype(float).std(0) * it.std, rtol=1e-6)
    one, zero = (it.decode(np.full((1, 2, 4, 6), value, np.float32), times[:1])[0] for value in (1, 0))
    np.testing.assert_allclose((one - zero)[0], it.std[0])
    it.save(tmp_path)
    again = Codec.load(tmp_path)
    assert np.array_equal(again.decode(x, times), it.decode(x, times))
    cells = np.array([3, 0, 23])
    some = it.decode_cells(1, cells, times)(x[:, 1].reshape(200, -1)[:, cells], np.arange(200))
    np.testing.assert_array_equal(some, it.decode(x, times)[:, 1].reshape(200, -1)[:, cells])


def test_samples_of_a_model_with_one_deviation_are_recoded_exactly():
    it, x, times = codec(), noise(50), moments(50)
    pooled = replace(it, mean=np.array([0.5, 29.0]), std=np.array([2.0, 3.0]), climatology=None)
    np.testing.assert_allclose(it.decode(it.recode(x, times, pooled), times), pooled.decode(x, times), atol=1e-4)
    np.testing.assert_allclose(pooled.decode(pooled.recode(x, times, it)), it.decode(x, times), atol=1e-4)


def test_events_are_of_physical_values():
    it, x, times = codec(False), noise(30), moments(30)
    event = read_event("index mean of 49..53,0..4 > 3 kg", it, ALL)
    areas = np.cos(np.deg2rad(LATITUDE))
    inside = it.decode(x)[:, 0, :, :5]
    expected = (inside.mean(2) * areas).sum(1) / areas.sum()
    seen = event.measure(None)(x.reshape(30, -1)[:, event.cells], np.arange(30))
    np.testing.assert_allclose(seen, expected, rtol=1e-6)
    assert times is not None


def field(it):
    values = it.decode(noise(1), moments(1))
    return values, it.encode(values, moments(1)).reshape(-1).astype(np.float64)


def dataset(it, values):
    space = {"latitude": it.latitude, "longitude": it.longitude, "time": pd.Timestamp(TIME)}
    data = {v.key: (("latitude", "longitude"), values[0, c], {"units": v.units}) for c, v in enumerate(it.variables)}
    return xr.Dataset(data, space)


@pytest.mark.parametrize("climatology", [False, True])
def test_observed_means_over_cells_of_unlike_spread_are_met_in_units(climatology, tmp_path):
    it = codec(climatology)
    values, x = field(it)
    fine = dataset(it, values)
    areas = np.cos(np.deg2rad(fine.latitude)).rename("areas")
    areas = areas / np.repeat(areas.to_numpy().reshape(-1, 2).mean(1), 2)
    coarse = (fine * areas).coarsen(latitude=2, longitude=2).mean()
    for v in it.variables:
        coarse[v.key].attrs["units"] = v.units
    coarse.to_netcdf(tmp_path / "coarse.nc")
    std = {"index": 0.5, "amount": 0.0}
    found = read_observed(tmp_path / "coarse.nc", it, ALL, std, means=True)
    linear, amounts = found.reported.variable == 0, found.reported.variable == 1
    np.testing.assert_allclose(found.weights.sum(1), 1)
    seen = (x[found.cells] * found.weights).sum(1)
    np.testing.assert_allclose(seen[linear], found.values[linear], atol=1e-5)
    behind = found.behind
    means = behind.outside((behind.inside(x[found.cells][None]) * found.weights).sum(-1))[0]
    np.testing.assert_allclose(means, found.values, atol=1e-5)
    np.testing.assert_allclose(found.look(values)[0], found.reported.values, rtol=1e-6)
    # an error of a standard deviation in what the network sees is one in units
    other = (x[found.cells] * found.weights).sum(1) + found.std
    scale = (found.reported.weights * it.std[0].reshape(-1)[found.cells % 24]).sum(1)
    np.testing.assert_allclose(((other - seen) * scale)[linear], 0.5)
    assert amounts.sum() == linear.sum() == 6


def test_points_between_cells_are_met_and_their_nearest_cell_stands_for_them(tmp_path):
    it = codec()
    values, x = field(it)
    near = {"latitude": 51.9, "longitude": 2.2}
    cell = 6 + 2
    between = dataset(it, values).interp(latitude=51.9, longitude=2.2)
    rows = [{"variable": v.key, **near, "value": float(between[v.key]), "std": 0.1} for v in it.variables]
    pd.DataFrame(rows).to_csv(tmp_path / "a.csv", index=False)
    found = read_observed(tmp_path / "a.csv", it, ALL, {}, time=TIME)
    assert found.values[0] == pytest.approx((x[found.cells] * found.weights).sum(1)[0], abs=1e-5)
    means = found.behind.outside((found.behind.inside(x[found.cells][None]) * found.weights).sum(-1))[0]
    np.testing.assert_allclose(means, found.values, atol=1e-5)
    nearest = found.nearest()
    assert nearest.places == [found.places[0], {(24 + cell, 1.0)}]
    alone = it.encode(np.full((1, 2, 4, 6), rows[1]["value"]), moments(1)).reshape(2, -1)[1, cell]
    assert nearest.values[1] == pytest.approx(alone, abs=1e-5)  # as if that cell had been observed
    rows[1] |= {"latitude": 52.0, "longitude": 2.0}
    pd.DataFrame(rows).to_csv(tmp_path / "b.csv", index=False)
    there = read_observed(tmp_path / "b.csv", it, ALL, {}, time=TIME)
    np.testing.assert_allclose((nearest.values[1], nearest.std[1]), (there.values[1], there.std[1]), rtol=1e-9)


def test_what_does_not_go_with_it_is_refused(tmp_path):
    with pytest.raises(LevyError, match="no place whose mean and standard deviation could be given back to it"):
        own(patch=(2, 2))
    with pytest.raises(LevyError, match=r"unknown way to standardise 'cells'"):
        config(INDEX, standardise="cells")
    few = write(tmp_path / "few", anomalies(n=FEWEST_FIELDS))
    with pytest.raises(LevyError, match=r"has 78 fields: a cell's own standard deviation needs at least 100"):
        inspect(few, own())
    still = anomalies()
    still["index"][:] = still["index"][0]
    for settings in (own(), config(INDEX, climatology="day")):
        with pytest.raises(LevyError, match="'index' does not change in any cell during training"):
            prepare(write(tmp_path / settings.climatology, still), settings, tmp_path / f"{settings.climatology}-store")
