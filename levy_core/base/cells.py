"""Which cells of a field make a value between or over them, and with which weights.

Cells are numbered row by row over a field of height x width: int64 [n, k], with weights float64 [n, k].
"""

import numpy as np


def bilinear(
    row: np.ndarray, column: np.ndarray, shape: tuple[int, int], wraps: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The four cells around each position, [n] each in cells: cell (i, j) lies at exactly (i, j).

    Rows lie in 0..H - 1, columns in 0..W - 1, or where the last column touches the first (``wraps``) in 0..W.
    """
    height, width = shape
    top = np.floor(row).clip(max=max(height - 2, 0)).astype(np.int64)
    left = np.floor(column).clip(max=width - 1 if wraps else max(width - 2, 0)).astype(np.int64)
    down, across = row - top, column - left
    rows = np.stack([top, np.minimum(top + 1, height - 1)], 1)
    columns = np.stack([left, (left + 1) % width if wraps else np.minimum(left + 1, width - 1)], 1)
    along, sideways = np.stack([1 - down, down], 1), np.stack([1 - across, across], 1)
    cells = rows[:, :, None] * width + columns[:, None, :]
    weights = along[:, :, None] * sideways[:, None, :]
    return cells.reshape(-1, 4), weights.reshape(-1, 4)


def blocks(shape: tuple[int, int], block: tuple[int, int], area: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The cells of each block of [height, width] cells, row by row, which divide the field, and their shares of its ``area`` [H, W]."""
    height, width = shape
    number = np.arange(height * width).reshape(height // block[0], block[0], width // block[1], block[1])
    cells = number.swapaxes(1, 2).reshape(-1, block[0] * block[1])
    weights = area.reshape(-1)[cells]
    return cells, weights / weights.sum(1, keepdims=True)
