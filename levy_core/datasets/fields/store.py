"""The prepared fields: one zarr store with the groups ``train`` and ``test``, written a few chunks at a time, read by rows.

A group has ``field`` float32 or float16 (sample, channel, latitude, longitude), standardised, NaN where missing, in chunks of a
few MB that are not compressed (noise is not compressible, and training reads at random), ``time`` and ``label``
(sample); xarray opens it as a data set.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cftime
import numpy as np
import xarray as xr
import zarr

from levy_core.base.chunks import ChunkRows
from levy_core.base.errors import LevyError
from levy_core.datasets.fields.config import DTYPES
from levy_core.datasets.fields.split import find_runs

CHUNK_BYTES = 4 * 2**20
GROUPS = ("train", "test")
TIME_UNITS = "seconds since 1970-01-01"


@dataclass(frozen=True, eq=False)
class FieldStore:
    """One group of prepared fields; only metadata are in memory.

    Attributes:
        shape: C, H, W.
        classes: names of the classes, at least one.
        labels: int64 [N]. times: [N] datetime64 or cftime.
    """

    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    labels: np.ndarray
    times: np.ndarray
    _fields: ChunkRows

    @classmethod
    def open(cls, path: Path, group: str) -> "FieldStore":
        """The group of a store ``fields.zarr``; no field is read.

        Raises:
            LevyError: no such store or group, or a damaged one.
        """
        try:
            with xr.open_zarr(path, group=group, consolidated=False, chunks=None) as data:
                labels, times, classes = data["label"].to_numpy(), data["time"].to_numpy(), tuple(data.attrs["classes"])
            fields = ChunkRows.open(path / group / "field", *DTYPES)
        except Exception as error:  # zarr and its codecs raise many kinds
            raise _unreadable(f"{path} has no readable group {group!r}", error) from error
        channels, height, width = fields.shape
        return cls((channels, height, width), classes, labels, times, fields)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def runs(self) -> np.ndarray:
        """Which run of neighbouring times each field belongs to, int64 [N] from 0 on: held-out years, and those between them, are runs of their own."""
        return find_runs(self.times)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Fields float32 [n, C, H, W], NaN where missing.

        Only the bytes of these rows are read.

        Raises:
            LevyError: a chunk that is missing or truncated.
        """
        try:
            return self._fields.read(np.arange(len(self))[rows], "float32")
        except OSError as error:
            raise _unreadable(f"{error.filename} cannot be read", error) from error


def _unreadable(what: str, error: Exception) -> LevyError:
    return LevyError(f"{what} ({type(error).__name__}: {error}): run the prepare stage again")


def create_group(
    path: Path,
    group: str,
    shape: tuple[int, int, int],
    labels: np.ndarray,
    times: np.ndarray,
    rows: int,
    dtype: str,
    calendar: str,
    attributes: dict[str, object],
) -> zarr.Array:
    """Makes a group with its labels and times, and gives its still empty ``field``.

    Args:
        labels: int64 [N]. times: [N] datetime64 or cftime of ``calendar``. rows: samples per chunk. dtype: of ``field``. attributes: of the group; ``classes`` among them.
    """
    store = zarr.open_group(path, mode="a").create_group(group, attributes=attributes)
    field = store.create_array(
        "field",
        shape=(len(labels), *shape),
        chunks=(rows, *shape),
        dtype=dtype,
        fill_value=np.nan,
        compressors=None,
        config={"write_empty_chunks": True},  # a chunk that is not there has been lost
        dimension_names=("sample", "channel", "latitude", "longitude"),
    )
    time_attributes = {"units": TIME_UNITS, "calendar": calendar, "standard_name": "time"}
    for name, values, array_attributes in (("label", labels, {}), ("time", seconds(times, calendar), time_attributes)):
        array = store.create_array(
            name,
            shape=values.shape,
            chunks=(max(1, len(values)),),
            dtype="int64",
            dimension_names=("sample",),
            attributes=array_attributes,
        )
        array[:] = values
    return field


def chunk_rows(shape: tuple[int, int, int]) -> int:
    """Samples per chunk: a few MB of float32, whatever the number of samples."""
    return max(1, CHUNK_BYTES // (4 * int(np.prod(shape))))


def seconds(times: np.ndarray, calendar: str) -> np.ndarray:
    """Times as int64 seconds since 1970 in their calendar."""
    if np.issubdtype(times.dtype, np.datetime64):
        return times.astype("datetime64[s]").astype(np.int64)
    return np.asarray(cftime.date2num(times, TIME_UNITS, calendar=calendar), dtype=np.int64)
