"""Pixels as networks see them and as pictures have them."""

import numpy as np

LEVELS = 255  # the lightest of a channel


def to_unit(image: np.ndarray) -> np.ndarray:
    """uint8 -> float32 in [-1, 1]."""
    return image.astype(np.float32) / 127.5 - 1


def to_uint8(image: np.ndarray) -> np.ndarray:
    """float in [-1, 1] -> uint8; values outside are clamped, which a picture cannot avoid. The inverse of ``to_unit``."""
    return np.clip(np.rint((image + 1) * 127.5), 0, 255).astype(np.uint8)
