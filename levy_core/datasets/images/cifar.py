"""CIFAR-10/100's python archive, read without running what its pickles could run.

The batches are pickles, and unpickling runs whatever they name. ``_Inert`` resolves every name to a harmless record of
its arguments, so a batch can only turn into numbers, strings, lists and records; anything else is refused.
"""

import io
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from levy_core.base.errors import LevyError
from levy_core.datasets.images.archives import files_of_tar

# archive or folder -> (training members, key of the labels, member and key of the class names)
LAYOUTS = {
    "cifar-10": (r"data_batch_\d+", b"labels", "batches.meta", b"label_names"),
    "cifar-100": (r"train", b"fine_labels", "meta", b"fine_label_names"),
}


class _Record:
    """What numpy's array and dtype pickles become: their constructor arguments and state, and nothing that runs."""

    def __init__(self, *args: Any):
        self.args = args
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


_ARRAY_PARTS = frozenset(
    {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    }
)


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _ARRAY_PARTS:
            return _Record
        if (module, name) == ("_codecs", "encode"):
            return lambda text, encoding: text.encode("latin1")
        raise LevyError(f"a CIFAR batch names {module}.{name}, which image data never does: refusing to read it")


def _load(data: bytes, where: str) -> dict[bytes, Any]:
    try:
        batch = _InertUnpickler(io.BytesIO(data), encoding="bytes").load()
        return {k if isinstance(k, bytes) else str(k).encode(): v for k, v in batch.items()}
    except LevyError as error:
        raise LevyError(f"{where}: {error}") from error
    except Exception as error:  # a truncated pickle raises nearly anything
        raise LevyError(
            f"{where} is not a readable CIFAR batch ({type(error).__name__}: {error}): fetch it again"
        ) from error


def _array(value: Any, where: str) -> np.ndarray:
    if (
        isinstance(value, _Record)
        and isinstance(value.state, tuple)
        and len(value.state) == 5
        and isinstance(value.state[4], bytes)
    ):
        _, shape, _, fortran, raw = value.state
        if len(raw) == int(np.prod(shape)) and len(shape) == 2 and shape[1] == 3072:
            return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")
    raise LevyError(f"{where}: its images are not rows of 3,072 bytes, as CIFAR's are")


def find(entries: list[Path]) -> tuple[np.ndarray, np.ndarray, list[str], Path] | None:
    """(images uint8 [N, 3, 32, 32], labels int64 [N], class names, where), or None where there is no such archive."""
    for entry in entries:
        if entry.is_file() and re.search(r"\.(tar\.gz|tgz|tar)$", entry.name):
            return _assemble({parts[-1]: data for parts, data in files_of_tar(entry)}, entry)
        if entry.is_dir() and re.fullmatch(r"cifar-10-batches-py|cifar-100-python", entry.name):
            return _assemble({p.name: p.read_bytes() for p in sorted(entry.iterdir()) if p.is_file()}, entry)
    return None


def _assemble(members: dict[str, bytes], where: Path) -> tuple[np.ndarray, np.ndarray, list[str], Path]:
    for pattern, label_key, meta, names_key in LAYOUTS.values():
        batches = sorted(name for name in members if re.fullmatch(pattern, name))
        if not batches or meta not in members:
            continue
        images, labels = [], []
        for name in batches:
            batch = _load(members[name], f"{where}: {name}")
            if b"data" not in batch or label_key not in batch:
                raise LevyError(f"{where}: {name} has no {label_key.decode()!r} and 'data', as CIFAR's batches do")
            images.append(_array(batch[b"data"], f"{where}: {name}"))
            labels.append(np.array(batch[label_key], dtype=np.int64))
        classes = [c.decode() for c in _load(members[meta], f"{where}: {meta}")[names_key]]
        return np.concatenate(images).reshape(-1, 3, 32, 32), np.concatenate(labels), classes, where
    raise LevyError(
        f"{where} is no CIFAR python archive: expected data_batch_1 to data_batch_5 with batches.meta, or train with meta"
    )
