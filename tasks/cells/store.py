"""Cells of the grid on disk: one array per solver and seed, or the reason why there is none, named by a hash of what determines it."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from levy_core.base.artifacts import Artifact, read_artifact
from levy_core.base.errors import LevyError
from levy_core.base.files import hash_json, replacing

INDEX, LABELS = "cells.json", "labels.json"


@dataclass(frozen=True)
class Cell:
    """One solver at one seed.

    Attributes:
        settings: of the solver, by name; ``steps`` is one of them. label: how tables and plots name it.
        nfe: network evaluations per sample.
    """

    settings: Mapping[str, Any]
    label: str
    seed: int
    nfe: int

    def key(self, model_hash: str, labels: np.ndarray) -> str:
        """Hash of everything that determines the samples, among it the label of each, int64 [n]."""
        decided_by = {**self.settings, "seed": self.seed, "model": model_hash, "labels": labels.tolist()}
        return hash_json(decided_by)[:16]


@dataclass(frozen=True)
class DrawnCell:
    """A cell that has been tried: its samples [n, *S] (memory-mapped) as their kind keeps them, or why it has none."""

    key: str
    cell: Cell
    samples: np.ndarray | None
    failed: str | None


def write_cell(folder: Path, key: str, shape: tuple[int, ...], dtype: np.dtype, parts: Iterable[np.ndarray]) -> None:
    """Samples of a cell, [n, *S] = ``shape``, in one piece; written part by part, as they are drawn."""
    # By the stream itself: numpy loses the error of its last write, and the cell would be cut off in silence.
    with replacing(folder / f"{key}.npy") as temporary, temporary.open("wb") as stream:
        stream.write(_header(shape, dtype))
        for part in parts:
            stream.write(np.ascontiguousarray(part, dtype).data)


class _Labels(Artifact):
    """The labels of a cell's samples, from 0 to the number of classes, which stands for 'no class'."""

    classes: int = Field(ge=0, lt=2**31)
    labels: list[int]

    @model_validator(mode="after")
    def _check(self) -> "_Labels":
        for i, label in enumerate(self.labels):
            if not 0 <= label <= self.classes:
                raise ValueError(
                    f"label {i} is {label}, but of {self.classes} classes 0 to {self.classes} were expected"
                )
        return self


def write_labels(folder: Path, labels: np.ndarray, classes: int) -> None:
    """Labels of the samples of every cell, int64 [n]; the number of classes stands for 'no class'."""
    with replacing(folder / LABELS) as temporary:
        temporary.write_text(json.dumps({"classes": classes, "labels": labels.tolist()}) + "\n")


def read_labels(folder: Path, cells: Iterable[DrawnCell]) -> np.ndarray:
    """Labels of the samples of each of the folder's cells, int64 [n].

    Raises:
        LevyError: the file is missing or damaged, or a cell has another number of samples.
    """
    labels = read_artifact(folder / LABELS, _Labels, "sample").labels
    for drawn in cells:
        if drawn.samples is not None and len(drawn.samples) != len(labels):
            raise LevyError(
                f"{folder / LABELS} has {len(labels)} labels, but the cell {drawn.key} has {len(drawn.samples)} samples: run the "
                "sample stage again"
            )
    return np.array(labels, dtype=np.int64)


def write_failure(folder: Path, key: str, reason: str) -> None:
    """Why a cell has no samples."""
    with replacing(folder / f"{key}.txt") as temporary:
        temporary.write_text(reason)


def remove_damaged(folder: Path, keys: Iterable[str], shape: tuple[int, ...], dtype: np.dtype) -> list[str]:
    """Removes files of these cells that are not whole, and returns their keys; reads the first bytes of each alone.

    Whole is an array of this shape and type with the header that ``write_cell`` gives it and all of its bytes, or a reason
    that says something.
    """
    begin = _header(shape, dtype)
    size = len(begin) + prod(shape) * dtype.itemsize
    damaged = []
    for key in keys:
        array, reason = folder / f"{key}.npy", folder / f"{key}.txt"
        cut = reason.exists() and not reason.stat().st_size
        if cut or (array.exists() and (array.stat().st_size != size or _read_start(array, len(begin)) != begin)):
            damaged.append(key)
            for path in (array, reason):
                path.unlink(missing_ok=True)
    return damaged


def _header(shape: tuple[int, ...], dtype: np.dtype) -> bytes:
    header = BytesIO()
    layout = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, layout)
    return header.getvalue()


def _read_start(path: Path, count: int) -> bytes:
    with path.open("rb") as stream:
        return stream.read(count)


def is_done(folder: Path, key: str) -> bool:
    """Whether a cell has been tried."""
    return any((folder / f"{key}{ending}").exists() for ending in (".npy", ".txt"))


def has_failed(folder: Path, key: str) -> bool:
    """Whether a cell has been tried and has no samples."""
    return (folder / f"{key}.txt").exists()


def write_index(folder: Path, cells: dict[str, Cell]) -> None:
    """``cells.json`` names the cells, with their settings in the order in which they were given; files that it does not name are removed."""
    index = {key: _to_entry(cells[key]) for key in sorted(cells)}
    for path in folder.iterdir():
        if path.name not in (INDEX, LABELS) and path.stem not in index:
            path.unlink()
    with replacing(folder / INDEX) as temporary:
        temporary.write_text(json.dumps(index, indent=1) + "\n")


def _to_entry(cell: Cell) -> dict[str, Any]:
    return {"settings": dict(cell.settings), "label": cell.label, "seed": cell.seed, "nfe": cell.nfe}


def read_cells(folder: Path) -> list[DrawnCell]:
    """The cells in the order of steps, solver and seed.

    Raises:
        LevyError: the index or a cell is missing or damaged.
    """
    try:
        index = json.loads((folder / INDEX).read_text())
        cells = [_read(folder, key, Cell(**entry)) for key, entry in index.items()]
        return sorted(cells, key=lambda entry: (entry.cell.settings["steps"], entry.cell.label, entry.cell.seed))
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LevyError(f"{folder} holds no complete grid ({error}): run the sample stage again") from error


def _read(folder: Path, key: str, cell: Cell) -> DrawnCell:
    reason = folder / f"{key}.txt"
    if reason.exists():
        return DrawnCell(key, cell, None, reason.read_text())
    return DrawnCell(key, cell, np.load(folder / f"{key}.npy", mmap_mode="r", allow_pickle=False), None)
