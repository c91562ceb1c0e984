"""Fields cut into tiles, each a sample."""

import numpy as np

from levy_core.base.errors import LevyError


def count(shape: tuple[int, int, int], patch: tuple[int, int] | None) -> int:
    """Tiles of one field of ``shape`` (C, H, W); what is left at the southern and eastern edge is not used.

    Raises:
        LevyError: the patch is larger than the field.
    """
    if patch is None:
        return 1
    if patch[0] > shape[1] or patch[1] > shape[2]:
        raise LevyError(
            f"patch is {list(patch)}, but a field has {shape[1]} x {shape[2]} cells: take a smaller patch or null"
        )
    return (shape[1] // patch[0]) * (shape[2] // patch[1])


def cut(values: np.ndarray, patch: tuple[int, int] | None) -> np.ndarray:
    """[N, C, H, W] -> [N * tiles, C, h, w], in order of the fields, then from north to south, then eastwards."""
    if patch is None:
        return values
    (n, c, height, width), (h, w) = values.shape, patch
    down, across = height // h, width // w
    grid = values[:, :, : down * h, : across * w].reshape(n, c, down, h, across, w)
    return grid.transpose(0, 2, 4, 1, 3, 5).reshape(n * down * across, c, h, w)
