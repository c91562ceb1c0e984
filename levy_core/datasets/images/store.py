"""The packed store of an image data set: one zarr store with the groups ``train``, ``balanced`` and ``test``.

Each group has ``image`` uint8 (sample, channel, y, x), ``label`` int64 (sample) and ``source_index`` int64 (sample), a
few MB per chunk, not compressed, because training reads single images; xarray opens it as a data set. Attributes: class names,
counts and pixel statistics of the group.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

from levy_core.base.chunks import ChunkRows
from levy_core.base.errors import LevyError
from levy_core.base.pixels import to_unit

CHUNK_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Images:
    """A group in memory: image uint8 [N, C, H, W], label int64 [N] and the class names."""

    image: np.ndarray
    label: np.ndarray
    classes: tuple[str, ...]

    def take(self, rows: np.ndarray) -> "Images":
        """Those of these rows, int64 [M]."""
        return Images(self.image[rows], self.label[rows], self.classes)


def write_group(
    path: Path,
    group: str,
    indices: np.ndarray,
    labels: np.ndarray,
    classes: list[str],
    shape: tuple[int, int, int],
    read: Callable[[int], np.ndarray],
    progress: Callable[[list[int]], Iterator[int]],
) -> dict[str, object]:
    """Streams images into one group, a chunk in memory at a time, and returns the group's statistics.

    Args:
        indices: int64 [N] into the source. labels: int64 [N]. shape: (C, H, W).
        read: source index -> uint8 [C, H, W].
        progress: wraps the list of chunk starts, for a bar.
    """
    root = zarr.open_group(path, mode="a")
    store = root.create_group(group)
    rows = max(1, min(len(indices), CHUNK_BYTES // int(np.prod(shape))))
    image = store.create_array(
        "image",
        shape=(len(indices), *shape),
        chunks=(rows, *shape),
        dtype="uint8",
        compressors=None,
        config={"write_empty_chunks": True},  # a chunk that is not there has been lost
        dimension_names=("sample", "channel", "y", "x"),
    )
    for name, values in (("label", labels), ("source_index", indices)):
        array = store.create_array(
            name, shape=values.shape, chunks=values.shape, dtype="int64", dimension_names=("sample",)
        )
        array[:] = values
    total, squares = np.zeros(shape[0]), np.zeros(shape[0])
    for start in progress(list(range(0, len(indices), rows))):
        block = np.stack([read(int(i)) for i in indices[start : start + rows]])
        image[start : start + rows] = block
        scaled = to_unit(block).astype(np.float64)
        total += scaled.sum(axis=(0, 2, 3))
        squares += (scaled**2).sum(axis=(0, 2, 3))
    pixels = len(indices) * shape[1] * shape[2]
    mean = total / pixels
    statistics: dict[str, object] = {
        "classes": list(classes),
        "counts": np.bincount(labels, minlength=len(classes)).tolist(),
        "channel_mean": mean.tolist(),
        "channel_std": np.sqrt(np.maximum(squares / pixels - mean**2, 0)).tolist(),
    }
    store.attrs.update(statistics)
    return statistics


def read_group(path: Path, group: str) -> Images:
    """A group of a packed store, in memory.

    Raises:
        LevyError: no store there, or a group that is missing or damaged.
    """
    try:
        # Without dask: a process forked after this one would wait for threads of dask's pool that it does not have.
        with xr.open_zarr(path, group=group, consolidated=False, chunks=None) as data:
            return Images(data["image"].values, data["label"].values, tuple(data.attrs["classes"]))
    except Exception as error:  # zarr and its codecs raise many kinds
        raise _unreadable(f"{path} has no readable group {group!r}", error) from error


@dataclass(frozen=True, eq=False)
class ImageStore:
    """A group as training takes it: float32 in [-1, 1], read by rows; only labels are in memory.

    Attributes:
        shape: C, H, W. classes: their names. labels: int64 [N].
    """

    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    labels: np.ndarray
    _images: ChunkRows

    @classmethod
    def open(cls, path: Path, group: str) -> "ImageStore":
        """A group of a packed store; no image is read.

        Raises:
            LevyError: no store there, or a group that is missing or damaged.
        """
        try:
            with xr.open_zarr(path, group=group, consolidated=False, chunks=None) as data:
                labels, classes = data["label"].to_numpy(), tuple(data.attrs["classes"])
            images = ChunkRows.open(path / group / "image", "uint8")
        except Exception as error:  # zarr and its codecs raise many kinds
            raise _unreadable(f"{path} has no readable group {group!r}", error) from error
        channels, height, width = images.shape
        return cls((channels, height, width), classes, labels, images)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """float32 [n, C, H, W] in [-1, 1].

        Raises:
            LevyError: a chunk that is missing or truncated.
        """
        return to_unit(self.pixels(np.arange(len(self))[rows]))

    def pixels(self, rows: np.ndarray) -> np.ndarray:
        """uint8 [n, C, H, W] of rows, int64 [n].

        Raises:
            LevyError: a chunk that is missing or truncated.
        """
        try:
            return self._images.read(rows)
        except OSError as error:
            raise _unreadable(f"{error.filename} cannot be read", error) from error

    def hash(self) -> str:
        """SHA-256 of the images and labels, a few MB in memory at a time."""
        digest, step = hashlib.sha256(), max(1, CHUNK_BYTES // int(np.prod(self.shape)))
        for first in range(0, len(self), step):
            digest.update(self.pixels(np.arange(first, min(first + step, len(self)))).tobytes())
        digest.update(self.labels.tobytes())
        return digest.hexdigest()


def _unreadable(what: str, error: Exception) -> LevyError:
    return LevyError(f"{what} ({type(error).__name__}: {error}): run the prepare stage again")
