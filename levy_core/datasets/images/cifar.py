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
from levy_core.datasets.images.archives import files_of_folder, files_of_tar

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
            f"{where} is not a readable CIFAR batch ({type(error).__name__}: {' '.join(str(error).split())}): fetch it again"
        ) from error


def _array(value: Any, where: str) -> np.ndarray:
    if isinstance(value, _Record) and isinstance(value.state, tuple) and len(value.state) == 5:
        _, shape, _, fortran, raw = value.state
        if isinstance(raw, bytes) and shape == (len(raw) // 3072, 3072) and len(raw) % 3072 == 0:
            return np.frombuffer(raw, np.uint8).reshape(shape, order="F" if fortran else "C")
    raise LevyError(f"{where}: its images are not rows of 3,072 bytes, as CIFAR's are")


def _labels(value: Any, images: int, classes: int, where: str) -> np.ndarray:
    if not isinstance(value, list):
        raise LevyError(f"{where}: its labels are no list, as CIFAR's are")
    if len(value) != images:
        raise LevyError(
            f"{where} has {images:,} images, but {len(value):,} labels: a label for each is expected, else those that follow "
            "would be of other images; fetch it again"
        )
    odd = next((n for n in value if not (isinstance(n, int) and 0 <= n < classes)), None)
    if odd is not None:
        raise LevyError(
            f"{where} has the label {odd!r:.40}: whole numbers from 0 to {classes - 1}, one per class name, are expected"
        )
    return np.array(value, dtype=np.int64)


def _names(meta: dict[bytes, Any], key: bytes, where: str) -> list[str]:
    names = meta.get(key)
    if not (isinstance(names, list) and names and all(isinstance(name, bytes) for name in names)):
        raise LevyError(f"{where} has no list {key.decode()!r} of class names, as CIFAR's has: fetch it again")
    return [name.decode(errors="replace") for name in names]


def find(entries: list[Path]) -> tuple[np.ndarray, np.ndarray, list[str], Path] | None:
    """(images uint8 [N, 3, 32, 32], labels int64 [N], class names, where), or None where there is no such archive."""
    for entry in entries:
        if entry.is_file() and re.search(r"\.(tar\.gz|tgz|tar)$", entry.name):
            return _assemble([(parts[-1], data) for parts, data in files_of_tar(entry)], entry)
        if entry.is_dir() and re.fullmatch(r"cifar-10-batches-py|cifar-100-python", entry.name):
            return _assemble([(path.name, path.read_bytes()) for path in files_of_folder(entry)], entry)
    return None


def _assemble(files: list[tuple[str, bytes]], where: Path) -> tuple[np.ndarray, np.ndarray, list[str], Path]:
    members = dict(files)
    for pattern, label_key, meta, names_key in LAYOUTS.values():
        batches = sorted(name for name, _ in files if re.fullmatch(pattern, name))
        if not batches or meta not in members:
            continue
        expected = sorted(f"data_batch_{k + 1}" for k in range(len(batches))) if meta == "batches.meta" else ["train"]
        if batches != expected:
            raise LevyError(
                f"{where} holds {', '.join(batches)}: each batch once, and none left out, is expected ({', '.join(expected)})"
            )
        classes = _names(_load(members[meta], f"{where}: {meta}"), names_key, f"{where}: {meta}")
        images, labels = [], []
        for name in batches:
            batch = _load(members[name], f"{where}: {name}")
            if b"data" not in batch or label_key not in batch:
                raise LevyError(f"{where}: {name} has no {label_key.decode()!r} and 'data', as CIFAR's batches do")
            images.append(_array(batch[b"data"], f"{where}: {name}"))
            labels.append(_labels(batch[label_key], len(images[-1]), len(classes), f"{where}: {name}"))
        return np.concatenate(images).reshape(-1, 3, 32, 32), np.concatenate(labels), classes, where
    raise LevyError(
        f"{where} is no CIFAR python archive: expected data_batch_1 to data_batch_5 with batches.meta, or train with meta"
    )
