"""From a folder of sources to the prepared store: measured in one pass, and in a second written where it changed."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import zarr

from levy_core.base.files import write_json
from levy_core.base.rows import BlockMap
from levy_core.datasets.fields import append, tiles
from levy_core.datasets.fields.append import STORE, PreviousStore
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import FieldsConfig
from levy_core.datasets.fields.half import to_half
from levy_core.datasets.fields.labels import classes, label
from levy_core.datasets.fields.measure import Progress, check_training, measure, one_blas_thread, with_scores
from levy_core.datasets.fields.opening import LazyFields, open_parts
from levy_core.datasets.fields.reading import (
    BLOCK_BYTES,
    blocks,
    count_members,
    field_shape,
    read,
    time_shape,
)
from levy_core.datasets.fields.split import split
from levy_core.datasets.fields.static import StaticField, read_static, write_static
from levy_core.datasets.fields.store import GROUPS, chunk_rows, create_group
from levy_core.datasets.fields.timeline import say

STATISTICS = "statistics.json"


@dataclass(frozen=True)
class Inspection:
    """What can be known of a data set without reading a field, but those that are the same at all times.

    Attributes:
        fields: the lazy fields. periods: rows of the groups train and test, int64 each. classes: names of the classes.
        labels: of each group's times, int64. samples: of each time: members, or tiles of each. shape: C, H, W of a sample.
        static: the fields that are the same at all times.
    """

    fields: LazyFields
    periods: dict[str, np.ndarray]
    classes: tuple[str, ...]
    labels: dict[str, np.ndarray]
    samples: int
    static: list[StaticField]

    @property
    def shape(self) -> tuple[int, ...]:
        channels, *space = field_shape(self.fields)
        return channels, *(self.fields.config.patch or space)


def inspect(folder: Path, config: FieldsConfig) -> Inspection:
    """All checks that need no field but the static ones, for use before anything runs.

    Raises:
        LevyError: as ``open_fields``, ``check_training`` and ``read_static``; a period too short for the split; classes of the test period that
            are not in training; a patch larger than the fields.
    """
    fields = open_parts(folder, config)
    times = fields.data.time.to_numpy()
    periods = dict(zip(GROUPS, split(times, config), strict=True))
    check_training(config, times[periods["train"]], count_members(fields))
    names = classes(config.season, times[periods["train"]])
    labels = {group: label(config.season, times[rows], names) for group, rows in periods.items()}
    return Inspection(fields, periods, names, labels, _count_samples(fields), read_static(fields))


def prepare_fields(
    folder: Path,
    config: FieldsConfig,
    into: Path,
    previous: Path | None,
    progress: Progress,
    block_bytes: int = BLOCK_BYTES,
    block_map: BlockMap = map,
) -> dict[str, object]:
    """Writes ``fields.zarr``, the codec, static fields and ``statistics.json`` into the empty folder ``into``.

    Args:
        folder: what ``open_fields`` opens.
        previous: a folder prepared before, or None. Every source is read and measured; where what is standardised, and how, is
            the same as then, chunks of ``previous`` are linked and not computed again. The result is the same without it.
        progress: wraps a list of blocks, for a bar.
        block_bytes: of float64 fields held at a time; sums may differ in their last bits with it.
        block_map: where blocks are read, converted and written; the files are the same bytes wherever.

    Returns:
        The statistics: shape, classes, calendar, first and last times and counts of each group, and per variable
        units, mean, std, min, max and cells that are always missing, of the training period; of static fields likewise.

    Raises:
        LevyError: as ``inspect`` and ``measure``, when nothing has been written; as ``to_half``, when some of the store has.
    """
    inspection = inspect(folder, config)
    train, test, cut = *inspection.periods.values(), inspection.samples
    fields = inspection.fields.take(np.concatenate([train, test]))  # so that what belongs together lies together
    periods = dict(zip(GROUPS, (slice(0, len(train)), slice(len(train), len(train) + len(test))), strict=True))
    fields = with_scores(fields, periods["train"])
    times, shape = fields.data.time.to_numpy(), time_shape(fields)
    codec, numbers, hashes = measure(fields, periods["train"], periods["test"], progress, block_bytes, block_map)
    codec = codec if config.patch is None else _of_tiles(codec, (codec.shape[0], *config.patch))
    codec.save(into)
    write_static(inspection.static, into)
    old, chunk = append.find_previous(previous, into), chunk_rows(shape)
    for group, rows in periods.items():
        field = create_group(
            into.absolute() / STORE, group, codec.shape, np.repeat(inspection.labels[group], cut), np.repeat(times[rows], cut), chunk * cut,
            codec.dtype, codec.calendar, {"classes": list(inspection.classes), "channels": list(codec.names)},
        )  # fmt: skip
        unchanged = [] if old is None else _unchanged(old, group, hashes[group], fields, codec, rows, chunk)
        if old is not None:
            old.take_over(group, unchanged, into)
        write = partial(_write, fields, codec, field, rows.start)
        every = [block for part in _between(rows, unchanged, chunk) for block in blocks(part, shape, block_bytes)]
        for _ in zip(progress(every), block_map(write, every), strict=True):
            pass
    append.write_hashes(into, hashes)
    statistics: dict[str, object] = {
        "shape": list(codec.shape),
        "classes": list(inspection.classes),
        "calendar": codec.calendar,
        "variables": numbers,
    }
    if inspection.static:
        statistics["static"] = [field.statistics for field in inspection.static]
    for group, rows in periods.items():
        ends = {"first": say(times[rows.start]), "last": say(times[rows.stop - 1])}
        counts = np.bincount(np.repeat(inspection.labels[group], cut), minlength=len(inspection.classes)).tolist()
        statistics[group] = {"samples": sum(counts), "counts": counts, **ends}
    write_json(into / STATISTICS, statistics)
    return statistics


def _count_samples(fields: LazyFields) -> int:
    """Samples of each time."""
    return count_members(fields) * tiles.count(field_shape(fields), fields.config.patch)


def _write(fields: LazyFields, codec: Codec, array: zarr.Array, start: int, block: slice) -> None:
    """Writes the samples of a block, which are whole chunks, into the array, whose first field is at ``start``."""
    samples = _samples(fields, codec, block)
    first = (block.start - start) * _count_samples(fields)
    array[first : first + len(samples)] = samples


@one_blas_thread
def _samples(fields: LazyFields, codec: Codec, block: slice) -> np.ndarray:
    """As they are stored, made one chunk at a time: the last bits of a climatology depend on how many fields are asked for at once."""
    cut, shape = _count_samples(fields), time_shape(fields)
    values = tiles.cut(read(fields, block), fields.config.patch)
    times, samples = (
        np.repeat(fields.data.time[block].to_numpy(), cut),
        np.empty(values.shape, np.dtype(codec.dtype).newbyteorder("<")),
    )
    for first in range(0, len(values), chunk_rows(shape) * cut):
        chunk = slice(first, first + chunk_rows(shape) * cut)
        encoded = codec.encode(values[chunk], times[chunk])
        if codec.dtype == "float16":
            encoded = to_half(fields, encoded, values[chunk], times[chunk])
        samples[chunk] = encoded
    return samples


def _unchanged(
    old: PreviousStore, group: str, hashes: list[str], fields: LazyFields, codec: Codec, rows: slice, chunk: int
) -> list[int]:
    """The chunks of a group that are taken over: none if the first of them would be written as other bytes by this code."""
    cut = _count_samples(fields)
    chunks = old.unchanged(group, hashes, np.dtype(codec.dtype).itemsize * chunk * cut * int(np.prod(codec.shape)))
    if chunks:
        first = rows.start + chunks[0] * chunk
        samples = _samples(fields, codec, slice(first, min(first + chunk, rows.stop)))
        if not old.chunk(group, chunks[0]).read_bytes().startswith(samples.tobytes()):
            return []
    return chunks


def _between(rows: slice, chunks: list[int], chunk: int) -> list[slice]:
    """The rows that are not in the given chunks, in runs."""
    ends = [*(rows.start + i * chunk for i in chunks), rows.stop]
    starts = [rows.start, *(rows.start + (i + 1) * chunk for i in chunks)]
    return [slice(a, b) for a, b in zip(starts, ends, strict=True) if a < b]


def _of_tiles(codec: Codec, shape: tuple[int, int, int]) -> Codec:
    """A tile may lie anywhere: it has no coordinates, and no cell of it is always missing."""
    return replace(codec, valid=np.ones(shape, dtype=bool), latitude=None, longitude=None, projection=None)
