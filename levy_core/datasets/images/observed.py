"""A part of an image that was seen, from a picture whose unseen pixels are transparent."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from levy_core.base.errors import LevyError
from levy_core.base.observed import Observed, Reported
from levy_core.base.pixels import LEVELS
from levy_core.base.typed import array, mapping, real
from levy_core.datasets.images.pictures import open_picture

KEYS = ("pixels", "std", "guide")  # the guide is whoever's who draws


def read_observed(path: Path, shape: tuple[int, int, int], std: float) -> Observed:
    """The opaque pixels of a picture with transparency, or all of one without, as values in [-1, 1].

    Args:
        shape: C, H, W of the model's images. std: of the pixels' error, of 255 grey levels.

    Raises:
        LevyError: as ``open_picture``; a picture of another size, or no pixel that was seen.
    """
    channels, height, width = shape
    picture = open_picture(path, str(path)).convert("LA" if channels == 1 else "RGBA")
    if picture.size != (width, height):
        raise LevyError(f"{path} has {picture.width} x {picture.height} pixels, but the model draws {width} x {height}")
    pixels = np.moveaxis(np.asarray(picture), -1, 0)
    seen = np.broadcast_to(pixels[-1] > 127, shape).reshape(-1)
    if not seen.any():
        raise LevyError(f"{path} has no opaque pixel: what was not seen is transparent, and nothing was seen")
    return _observe(pixels[:channels].reshape(-1), seen, std, shape)


def parse_observed(described: Mapping[str, Any], shape: tuple[int, int, int]) -> Observed:
    """What a request says of an image.

    Args:
        described: ``pixels``, in grey levels from 0 to 255 as images are answered, [H, W, C] or, of one channel, [H, W], null where nothing
            was seen; and perhaps ``std``, of grey levels.
        shape: C, H, W of the model's images.

    Raises:
        LevyError: another key or type, another shape, other levels, or nothing that was seen.
    """
    described = mapping("observed", described, KEYS)
    if "pixels" not in described:
        raise LevyError("observed has no pixels: an image is expected, null where nothing was seen")
    channels, height, width = shape
    pixels = array("observed.pixels", described["pixels"])
    if pixels.shape == (height, width) and channels == 1:
        pixels = pixels[..., None]
    if pixels.shape != (height, width, channels):
        raise LevyError(f"observed.pixels are {list(pixels.shape)}, but the model draws {[height, width, channels]}")
    pixels = np.moveaxis(pixels, -1, 0).reshape(-1)
    seen = ~np.isnan(pixels)
    if not seen.any():
        raise LevyError("observed.pixels are null everywhere: what was not seen is null, and nothing was seen")
    if ((pixels[seen] < 0) | (pixels[seen] > LEVELS)).any():
        raise LevyError(
            f"observed.pixels reach from {pixels[seen].min():g} to {pixels[seen].max():g}, but grey levels from 0 to {LEVELS} are expected"
        )
    return _observe(pixels, seen, real("observed.std", described.get("std", 0.0)), shape)


def _observe(pixels: np.ndarray, seen: np.ndarray, std: float, shape: tuple[int, int, int]) -> Observed:
    """Of flattened grey levels those that were seen."""
    if not 0 <= std <= LEVELS:
        raise LevyError(f"the std is {std:g}, but must be from 0 to {LEVELS} grey levels")
    cells = np.flatnonzero(seen)[:, None]
    channels, height, width = shape
    places = int(seen.reshape(channels, -1).any(0).sum())
    return Observed(
        cells,
        np.ones(cells.shape),
        pixels[seen] / (LEVELS / 2) - 1,
        np.full(len(cells), std / (LEVELS / 2)),
        None,
        None,
        f"{places} of {height * width} pixels",
        Reported(
            pixels[seen].astype(np.float64),
            np.full(len(cells), std),
            np.zeros(len(cells), dtype=np.int64),
            (("pixels", "levels"),),
            lambda images: images.astype(np.float64),
            LEVELS,
        ),
    )
