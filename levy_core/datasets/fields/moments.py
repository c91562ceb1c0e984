"""What fields are standardised by: mean and standard deviation of each variable, or of each of its cells, about its climatology."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.climatology import Climatology, Fit
from levy_core.datasets.fields.config import FieldsConfig

FEWEST_FIELDS = (
    100  # that a cell's own standard deviation is taken from: its relative error is then 7 %, and more with heavy tails
)
FLOOR = (
    0.1  # of the pooled standard deviation, of a cell's own: no value lies ten times as far out as with the pooled one
)
STILL = 1e-7  # of the spread about one number: what rounding leaves of cells that do not change


@dataclass(frozen=True, eq=False)
class Moments:
    """Of transformed values of the training period.

    Attributes:
        mean, std: about the climatology, float64 [C], or [C, H, W] where each cell has its own (the mean then without a climatology alone).
        pooled: standard deviations of all cells together, each about its own mean where it has one, [C].
        climatology: None where none is taken off.
        of_cells: for people, of each channel: ``cell_std`` where each cell has its own, lowest, highest, and how many are at the floor.
    """

    mean: np.ndarray
    std: np.ndarray
    pooled: np.ndarray
    climatology: Climatology | None
    of_cells: tuple[dict[str, Any], ...]


def find_moments(config: FieldsConfig, fits: tuple[Fit, ...], shift: np.ndarray, space: tuple[int, int]) -> Moments:
    """From the sums of each channel's values less its shift [C].

    A cell's own standard deviation is at least ``FLOOR`` of the pooled one: a desert or ice hardly vary, and a rare rain or thaw would lie
    hundreds of standard deviations out. A cell of fewer than ``FEWEST_FIELDS`` values, whose own would be chance, has the pooled one.

    Raises:
        LevyError: a variable that does not change in any cell.
    """
    kind, counts = config.climatology, np.array([fit.count.sum() for fit in fits])
    none: tuple[dict[str, Any], ...] = ({},) * len(fits)
    if kind == "none" and config.standardise == "variable":
        sums, squares = np.array([fit.sums() for fit in fits]).T
        std = np.sqrt(squares / counts - (sums / counts) ** 2)
        return Moments(shift + sums / counts, std, std, None, none)
    solved = [fit.solve() for fit in fits]
    totals = np.array([residuals.sum() for _, residuals in solved])
    for v, total, fit in zip(config.variables, totals, fits, strict=True):
        if not total > STILL**2 * fit.sums()[1]:
            raise LevyError(
                f"variable {v.key!r} does not change in any cell during training{'' if kind == 'none' else ' but for its climatology'}: a "
                "constant cannot be learned, remove it, or take it as `static`"
            )
    coefficients = np.stack([c for c, _ in solved]).reshape(len(fits), -1, *space)
    coefficients[:, 0] += shift[:, None, None]
    pooled = np.sqrt(totals / counts)
    mean, cycle = (
        (coefficients[:, 0], None) if kind == "none" else (np.zeros(len(fits)), Climatology(kind, coefficients))
    )
    if config.standardise == "variable":
        return Moments(mean, pooled, pooled, cycle, none)
    each = [_of_cells(fit, residuals, usual) for fit, (_, residuals), usual in zip(fits, solved, pooled, strict=True)]
    std = np.stack([own.reshape(space) for own, _ in each])
    return Moments(mean, std, pooled, cycle, tuple({"cell_std": numbers} for _, numbers in each))


def _of_cells(fit: Fit, residuals: np.ndarray, pooled: float) -> tuple[np.ndarray, dict[str, Any]]:
    """Standard deviations of one channel's cells [cells], and their numbers."""
    own = np.sqrt(residuals.clip(min=0) / fit.count.clip(min=1))
    few, least = fit.count < FEWEST_FIELDS, FLOOR * pooled
    std = np.where(few, pooled, np.maximum(own, least))
    known = std[fit.count > 0]
    return std, {
        "low": float(known.min()),
        "high": float(known.max()),
        "at_floor": int((~few & (own < least)).sum()),
    }
