"""A store in half precision: the nearest float16, dry days that stay dry, gaps that stay gaps, and nothing infinite."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import xarray as xr
import zarr

from levy_core.base.chunks import ChunkRows
from levy_core.base.errors import LevyError
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import Variable
from levy_core.training.batches import batches
from tests.levy_core.datasets.test_fields_prepare import contents
from tests.support.fields import T2M, config, groups, prepare, temperature, write

RAIN = Variable("lwe_precipitation_rate", "mm day-1", minimum=0.0)
EPS = 2.0**-12  # of a number, at most: half of the distance of two float16
SMALLEST = 2.0**-25  # the same of those below 2**-14


def rain(n=500, seed=0):
    """Days of rain, half of them dry, with a heavy tail, beside temperatures."""
    rng, data = np.random.default_rng(seed), temperature(n, freq="D")
    wet = np.maximum(rng.standard_t(3, data["t2m"].shape) * 5, 0).astype(np.float32)
    attributes = {"units": "mm day-1", "standard_name": "lwe_precipitation_rate"}
    return data.assign(rain=(data["t2m"].dims, wet, attributes))


@pytest.fixture(scope="module", params=["plain", "gaps, cells, a cycle", "tiles"])
def both(request, tmp_path_factory):
    """The same fields as float32 and as float16: folders, and settings of the second."""
    folder, data = tmp_path_factory.mktemp("both"), rain()
    settings = config(T2M, RAIN, gap="0h", dtype="float16")
    if request.param.startswith("gaps"):
        settings = replace(settings, climatology="day", standardise="cell", max_missing=0.5)
        values = data["t2m"].to_numpy().copy()
        values[:, 0, 0], values[7, 1, 1] = np.nan, np.nan
        data = data.assign(t2m=data["t2m"].copy(data=values))
    elif request.param == "tiles":
        settings = replace(settings, patch=(1, 2))
    write(folder / "data", data)
    prepare(folder / "data", replace(settings, dtype="float32"), folder / "float32")
    prepare(folder / "data", settings, folder / "float16")
    return folder, settings


def test_it_holds_the_nearest_float16_but_at_a_minimum_the_next_lower_one(both):
    folder, _ = both
    for full, half in zip(groups(folder / "float32"), groups(folder / "float16"), strict=True):
        nearest, at_minimum = full[:].astype(np.float16), np.zeros(full[:].shape, dtype=bool)
        codec = Codec.load(folder / "float32")
        at_minimum[:, 1] = codec.decode(full[:], full.times)[:, 1] < 1e-5
        assert half[:].dtype == np.float32
        assert np.array_equal(half[:][~at_minimum], nearest[~at_minimum], equal_nan=True)
        assert np.array_equal(np.isnan(half[:]), np.isnan(full[:]))
        lower = np.where(nearest < full[:], nearest, np.nextafter(nearest, np.float16(-np.inf)))
        assert at_minimum.sum() > 0.3 * at_minimum[:, 1].size
        assert np.array_equal(half[:][at_minimum], lower[at_minimum])
        assert np.all(half[:][at_minimum] < full[:][at_minimum])


def test_dry_days_come_back_as_dry_ones_and_all_values_within_rounding(both):
    folder, _ = both
    codec, source = Codec.load(folder / "float16"), xr.open_dataset(folder / "data" / "a.nc")
    assert codec.dtype == "float16"
    codec_of_full = Codec.load(folder / "float32")
    for full, half in zip(groups(folder / "float32"), groups(folder / "float16"), strict=True):
        x, found = full[:], codec.decode(half[:], half.times)
        exact = codec_of_full.decode(x, full.times)
        of_source = source["rain"].sel(time=np.unique(full.times)).to_numpy()
        assert (found[:, 1] == 0).sum() == (of_source == 0).sum()
        std = codec.std.reshape(codec.std.shape if codec.std.ndim > 1 else (2, 1, 1))
        bound = std * np.maximum(2 * EPS * np.abs(x), SMALLEST) + 1e-4 * np.array([1, 0.1])[:, None, None]
        wide = np.abs(found - exact) > bound  # twice where dry days are rounded down; float32 of 280 K ends at 3e-5
        assert not wide.any()


def test_training_sees_the_same_from_memory_and_from_disk(both):
    folder, _ = both
    train, _ = groups(folder / "float16")
    rows = lambda step: torch.from_numpy(np.random.default_rng(step).integers(0, len(train), 8))
    one, other = (list(batches(data, rows, range(5))) for data in (train, torch.from_numpy(train[:])))
    assert all(torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in zip(one, other, strict=True))
    assert {a.dtype for a in one} == {torch.float32}


def test_every_float16_is_read_as_the_float32_that_it_is(tmp_path):
    every = np.arange(2**16, dtype=np.uint16).view(np.float16).reshape(16, 64, 64)
    array = zarr.create_array(
        tmp_path / "half", shape=every.shape, chunks=(4, 64, 64), dtype="float16", compressors=None
    )
    array[:] = every
    rows = np.random.default_rng(0).permutation(16)
    found = ChunkRows.open(tmp_path / "half", "float32", "float16").read(rows, "float32")
    assert found.dtype == np.float32
    assert np.array_equal(found, every[rows].astype(np.float32), equal_nan=True)
    with pytest.raises(ValueError, match="not plain rows of float32"):
        ChunkRows.open(tmp_path / "half", "float32")


def test_it_takes_half_of_the_bytes_and_xarray_opens_it(both):
    folder, _ = both
    sizes = {
        dtype: sum(p.stat().st_size for p in (folder / dtype / "fields.zarr").glob("*/field/c/**/*") if p.is_file())
        for dtype in ("float32", "float16")
    }
    assert sizes["float32"] == 2 * sizes["float16"]
    train, _ = groups(folder / "float16")
    opened = xr.open_zarr(folder / "float16" / "fields.zarr", group="train", consolidated=False)["field"]
    assert opened.dtype == np.float16
    assert np.array_equal(opened.to_numpy(), train[:], equal_nan=True)


def test_float32_is_what_was_written_before_there_was_a_choice(both):
    folder, _ = both
    assert "dtype" not in json.loads((folder / "float32" / "codec.json").read_text())
    assert json.loads((folder / "float16" / "codec.json").read_text())["dtype"] == "float16"
    one, other = (contents(folder / dtype) for dtype in ("float32", "float16"))
    differ = {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}
    assert {name for name in differ if not name.startswith("fields.zarr/")} == {"codec.json"}


@pytest.mark.parametrize(("before", "after"), [("float16", "float32"), ("float32", "float16"), ("float16", "float16")])
def test_chunks_of_another_dtype_are_not_taken_over(before, after, both, tmp_path):
    folder, settings = both
    prepare(folder / "data", replace(settings, dtype=after), tmp_path / "again", folder / before)
    assert contents(tmp_path / "again") == contents(folder / after)
    taken = [p for p in (tmp_path / "again").rglob("*") if p.is_file() and p.stat().st_nlink > 1]
    assert len(taken) == (2 if before == after else 0)  # a chunk of each group


def test_what_float16_does_not_reach_is_refused_with_variable_time_and_value(tmp_path):
    data = temperature(500, freq="D")
    name = Variable("w", "m s-1")
    values = data["t2m"].to_numpy() - 280
    values[450, 1, 2] = 400_000  # 80,000 standard deviations of 5 m s-1, held out
    wild = data.assign(w=data["t2m"].copy(data=values).assign_attrs(units="m s-1", long_name="w", standard_name="w"))
    folder = write(tmp_path / "data", wild[["w"]])
    prepare(folder, config(name), tmp_path / "float32")
    with pytest.raises(
        LevyError,
        match=r"a.nc: variable 'w' at 2002-03-27.* is 400000 m s-1, 8.03e\+04 standard .*float16 ends at 65,504",
    ):
        prepare(folder, config(name, dtype="float16"), tmp_path / "float16")
    with pytest.raises(LevyError, match="bfloat16"):
        config(dtype="bfloat16")
    signed = Variable("w", "m s-1", transform="asinh")
    prepare(folder, config(signed, dtype="float16"), tmp_path / "asinh")
    assert all(np.isfinite(group[:]).all() for group in groups(tmp_path / "asinh"))
