"""Values of single cells over many fields, of large ones on every so many rows and columns: what maps of statistics are drawn from."""

from dataclasses import dataclass

import numpy as np

from levy_core.base.rows import Rows, parts
from levy_core.datasets.fields.codec import Codec

VALUES = 40_000_000  # of a variable, at most: 2,000 fields of 721 x 1440 are looked at in every eighth row and column,
FEWEST = 500  # fewer than so many fields in every fourth


def find_step(fields: int, space: tuple[int, int]) -> int:
    """Every how many rows and columns of so many fields are looked at."""
    return max(1, int(np.ceil(np.sqrt(max(FEWEST, fields) * space[0] * space[1] / VALUES))))


@dataclass(frozen=True, eq=False)
class CellValues:
    """Standardised fields at some cells.

    Attributes:
        standardised: float32 [N, C, h w], of every ``step``-th row and column. times: [N] of the fields; None where they need none.
    """

    codec: Codec
    standardised: np.ndarray
    times: np.ndarray | None
    step: int

    @classmethod
    def read(cls, codec: Codec, fields: Rows, rows: np.ndarray, times: np.ndarray | None, step: int) -> "CellValues":
        """Of these rows, int64 [N], of standardised fields, whose times are ``times`` [N]."""
        read = [fields[rows[part]][:, :, ::step, ::step].copy() for part in parts(len(rows), codec.shape)]
        standardised = np.concatenate([part.reshape(*part.shape[:2], -1) for part in read])
        return cls(codec, standardised, times, step)

    def physical(self, c: int) -> np.ndarray:
        """Of one variable, float64 [N, h, w], NaN in cells that are always missing."""
        _, height, width = self.codec.shape
        cells = np.arange(height * width).reshape(height, width)[:: self.step, :: self.step]
        flat = cells.reshape(-1)
        decode = self.codec.decode_cells(c, flat, self.times)
        values = decode(self.standardised[:, c].astype(np.float64), np.arange(len(self.standardised)))
        return np.where(self.codec.valid[c].reshape(-1)[flat], values, np.nan).reshape(-1, *cells.shape)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values of the cells [h, w] for all cells [H, W], each that of the nearest row and column before."""
        _, height, width = self.codec.shape
        return values.repeat(self.step, 0).repeat(self.step, 1)[:height, :width]
