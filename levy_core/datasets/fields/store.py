"""The prepared fields: one zarr store with the groups ``train`` and ``test``, written a few chunks at a time, read by rows.

A group has ``field`` float32 (sample, channel, latitude, longitude), standardised, NaN where missing, in chunks of a
few MB that are not compressed (noise is not compressible, and training reads at random), ``time`` and ``label``
(sample); xarray opens it as a data set.
"""

from dataclasses import dataclass
from pathlib import Path

import cftime
import numpy as np
import xarray as xr
import zarr

from levy_core.base.errors import LevyError

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
    _chunks: Path
    _rows: int

    @classmethod
    def open(cls, path: Path, group: str) -> "FieldStore":
        """The group of a store ``fields.zarr``; no field is read.

        Raises:
            LevyError: no such store or group, or a damaged one.
        """
        try:
            with xr.open_zarr(path, group=group, consolidated=False, chunks=None) as data:
                labels, times, classes = data["label"].to_numpy(), data["time"].to_numpy(), tuple(data.attrs["classes"])
            array = zarr.open_array(path / group / "field", mode="r")
            if array.compressors or array.shards or array.dtype != "float32":
                raise ValueError("its fields are not plain float32")
        except Exception as error:  # zarr and its codecs raise many kinds
            raise _unreadable(f"{path} has no readable group {group!r}", error) from error
        return cls(array.shape[1:], classes, labels, times, path / group / "field" / "c", array.chunks[0])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Fields float32 [n, C, H, W], NaN where missing.

        Only the bytes of these rows are read, which zarr, whose smallest piece is a chunk, cannot do; Python's lock is
        free meanwhile.

        Raises:
            LevyError: a chunk that is missing or truncated.
        """
        chosen = np.arange(len(self))[rows]
        fields = np.empty((len(chosen), *self.shape), dtype="<f4")
        chunks, places = np.divmod(chosen, self._rows)
        size = 4 * int(np.prod(self.shape))
        for chunk in np.unique(chunks):
            path = self._chunks / str(chunk) / "0" / "0" / "0"
            try:
                with path.open("rb", buffering=0) as file:
                    for i in np.flatnonzero(chunks == chunk):
                        file.seek(int(places[i]) * size)
                        if file.readinto(fields[i].data) != size:
                            raise OSError("it is truncated")
            except OSError as error:
                raise _unreadable(f"{path} cannot be read", error) from error
        return fields


def _unreadable(what: str, error: Exception) -> LevyError:
    return LevyError(f"{what} ({type(error).__name__}: {error}): run the prepare stage again")


def create_group(
    path: Path,
    group: str,
    shape: tuple[int, int, int],
    labels: np.ndarray,
    times: np.ndarray,
    rows: int,
    calendar: str,
    attributes: dict[str, object],
) -> zarr.Array:
    """Makes a group with its labels and times, and gives its still empty ``field``.

    Args:
        labels: int64 [N]. times: [N] datetime64 or cftime of ``calendar``. rows: samples per chunk. attributes: of the group; ``classes`` among them.
    """
    store = zarr.open_group(path, mode="a").create_group(group, attributes=attributes)
    field = store.create_array(
        "field",
        shape=(len(labels), *shape),
        chunks=(rows, *shape),
        dtype="float32",
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
    """Samples per chunk: a few MB, whatever the number of samples."""
    return max(1, CHUNK_BYTES // (4 * int(np.prod(shape))))


def seconds(times: np.ndarray, calendar: str) -> np.ndarray:
    """Times as int64 seconds since 1970 in their calendar."""
    if np.issubdtype(times.dtype, np.datetime64):
        return times.astype("datetime64[s]").astype(np.int64)
    return np.asarray(cftime.date2num(times, TIME_UNITS, calendar=calendar), dtype=np.int64)
