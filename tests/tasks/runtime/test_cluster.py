"""Fields prepared by the workers of a dask cluster: the bytes of one process, and its messages."""

import os
import signal

import dask
import numpy as np
import pytest
from distributed import LocalCluster

from levy_core.base import rows
from levy_core.base.errors import LevyError
from levy_core.datasets.fields import reading
from levy_core.datasets.fields.prepare import prepare_fields
from levy_core.datasets.fields.store import chunk_rows
from tasks.kinds.fields.metrics import make_reference
from tasks.kinds.fields.settings import FieldEvaluation
from tasks.runtime import cluster
from tests.levy_core.datasets.test_fields_prepare import contents
from tests.support.fields import config, temperature, write

pytestmark = pytest.mark.long
SETTINGS = {
    "plain": {"climatology": "hour"},
    "tiles": {"patch": (2, 2)},
}
SMALL = 2**23  # one chunk of the store per block, so that there are several
LATITUDE, LONGITUDE = np.linspace(60, 40, 64), np.linspace(0, 20, 64)


@pytest.fixture(scope="module")
def two_workers():
    """The address of a scheduler on loopback with two worker processes of one thread each."""
    with LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as found:
        yield found


@pytest.fixture
def named(two_workers, monkeypatch):
    """This cluster is the one that dask's configuration names, as DASK_SCHEDULER_ADDRESS would."""
    with dask.config.set({"scheduler-address": two_workers.scheduler_address}):
        yield two_workers


def prepared(folder, into, settings, spread=map, previous=None):
    into.mkdir()
    prepare_fields(folder, settings, into, previous, lambda blocks: blocks, block_bytes=SMALL, block_map=spread)
    return contents(into)


def fields(hours):
    data = temperature(hours, LATITUDE, LONGITUDE)
    data["t2m"][5, 3, 4] = np.nan
    return data


@pytest.mark.parametrize("kind", SETTINGS)
def test_two_workers_write_the_bytes_of_one_process(named, tmp_path, kind):
    data = fields(1600)
    folder = write(tmp_path / "data", data.isel(time=slice(0, 1000)), data.isel(time=slice(1000, 1600)))
    settings = config(max_missing=0.1, test_share=0.4, **SETTINGS[kind])
    shape = (1, 64, 64)
    assert len(reading.blocks(slice(0, 900), shape, SMALL)) > 2
    with cluster.open_block_map() as spread:
        assert spread is not map
        found = prepared(folder, tmp_path / "two", settings, spread)
    assert found == prepared(folder, tmp_path / "one", settings)
    assert len(named.scheduler.workers) == 2


def test_added_hours_are_read_by_the_workers_too(named, tmp_path):
    data, settings = fields(1500), config(max_missing=0.1, train_until="2001-01-20")
    folder = write(tmp_path / "data", data.isel(time=slice(0, 1000)))
    prepared(folder, tmp_path / "before", settings)
    write(tmp_path / "data" / "later", data.isel(time=slice(1000, 1500)))
    full = prepared(folder, tmp_path / "full", settings)
    with cluster.open_block_map() as spread:
        assert prepared(folder, tmp_path / "grown", settings, spread, tmp_path / "before") == full


def test_fields_are_measured_by_the_workers_too(named, tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "PART", 64 * 64 * 100)
    folder = write(tmp_path / "data", fields(1600))
    prepared(folder, tmp_path / "prepared", config(max_missing=0.1, test_share=0.4, climatology="hour"))
    files = []
    for name, address in (("two", named.scheduler_address), ("one", None)):
        into = tmp_path / name
        into.mkdir()
        with dask.config.set({"scheduler-address": address}):
            make_reference(tmp_path / "prepared", into, FieldEvaluation(resamples=20), "t2m")
        files.append({path.name: path.read_bytes() for path in into.iterdir()})
    assert files[0] == files[1]
    assert "train-anomalies.safetensors" in files[0]


def test_no_two_blocks_share_a_chunk_of_the_store():
    for shape in ((1, 64, 64), (2, 181, 360), (3, 721, 1440), (1, 1, 5)):
        chunk = chunk_rows(shape)
        for size in (2**20, 2**24, 2**26):
            starts = [block.start - 7 for block in reading.blocks(slice(7, 5000), shape, size)]
            assert all(start % chunk == 0 for start in starts)


def test_what_is_wrong_with_the_data_is_said_as_in_one_process(named, tmp_path):
    data = fields(600)
    data.chunk(time=100).to_zarr(tmp_path / "damaged" / "a.zarr", zarr_format=3, consolidated=False)
    (chunk,) = (tmp_path / "damaged" / "a.zarr" / "t2m").glob("c/3/0/0")
    chunk.write_bytes(chunk.read_bytes()[:50])
    data["t2m"][400] = np.nan
    write(tmp_path / "empty", data)
    for name, said in (
        ("empty", "'t2m' at 2001-01-17T16:00:00 has no value at all"),
        ("damaged", "is damaged or truncated"),
    ):
        messages = []
        for i in range(2):
            with cluster.open_block_map() as found, pytest.raises(LevyError) as error:
                prepared(tmp_path / name, tmp_path / f"{name}{i}", config(), (map, found)[i])
            messages.append(str(error.value))
            assert not list((tmp_path / f"{name}{i}").iterdir())
        assert said in messages[0]
        assert messages[0].split("(")[0] == messages[1].split("(")[0]


def test_a_worker_that_dies_is_replaced_or_named_and_nothing_is_half_done(named, tmp_path):
    folder, settings = write(tmp_path / "data", fields(1200)), config(max_missing=0.1)
    expected = prepared(folder, tmp_path / "one", settings)
    with cluster.open_block_map() as spread:

        def and_kill(work, rows):
            for i, result in enumerate(spread(work, rows)):
                if i == 1 and victims:
                    os.kill(victims.pop(), signal.SIGKILL)
                yield result

        victims = [next(iter(named.workers.values())).process.pid]
        assert prepared(folder, tmp_path / "two", settings, and_kill) == expected


def refused(address, message):
    with (
        dask.config.set({"scheduler-address": address}),
        pytest.raises(LevyError, match=message),
        cluster.open_block_map(),
    ):
        pass


def test_a_cluster_that_cannot_be_used_is_refused_with_what_to_do():
    refused("tcp://127.0.0.1:9", r"no dask scheduler answers at tcp://127.0.0.1:9 .*: start `dask scheduler`, or unset")
    none, several = {"n_workers": 0}, {"n_workers": 1, "threads_per_worker": 2}
    for options, message in (
        (none, r"has no workers: start `dask worker tcp://127.0.0.1"),
        (several, r"must have one thread.* has 2: start"),
    ):
        with LocalCluster(dashboard_address="127.0.0.1:0", host="127.0.0.1", **options) as found:
            refused(found.scheduler_address, message)


def test_without_a_cluster_nothing_is_spread():
    with cluster.open_block_map() as spread:
        assert spread is map
