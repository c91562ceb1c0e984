"""Quantile mapping: generated values to the values of the training period that have the same rank.

It is monotone, so that the highest value of a field stays the highest; how cells depend on each other is the model's. Tails beyond the outermost
knots are generalised Pareto laws, never bounded. Known as quantile mapping in the correction of climate models (Panofsky and Brier 1968).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from levy_core.base.errors import LevyError
from levy_core.base.pareto import FEWEST, excess_law, excess_of, survival_of

TAIL = 1e-3  # of the values, on a side, that a tail is fitted to; of fewer than ten thousand values so many that a law can be fitted
EQUAL = 1e-6  # of the range of real values: nearer to the lowest they are the lowest, as dry days are that were standardised and came back
KNOTS = 401  # between the tails, evenly spaced as scores of a normal law: densest in probability far out
Law = tuple[float, float]


@dataclass(frozen=True)
class QuantileMapping:
    """Knots of equal rank, ascending, and the laws (scale, shape) of what exceeds the last ones and falls below the first ones.

    Attributes:
        generated, real: the knots. upper, lower: laws of generated and of real values; ``lower`` is None where the lowest real values are
            equal, as those of dry days. lowest: the generated value that stands for these, the middle of their ranks; else the first knot.
    """

    generated: tuple[float, ...]
    real: tuple[float, ...]
    upper: tuple[Law, Law]
    lower: tuple[Law, Law] | None
    lowest: float

    @classmethod
    def fit(cls, generated: np.ndarray, real: np.ndarray) -> "QuantileMapping":
        """From values of any shape, NaN left out.

        Raises:
            LevyError: generated values that are all the same, or infinite.
        """
        made, seen = (np.sort(values[~np.isnan(values)], axis=None) for values in (generated, real))
        if not (len(made) and len(seen) and np.isfinite(made[[0, -1]]).all() and made[0] < made[-1]):
            raise LevyError(
                f"{len(made)} generated and {len(seen)} real values give no quantile mapping: finite values that vary are expected"
            )
        seen = np.where(seen - seen[0] < EQUAL * (seen[-1] - seen[0]), seen[0], seen)
        tail = min(0.05, max(TAIL, FEWEST / min(len(made), len(seen))))
        levels = ndtr(np.linspace(ndtri(tail), -ndtri(tail), KNOTS))
        knots, of_real = np.quantile(made, levels), np.quantile(seen, levels)
        distinct = np.append(True, np.diff(knots) > 0)
        knots, of_real = knots[distinct], of_real[distinct]
        upper = (excess_law(made[made > knots[-1]] - knots[-1]), excess_law(seen[seen > of_real[-1]] - of_real[-1]))
        below, equal = seen[seen < of_real[0]], np.searchsorted(seen, seen[0], "right") / len(seen)
        lower = (excess_law(knots[0] - made[made < knots[0]]), excess_law(of_real[0] - below)) if len(below) else None
        lowest = float(knots[0]) if lower else float(np.quantile(made, equal / 2))
        return cls(tuple(knots.tolist()), tuple(of_real.tolist()), upper, lower, lowest)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "QuantileMapping":
        """The inverse of ``dataclasses.asdict``; lists may stand for tuples."""
        laws: Any = lambda pair: None if pair is None else tuple(map(tuple, pair))
        knots = {name: tuple(values[name]) for name in ("generated", "real")}
        return cls(**knots, upper=laws(values["upper"]), lower=laws(values["lower"]), lowest=values["lowest"])

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Generated values of any shape -> values of the training period; keeps NaN."""
        y = np.interp(x, self.generated, self.real)
        y = _beyond(x, y, self.generated[-1], self.real[-1], self.upper)
        return y if self.lower is None else -_beyond(-x, -y, -self.generated[0], -self.real[0], self.lower)

    def inverse(self, y: np.ndarray) -> np.ndarray:
        """Real values of any shape -> generated ones."""
        x = np.interp(y, self.real, self.generated)
        x = _beyond(y, x, self.real[-1], self.generated[-1], self.upper[::-1])
        if self.lower is None:
            return np.where(y <= self.real[0], self.lowest, x)
        return -_beyond(-y, -x, -self.real[0], -self.generated[0], self.lower[::-1])


def _beyond(x: np.ndarray, y: np.ndarray, end: float, image: float, laws: tuple[Law, ...]) -> np.ndarray:
    """y, but for x above ``end``: as far beyond its image as is as rare."""
    law, of_image = laws
    return np.where(x > end, image + excess_of(survival_of(np.maximum(x - end, 0), law), of_image), y)
