"""Blocks of fields as arrays: a bounded number of bytes at a time, and an error that names the field that cannot be read."""

import hashlib

import numpy as np
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.opening import LazyFields, open_rows
from levy_core.datasets.fields.sources import open_files
from levy_core.datasets.fields.store import chunk_rows, seconds
from levy_core.datasets.fields.timeline import say

BLOCK_BYTES = 64 * 2**20


def field_shape(fields: LazyFields) -> tuple[int, int, int]:
    """C, H, W of a field; places are 1 x W."""
    space = tuple(n for d, n in fields.data.sizes.items() if d not in ("time", "member"))
    return len(fields.data.data_vars), *(space if len(space) == 2 else (1, *space))  # type: ignore[return-value]


def count_members(fields: LazyFields) -> int:
    """Fields of one time."""
    return fields.data.sizes.get("member", 1)


def time_shape(fields: LazyFields) -> tuple[int, int, int]:
    """M * C, H, W: what all M members of one time hold, by which blocks and chunks are measured."""
    channels, height, width = field_shape(fields)
    return count_members(fields) * channels, height, width


def field_times(fields: LazyFields, rows: slice) -> np.ndarray:
    """The time of each field that ``read`` gives of some times."""
    return np.repeat(fields.data.time[rows].to_numpy(), count_members(fields))


def blocks(rows: slice, shape: tuple[int, int, int], block_bytes: int = BLOCK_BYTES) -> list[slice]:
    """Rows, one per time, in blocks of at most ``block_bytes`` of float64 (at least one time), whole chunks of the store each.

    ``shape`` is that of ``time_shape``.
    """
    chunk = chunk_rows(shape)
    size = max(1, block_bytes // (8 * int(np.prod(shape))) // chunk) * chunk
    return [slice(a, min(a + size, rows.stop)) for a in range(rows.start, rows.stop, size)]


def hash_chunks(fields: LazyFields, rows: slice, values: np.ndarray) -> tuple[str, ...]:
    """SHA-256 of the times and values of each chunk of the store in a block: of equal hashes, fields are equal.

    Args:
        rows: one of ``blocks``. values: [n, C, H, W], what ``read`` gave of it.
    """
    times = seconds(field_times(fields, rows), fields.data.time.dt.calendar)
    size, hashes = chunk_rows(time_shape(fields)) * count_members(fields), []
    for first in range(0, len(values), size):
        digest = hashlib.sha256(times[first : first + size].tobytes())
        digest.update(np.ascontiguousarray(values[first : first + size]).data)
        hashes.append(digest.hexdigest())
    return tuple(hashes)


@open_files()
def read(fields: LazyFields, rows: slice) -> np.ndarray:
    """Fields float64 [n, C, H, W], NaN where missing; of each time all members, one after the other.

    Raises:
        LevyError: a field that cannot be read: its variable, time and source are named.
    """
    data = fields.data.isel(time=rows)
    values = np.empty((data.sizes["time"] * count_members(fields), *field_shape(fields)))
    for c, array in enumerate(data.data_vars.values()):
        try:
            # In this thread alone, which has them open.
            values[:, c] = array.data.compute(scheduler="synchronous").reshape(values[:, c].shape)
        except LevyError:  # a fill value
            raise
        except Exception as error:  # each library raises many kinds
            key = str(array.name)
            again = open_rows(fields.folder, fields.config, fields.rows, chunk_bytes=0)
            time = _first_unreadable(again.data[key].isel(time=rows))
            raise LevyError(
                f"{fields.source(key, time)}: variable {key!r} at {say(time)} cannot be read, the file is damaged or truncated "
                f"({type(error).__name__}: {error}): fetch it again"
            ) from error
    return values


def _first_unreadable(array: xr.DataArray) -> object:
    for i, time in enumerate(array.time.to_numpy()):
        try:
            array.data[i].compute(scheduler="synchronous")
        except Exception:  # looked for
            return time
    return array.time.to_numpy()[0]
