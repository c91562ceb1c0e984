"""New times added to a store that is there already: which of it still holds, and its chunks taken over without reading them."""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from levy_core.base.errors import LevyError
from levy_core.base.files import write_json
from levy_core.datasets.fields import tiles
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import FieldsConfig
from levy_core.datasets.fields.opening import Opened
from levy_core.datasets.fields.reading import field_shape, read
from levy_core.datasets.fields.store import FieldStore

STORE, PREPARED = "fields.zarr", "prepared.json"
FORMAT = 1
LOOKED_AT = 16  # fields compared with the source


@dataclass(frozen=True)
class Previous:
    """A prepared folder that a longer one extends.

    Attributes:
        folder: where it lies. codec: of it and of the longer one. numbers: of each channel's training period.
        fields: how many fields of each group it holds.
    """

    folder: Path
    codec: Codec
    numbers: dict[str, dict[str, Any]]
    fields: dict[str, int]


def describe(folder: Path, config: FieldsConfig, numbers: dict[str, dict[str, Any]]) -> None:
    """Writes what ``extends`` asks about."""
    write_json(folder / PREPARED, {"format": FORMAT, "config": config.to_mapping(), "variables": numbers})


def extends(folder: Path | None, opened: Opened, config: FieldsConfig, periods: dict[str, slice]) -> Previous | None:
    """What was prepared before, if these fields are the same with later times added; else None.

    The same settings with a fixed ``train_until``, grid, calendar and training times, earlier test times that begin the
    new ones, and 16 fields spread over the old times that are still the same, bit for bit, in the source. (Old values
    that changed between those are not noticed: prepare without ``previous`` then.)
    """
    if folder is None or config.train_until is None:
        return None
    try:
        described = json.loads((folder / PREPARED).read_text())
        if described["format"] != FORMAT or described["config"] != json.loads(json.dumps(config.to_mapping())):
            return None
        codec, stores = Codec.load(folder), {g: FieldStore.open(folder / STORE, g) for g in periods}
    except (LevyError, OSError, ValueError, KeyError):
        return None
    cut, times = tiles.count(field_shape(opened), config.patch), opened.data.time.to_numpy()
    done = {}
    for group, rows in periods.items():
        old, new = stores[group].times[::cut], times[rows]
        if (
            len(old) > len(new)
            or (group == "train" and len(old) < len(new))
            or not np.array_equal(old, new[: len(old)])
        ):
            return None
        done[group] = len(old)
    if not _same_place(codec, opened, config):
        return None
    every = [(g, i) for g, n in done.items() for i in range(n)]
    chosen = [every[i] for i in np.unique(np.linspace(0, len(every) - 1, LOOKED_AT).astype(int))]
    for group, i in chosen:
        row = periods[group].start + i
        try:
            source = tiles.cut(read(opened, slice(row, row + 1)), config.patch)
        except LevyError:
            return None  # the full preparation says what is wrong
        now = codec.encode(source, np.repeat(times[row : row + 1], cut))
        if not np.array_equal(now, stores[group][i * cut : (i + 1) * cut], equal_nan=True):
            return None
    return Previous(folder, codec, described["variables"], done)


def _same_place(codec: Codec, opened: Opened, config: FieldsConfig) -> bool:
    data = opened.data
    if codec.calendar != data.time.dt.calendar:
        return False
    if "place" in data.dims:
        return codec.places == tuple(map(str, data.place.to_numpy()))
    if config.patch is not None:
        return True  # tiles have no coordinates
    pairs = ((codec.latitude, data.latitude), (codec.longitude, data.longitude))
    return all(mine is not None and np.array_equal(mine, theirs) for mine, theirs in pairs)


def take_over(previous: Previous, group: str, into: Path, chunk_fields: int, fields: int) -> int:
    """Links (or copies, across file systems) the chunks of a group that stay as they are; returns how many fields they hold.

    Args:
        into: the new store, with the group in it. chunk_fields: fields a chunk. fields: of the new group.
    """
    held = previous.fields[group]
    whole = held == fields
    chunks = -(-held // chunk_fields) if whole else held // chunk_fields
    for i in range(chunks):
        name = Path(group, "field", "c", str(i), "0", "0", "0")
        source, target = previous.folder / STORE / name, into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source.resolve(), target)
        except OSError:
            shutil.copyfile(source, target)
    return held if whole else chunks * chunk_fields
