"""The prepared store: what is in it, that the test period is never seen, and appending."""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from levy_core.base.errors import LevyError
from levy_core.datasets.fields import reading
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import Variable
from levy_core.datasets.fields.opening import open_fields
from levy_core.datasets.fields.prepare import inspect
from levy_core.datasets.fields.store import FieldStore
from tests.support.fields import RAIN, REAL, config, groups, linked, prepare, temperature, write


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_store_holds_the_standardised_fields_split_by_time_with_the_gap(tmp_path):
    data = temperature(200)
    statistics = prepare(write(tmp_path / "data", data), config(gap="12h"), tmp_path / "into")
    train, test = groups(tmp_path / "into")
    assert (len(train), len(test)) == (200 - 40 - 12, 40)
    assert np.array_equal(train.times, data["time"][:148])
    assert np.array_equal(test.times, data["time"][160:])
    values = data["t2m"].to_numpy().astype(np.float64)
    mean, std = values[:148].mean(), values[:148].std()
    assert np.allclose(train[:][:, 0], (values[:148] - mean) / std, atol=1e-6)
    assert np.allclose(test[:][:, 0], (values[160:] - mean) / std, atol=1e-6)
    assert train.shape == test.shape == (1, 3, 4)
    assert train.classes == ("all",)
    assert statistics["variables"]["t2m"]["std"] == pytest.approx(std, rel=1e-12)
    assert statistics["train"]["last"] == "2001-01-07T03:00:00"
    assert statistics["test"]["samples"] == 40


def test_the_test_period_decides_nothing(tmp_path):
    data = temperature(800, freq="D")
    settings = config(train_until="2002-06-30", climatology="day", season="season")
    prepare(write(tmp_path / "one", data), settings, tmp_path / "a")
    data["t2m"][560:] += 20
    prepare(write(tmp_path / "two", data), settings, tmp_path / "b")
    one, two = contents(tmp_path / "a"), contents(tmp_path / "b")
    differ = {name for name in one if one[name] != two[name]}
    assert differ
    assert all(name.startswith("fields.zarr/test/field/") for name in differ - {"prepared.json"})
    hashes, others = (json.loads(found["prepared.json"])["hashes"] for found in (one, two))
    assert hashes["train"] == others["train"]
    assert hashes["test"] != others["test"]


@pytest.mark.parametrize("rows", [slice(3, 17), np.array([5, 0, 0, 139]), np.array([], dtype=int), slice(None)])
def test_rows_are_read_in_the_order_asked_for(rows, tmp_path, monkeypatch):
    data = temperature(200)
    prepare(write(tmp_path / "data", data), config(gap="0h"), tmp_path / "into")
    train, _ = groups(tmp_path / "into")
    every = xr.open_zarr(tmp_path / "into" / "fields.zarr", group="train", consolidated=False)["field"].to_numpy()
    assert np.array_equal(train[rows], every[rows])
    assert train[rows].dtype == np.float32


def test_a_plan_checks_all_that_needs_no_field(tmp_path, monkeypatch):
    folder = write(tmp_path / "data", temperature(400, freq="D"))
    monkeypatch.setattr(dask.array.Array, "compute", lambda *_, **__: pytest.fail("a field was read"))
    planned = inspect(folder, config(season="season"))
    assert planned.classes == ("DJF", "MAM", "JJA", "SON")
    assert {k: (r[0], r[-1] + 1, len(r)) for k, r in planned.periods.items()} == {
        "train": (0, 318, 318),
        "test": (320, 400, 80),
    }
    for changes in ({"patch": (9, 9)}, {"climatology": "day"}, {"climatology": "hour"}, {"train_until": "2009-01-01"}):
        with pytest.raises(LevyError):
            inspect(folder, config(**changes))


def test_opening_a_store_reads_no_field(tmp_path):
    prepare(write(tmp_path / "data", temperature(200)), config(gap="0h"), tmp_path / "into")
    chunk = tmp_path / "into" / "fields.zarr" / "train" / "field" / "c" / "0" / "0" / "0" / "0"
    chunk.write_bytes(b"damaged")
    train, _ = groups(tmp_path / "into")
    assert len(train) == 160
    with pytest.raises(LevyError, match="run the prepare stage again"):
        train[0:1]
    with pytest.raises(LevyError, match="run the prepare stage again"):
        FieldStore.open(tmp_path / "into" / "fields.zarr", "valid")


def test_results_do_not_depend_on_how_the_source_is_cut_and_hardly_on_the_size_of_the_blocks(tmp_path):
    data = temperature(900, freq="6h")
    settings = config(climatology="hour", gap="0h")
    prepare(write(tmp_path / "one", data), settings, tmp_path / "a")
    prepare(
        write(tmp_path / "many", *(data.isel(time=slice(a, a + 300)) for a in (0, 300, 600))), settings, tmp_path / "b"
    )
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    small = tmp_path / "c"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "chunk_rows", lambda shape: 7)
        prepare(tmp_path / "one", settings, small, block_bytes=8 * 12 * 50)
    for mine, theirs in zip(groups(tmp_path / "a"), groups(small), strict=True):
        assert np.allclose(mine[:], theirs[:], atol=1e-5)


def test_sums_of_large_fields_are_those_of_spans_that_are_larger_than_their_sums(tmp_path):
    data = temperature(200, freq="6h")
    folder, settings = write(tmp_path / "data", data), config(climatology="hour", gap="0h")
    prepare(folder, settings, tmp_path / "whole")
    asked = []

    def spread(work, rows):
        asked.append(rows)
        return map(work, rows)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "chunk_rows", lambda shape: 1)
        prepare(folder, settings, tmp_path / "spans", block_bytes=8 * 12, block_map=spread)  # one field per block
    assert {s.stop - s.start for s in asked[0]} == {4 * 5}  # of 5 terms
    assert {s.stop - s.start for s in asked[1]} == {1}  # written one block at a time
    one, other = (Codec.load(tmp_path / name) for name in ("whole", "spans"))
    assert np.allclose(one.climatology.coefficients, other.climatology.coefficients, rtol=1e-12)
    assert np.allclose(one.std, other.std, rtol=1e-9)


@pytest.mark.parametrize("season", ["season", "month"])
def test_labels_are_the_seasons_of_xarray(season, tmp_path):
    data = temperature(800, freq="D")
    statistics = prepare(write(tmp_path / "data", data), config(season=season), tmp_path / "into")
    for store, group in zip(groups(tmp_path / "into"), ("train", "test"), strict=True):
        clock = xr.DataArray(store.times, dims="time").dt
        expected = clock.season.to_numpy() if season == "season" else clock.strftime("%b").to_numpy()
        assert [store.classes[i] for i in store.labels] == expected.tolist()
        assert statistics[group]["counts"] == np.bincount(store.labels, minlength=len(store.classes)).tolist()


def test_tiles_are_samples_in_order_of_time_then_place(tmp_path):
    data = temperature(50, latitude=np.arange(57.0, 50, -1), longitude=np.arange(10.0))
    settings = config(patch=(3, 4), gap="0h", season="month")
    statistics = prepare(write(tmp_path / "data", data), settings, tmp_path / "into")
    train, test = groups(tmp_path / "into")
    assert (statistics["shape"], len(train), len(test)) == ([1, 3, 4], 40 * 4, 10 * 4)
    codec = Codec.load(tmp_path / "into")
    found = codec.decode(train[:])[:, 0].reshape(40, 2, 2, 3, 4)
    values = data["t2m"].to_numpy()
    for row in range(2):
        for column in range(2):
            expected = values[:40, 3 * row : 3 * row + 3, 4 * column : 4 * column + 4]
            assert np.allclose(found[:, row, column], expected, atol=1e-4)
    assert np.array_equal(train.times[::4], data["time"][:40])


@REAL
@pytest.mark.parametrize(
    ("name", "settings", "shape"),
    [
        ("era5-2mt-2019-03-uk.grib", config(Variable("t2m", "degC"), climatology="hour"), (1, 33, 49)),
        ("pr_day_CanESM2_rcp85_2095.nc", config(RAIN), (1, 36, 36)),
        (
            "era5_daily_surface_cancities_1990-1993.nc",
            config(Variable("tas", "degC"), Variable("pr", "mm day-1", transform="asinh", minimum=0.0), climatology="day", season="season"),
            (2, 1, 5),
        ),
    ],
)  # fmt: skip
def test_the_real_files_go_to_the_store_and_back(name, settings, shape, tmp_path):
    folder = linked(tmp_path / "data", name)
    prepare(folder, settings, tmp_path / "into")
    codec, (train, test) = Codec.load(tmp_path / "into"), groups(tmp_path / "into")
    assert train.shape == codec.shape == shape
    source = open_fields(folder, settings)
    for store in (train, test):
        rows = source.sel(time=store.times)
        expected = np.stack([a.to_numpy().reshape(len(store), *shape[1:]) for a in rows.data_vars.values()], axis=1)
        for c, variable in enumerate(codec.variables):  # packing leaves values just below it
            expected[:, c] = np.maximum(expected[:, c], -np.inf if variable.minimum is None else variable.minimum)
        assert np.allclose(codec.decode(store[:], store.times), expected, rtol=1e-5, atol=1e-5, equal_nan=True)
    x = train[:][:, codec.valid]
    assert abs(x.mean()) < 1e-5
    for c in range(shape[0]):
        assert train[:][:, c][:, codec.valid[c]].std() == pytest.approx(1, abs=1e-3)


APPEND = {
    "daily, a cycle of the year, seasons": (temperature(700, freq="D"), {"climatology": "day", "season": "season", "train_until": "2002-03-31"}, 500),
    "tiles": (temperature(90, latitude=(53.0, 52.0, 51.0, 50.0)), {"patch": (2, 2), "train_until": "2001-01-02", "gap": "0h"}, 70),
    "daily means of hours": (temperature(24 * 30), {"resample": "1D", "train_until": "2001-01-15"}, 24 * 21 + 5),
}  # fmt: skip


@pytest.mark.parametrize("case", APPEND)
@pytest.mark.parametrize("form", ["one zarr store that grows", "one more file"])
def test_appending_writes_the_new_times_only_and_equals_a_full_preparation_byte_for_byte(
    case, form, tmp_path, monkeypatch
):
    data, changes, held = APPEND[case]
    settings, folder = config(**changes), tmp_path / "data"
    for module in ("levy_core.datasets.fields.reading", "levy_core.datasets.fields.prepare"):
        monkeypatch.setattr(f"{module}.chunk_rows", lambda shape: 8)
    (folder / "deep").mkdir(parents=True)
    path = folder / "grown.zarr"
    first, rest = data.isel(time=slice(0, held)), data.isel(time=slice(held, None))
    if form == "one more file":
        first.to_netcdf(folder / "a.nc")
    else:
        first.chunk(time=50).to_zarr(path, consolidated=False)
    prepare(folder, settings, tmp_path / "before")
    if form == "one more file":
        rest.to_netcdf(folder / "deep" / "b.nc")
    else:
        rest.to_zarr(path, append_dim="time", consolidated=False, align_chunks=True)
    prepare(folder, settings, tmp_path / "full")
    read, module = [], sys.modules["levy_core.datasets.fields.prepare"]  # of the second pass
    whole = module.read
    monkeypatch.setattr(module, "read", lambda fields, rows: read.append(rows) or whole(fields, rows))
    prepare(folder, settings, tmp_path / "grown", tmp_path / "before")
    assert contents(tmp_path / "grown") == contents(tmp_path / "full")
    times, (_, test) = open_fields(folder, settings)["time"].size, groups(tmp_path / "before")
    old_end = times - (len(groups(tmp_path / "full")[1]) - len(test)) // (4 if "patch" in changes else 1)
    again = {i for rows in read for i in range(rows.start, rows.stop) if i < old_end}
    assert len(again) <= 3 * 8  # the first chunk of each group, to compare, and the last
    linked = [p for p in (tmp_path / "grown").rglob("*") if p.is_file() and p.stat().st_nlink > 1]
    assert len(linked) >= 2


def revised(data, days, by=0.5):
    """The data with another value in one cell on some days."""
    values = data["t2m"].to_numpy().copy()
    values[days, 1, 2] += np.float32(by)
    return data.assign(t2m=data["t2m"].copy(data=values))


# What was changed -> the data and settings now, and whether the 60 days of training are as they were.
CHANGES = {
    "other settings": lambda d: (d, {"max_missing": 0.5}, True),
    "fewer times": lambda d: (d.isel(time=slice(0, 100)), {}, True),
    "a test day": lambda d: (revised(d, [120]), {}, True),
    "a training day": lambda d: (revised(d, [30]), {}, False),
    "all values": lambda d: (revised(d, slice(None)), {}, False),
    "earlier times": lambda d: (d.assign_coords(time=d["time"] - np.timedelta64(1, "D")), {}, False),
    "another grid": lambda d: (d.assign_coords(longitude=d["longitude"] + 5), {}, False),
    "another name": lambda d: (d.assign(t2m=d["t2m"].assign_attrs(long_name="temperature at 2 m")), {}, False),
    "another training period": lambda d: (d, {"train_until": "2001-02-20"}, False),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_prepared_anew_and_all_of_it_if_it_belongs_to_the_training_period(
    change, tmp_path, monkeypatch
):
    for module in ("levy_core.datasets.fields.reading", "levy_core.datasets.fields.prepare"):
        monkeypatch.setattr(f"{module}.chunk_rows", lambda shape: 8)
    data = temperature(200, freq="D")
    fixed = {"train_until": "2001-03-01"}
    prepare(write(tmp_path / "data", data.isel(time=slice(0, 150))), config(**fixed), tmp_path / "before")
    changed, settings, kept = CHANGES[change](data)
    folder = write(tmp_path / "changed", changed)
    prepare(folder, config(**{**fixed, **settings}), tmp_path / "full")
    prepare(folder, config(**{**fixed, **settings}), tmp_path / "grown", tmp_path / "before")
    assert contents(tmp_path / "grown") == contents(tmp_path / "full")
    taken = [p for p in (tmp_path / "grown").rglob("*") if p.is_file() and p.stat().st_nlink > 1]
    chunks = {"other settings": 8 + 11, "fewer times": 8 + 4, "a test day": 8 + 10}  # of 8 and of 12, the last in part
    assert len(taken) == (chunks[change] if kept else 0)


@settings(max_examples=15, deadline=None)
@given(data=st.data(), seed=st.integers(0, 2**31 - 1))
def test_whatever_was_revised_and_appended_a_preparation_with_an_earlier_one_is_the_clean_one(data, seed):
    choices = {
        "climatology": st.sampled_from(["none", "hour"]),
        "train_until": st.sampled_from(["2001-01-20T12", None]),
        "patch": st.sampled_from([None, (2, 2)]),
    }
    chosen = data.draw(st.fixed_dictionaries(choices))
    if chosen["patch"]:
        chosen["climatology"] = "none"
    rng, held, added = np.random.default_rng(seed), data.draw(st.integers(100, 140)), data.draw(st.integers(0, 40))
    hours = temperature(180, freq="6h", seed=3)
    revisions = data.draw(st.lists(st.sampled_from(["value", "missing", "run"]), min_size=1, max_size=3))
    values = hours["t2m"].to_numpy().copy()
    for kind in revisions:
        at = (rng.integers(0, held), rng.integers(0, 3), rng.integers(0, 4))
        if kind == "run":
            values[at[0] : at[0] + 20] += np.float32(0.25)
        else:
            values[at] = np.nan if kind == "missing" else values[at] + np.float32(1e-4)
    now = hours.assign(t2m=hours["t2m"].copy(data=values))
    with tempfile.TemporaryDirectory() as made, pytest.MonkeyPatch.context() as patch:
        for module in ("levy_core.datasets.fields.reading", "levy_core.datasets.fields.prepare"):
            patch.setattr(f"{module}.chunk_rows", lambda shape: 8)
        root, asked = Path(made), config(max_missing=0.2, gap="12h", **chosen)
        prepare(write(root / "old", hours.isel(time=slice(0, held))), asked, root / "before")
        folder = write(root / "new", now.isel(time=slice(0, held + added)))
        prepare(folder, asked, root / "clean")
        prepare(folder, asked, root / "with", root / "before")
        assert contents(root / "with") == contents(root / "clean")


def test_folders_without_hashes_and_damaged_chunks_are_not_taken_over(tmp_path):
    folder, settings = write(tmp_path / "data", temperature(100)), config(train_until="2001-01-03", gap="0h")
    prepare(folder, settings, tmp_path / "full")
    chunk = Path("fields.zarr/train/field/c/0/0/0/0")
    older = {"format": 1, "config": json.loads(json.dumps(settings.to_mapping())), "variables": {}}
    for name, spoil in {
        "older": lambda before: (before / "prepared.json").write_text(json.dumps(older)),
        "no": lambda before: (before / "prepared.json").unlink(),
        "list": lambda before: (before / "prepared.json").write_text("[]"),
        "other": lambda before: (before / "prepared.json").write_text('{"format": 2, "hashes": []}'),
        "short": lambda before: (before / chunk).write_bytes(b"abc"),
        "gone": lambda before: (before / chunk).unlink(),
        "damaged": lambda before: (before / chunk).write_bytes(bytes((before / chunk).stat().st_size)),
    }.items():
        before = tmp_path / f"before {name}"
        shutil.copytree(tmp_path / "full", before)
        spoil(before)
        prepare(folder, settings, tmp_path / name, before)
        assert contents(tmp_path / name) == contents(tmp_path / "full"), name


def test_a_damaged_previous_folder_is_no_hindrance(tmp_path):
    folder, settings = write(tmp_path / "data", temperature(100)), config(train_until="2001-01-03", gap="0h")
    prepare(folder, settings, tmp_path / "before")
    (tmp_path / "before" / "codec.safetensors").write_bytes(b"")
    prepare(folder, settings, tmp_path / "full")
    for i, previous in enumerate((tmp_path / "before", tmp_path / "nowhere")):
        prepare(folder, settings, tmp_path / f"again{i}", previous)
        assert contents(tmp_path / f"again{i}") == contents(tmp_path / "full")
