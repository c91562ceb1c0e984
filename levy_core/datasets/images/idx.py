"""MNIST's idx files, gzipped or not: images uint8 [N, H, W] and their labels."""

import re
import struct
import zlib
from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np

from levy_core.base.errors import LevyError
from levy_core.datasets.images.archives import unpack_gzip


def find(files: Sequence[Path]) -> tuple[np.ndarray, np.ndarray, list[str], Path] | None:
    """(images uint8 [N, H, W], labels int64 [N], class names, where), or None where there are no such files."""
    paths = {}
    for kind in ("images-idx3", "labels-idx1"):
        matches = [p for p in files if re.fullmatch(rf"train-{kind}-ubyte(\.gz)?", p.name.replace(".idx", "-idx"))]
        if matches:
            paths[kind] = matches[0]
    if len(paths) < 2:
        return None
    images = _read(paths["images-idx3"], dimensions=3)
    labels = _read(paths["labels-idx1"], dimensions=1).astype(np.int64)
    if not images.size:
        raise LevyError(f"{paths['images-idx3']} holds no images (it announces {' x '.join(map(str, images.shape))})")
    if len(images) != len(labels):
        raise LevyError(
            f"{paths['images-idx3']} has {len(images)} images, but {paths['labels-idx1']} has {len(labels)} labels"
        )
    return images, labels, [str(c) for c in range(int(labels.max()) + 1)], paths["images-idx3"]


def _read(path: Path, dimensions: int) -> np.ndarray:
    try:
        data = unpack_gzip(path) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise LevyError(
            f"{path} cannot be unpacked ({error}): it is damaged or was only partly copied; fetch it again"
        ) from error
    header = 4 + 4 * dimensions
    if len(data) < header or data[:4] != bytes([0, 0, 8, dimensions]):
        raise LevyError(
            f"{path} is not an idx file of unsigned bytes with {dimensions} dimension{'s' if dimensions > 1 else ''}"
        )
    shape = struct.unpack(f">{dimensions}I", data[4:header])
    if len(data) - header != prod(shape):
        raise LevyError(
            f"{path} announces {prod(shape):,} bytes and holds {len(data) - header:,}: it is truncated; fetch it again"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
