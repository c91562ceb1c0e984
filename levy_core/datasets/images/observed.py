"""A part of an image that was seen, from a picture whose unseen pixels are transparent."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from levy_core.base.errors import LevyError
from levy_core.base.observed import Observed


def read_observed(path: Path, shape: tuple[int, int, int], std: float) -> Observed:
    """The opaque pixels of a picture with transparency, or all of one without, as values in [-1, 1].

    Args:
        shape: C, H, W of the model's images. std: of the pixels' error, of 255 grey levels.

    Raises:
        LevyError: no picture, one of another size, or no pixel that was seen.
    """
    channels, height, width = shape
    try:
        with Image.open(path) as opened:
            picture = opened.convert("LA" if channels == 1 else "RGBA")
    except (OSError, UnidentifiedImageError) as error:
        raise LevyError(f"{path} is no picture ({error})") from error
    if picture.size != (width, height):
        raise LevyError(f"{path} has {picture.width} x {picture.height} pixels, but the model draws {width} x {height}")
    pixels = np.moveaxis(np.asarray(picture), -1, 0)
    seen = np.broadcast_to(pixels[-1] > 127, shape).reshape(-1)
    if not seen.any():
        raise LevyError(f"{path} has no opaque pixel: what was not seen is transparent, and nothing was seen")
    values = pixels[:channels].reshape(-1)[seen] / 127.5 - 1
    cells = np.flatnonzero(seen)[:, None]
    count = int(seen.sum()) // channels
    return Observed(
        cells,
        np.ones(cells.shape),
        values,
        np.full(len(cells), std / 127.5),
        None,
        None,
        f"{count} of {height * width} pixels",
    )
