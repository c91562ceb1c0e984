"""By how much two versions of a stage's output differ, in words: tensors, arrays, tables, JSON; of other files the sizes."""

import filecmp
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

STORE = ".zarr"  # a folder that is one thing
BLOCK = 2**22  # numbers compared at a time
NUMBERS = "biuf"  # kinds of numpy's types


def list_differences(expected: Path, rerun: Path) -> list[str]:
    """One line for each file or store that differs, equal ones left out.

    Args:
        expected: the recorded file or folder. rerun: the one made now.
    """
    before, after = _parts(expected), _parts(rerun)
    lines = []
    for name in sorted({*before, *after}):
        title = name or rerun.name
        if name not in after:
            lines.append(f"{title} was not made")
        elif name not in before:
            lines.append(f"{title} is new")
        elif not _same_bytes(before[name], after[name]):
            lines.append(f"{title}: {_by_how_much(before[name], after[name])}")
    return lines


def _parts(root: Path) -> dict[str, Path]:
    """What an output consists of, by its path in it; one file or store has the path ''."""
    if root.is_file() or root.suffix == STORE:
        return {"": root}
    return {
        f"{child.name}/{name}".rstrip("/"): part for child in root.iterdir() for name, part in _parts(child).items()
    }


def _same_bytes(before: Path, after: Path) -> bool:
    if before.is_file():
        return filecmp.cmp(before, after, shallow=False)
    files = [sorted(p.relative_to(root) for p in root.rglob("*") if p.is_file()) for root in (before, after)]
    return files[0] == files[1] and not any(filecmp.cmpfiles(before, after, map(str, files[0]), shallow=False)[1:])


def _by_how_much(before: Path, after: Path) -> str:
    read = READERS.get(after.suffix)
    if read is None:
        return f"{after.stat().st_size:,} bytes, were {before.stat().st_size:,}"
    a, b = read(before), read(after)
    differing, others = 0, []
    absolute, relative = (0.0, ""), (0.0, "")
    for name in sorted({*a, *b}):
        if name not in a or name not in b:
            others.append(f"{name} {'is new' if name in b else 'was not made'}")
        elif a[name].shape != b[name].shape:
            others.append(f"{name} has shape {b[name].shape}, had {a[name].shape}")
        elif a[name].dtype.kind not in NUMBERS or b[name].dtype.kind not in NUMBERS:
            others += _as_text(name, a[name], b[name])
        else:
            by, relatively = _distance(a[name], b[name])
            differing += by > 0
            absolute, relative = max(absolute, (by, name)), max(relative, (relatively, name))
    parts = []
    if differing:
        parts.append(f"{differing} of {len(b)} differ; largest difference {absolute[0]:.2g}{_of(absolute[1])}")
        parts.append(f"largest relative difference {relative[0]:.2g}{_of(relative[1])}")
    parts += [*others[:3], f"and {len(others) - 3} more"] if len(others) > 3 else others
    return "; ".join(parts) or "equal values in other bytes"


def _of(name: str) -> str:
    return f" ({name})" if name else ""


def _distance(a: Any, b: Any) -> tuple[float, float]:
    """The largest |a - b| and |a - b| / max(|a|, |b|); infinite where only one is a finite number."""
    absolute = relative = 0.0
    for x, y in _blocks(a, b):
        equal = (x == y) | (np.isnan(x) & np.isnan(y))
        if equal.all():
            continue
        x, y = x[~equal], y[~equal]
        by = np.abs(x - y)
        by[~np.isfinite(by)] = math.inf
        size = np.maximum(np.abs(x), np.abs(y))
        shares = np.where(np.isfinite(by), by / np.where(np.isfinite(size), size, 1), math.inf)
        absolute, relative = max(absolute, float(by.max())), max(relative, float(shares.max()))
    return absolute, relative


def _blocks(a: Any, b: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Both arrays in float64, some of axis 0 at a time: a store may be larger than the memory."""
    if not a.shape:
        yield np.asarray(a, np.float64).reshape(1), np.asarray(b, np.float64).reshape(1)
        return
    step = max(1, BLOCK // max(1, math.prod(a.shape[1:])))
    for start in range(0, a.shape[0], step):
        yield tuple(np.asarray(x[start : start + step], np.float64) for x in (a, b))  # type: ignore[misc]


def _as_text(name: str, a: Any, b: Any) -> list[str]:
    was, now = (np.atleast_1d(np.asarray(x[...]).astype(str)) for x in (a, b))
    places = np.argwhere(was != now)
    if not len(places):
        return []
    first = tuple(places[0])
    return [f"{name} is {str(now[first])!r}, was {str(was[first])!r}"]


def _tensors(path: Path) -> dict[str, Any]:
    from levy_core.base.tensors import read_tensors

    return {name: (t.double() if t.is_floating_point() else t).numpy() for name, t in read_tensors(path).items()}


def _array(path: Path) -> dict[str, Any]:
    return {"": np.load(path, mmap_mode="r", allow_pickle=False)}


def _table(path: Path) -> dict[str, Any]:
    from tasks.cells.tables import read_rows

    return {str(name): column.to_numpy() for name, column in read_rows(path).items()}


def _json(path: Path) -> dict[str, Any]:
    return {name: np.asarray(value) for name, value in _leaves(json.loads(path.read_text()), "")}


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if children is None:
        yield name, value
        return
    for key, child in children:
        yield from _leaves(child, f"{name}.{key}" if name else str(key))


def _store(path: Path) -> dict[str, Any]:
    import zarr

    group = zarr.open_group(path, mode="r")
    return {name: member for name, member in group.members(max_depth=None) if isinstance(member, zarr.Array)}


READERS = {".safetensors": _tensors, ".npy": _array, ".csv": _table, ".json": _json, STORE: _store}
