"""Quantile mapping: generated values to the values of the training period that have the same rank.

It is monotone, so that the highest value of a field stays the highest; how cells depend on each other is the model's. Tails beyond the outermost
knots are generalised Pareto laws, never bounded, but where the outermost values are equal: there is nothing beyond a full cover of cloud. Known as quantile mapping in the correction of climate models (Panofsky and Brier 1968).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtr, ndtri

from levy_core.base.errors import LevyError
from levy_core.base.pareto import FEWEST, excess_law, excess_of, survival_of

TAIL = 1e-3  # of the values, on a side, that a tail is fitted to; of fewer than ten thousand values so many that a law can be fitted
EQUAL = 1e-6  # of the range of real values: nearer to an end of it they are that end, as dry days are that were standardised and came back
KNOTS = 401  # between the tails, evenly spaced as scores of a normal law: densest in probability far out
Law = tuple[float, float]


@dataclass(frozen=True)
class QuantileMapping:
    """Knots of equal rank, ascending, and the laws (scale, shape) of what exceeds the last ones and falls below the first ones.

    Attributes:
        generated, real: the knots. upper, lower: laws of generated and of real values; None where the highest or lowest real values are
            equal, as those of an overcast sky or of dry days. highest, lowest: the generated values that stand for these, the middles of
            their ranks; else the outermost knots.
    """

    generated: tuple[float, ...]
    real: tuple[float, ...]
    upper: tuple[Law, Law] | None
    lower: tuple[Law, Law] | None
    highest: float
    lowest: float

    @classmethod
    def fit(cls, generated: np.ndarray, real: np.ndarray) -> "QuantileMapping":
        """From values of any shape, NaN left out.

        Raises:
            LevyError: generated values that are all the same, or values of either that are infinite or lacking.
        """
        made, seen = (np.sort(values[~np.isnan(values)], axis=None) for values in (generated, real))
        ends = [values[k] for values in (made, seen) if len(values) for k in (0, -1)]
        tail = min(0.05, max(TAIL, FEWEST / max(1, min(len(made), len(seen)))))
        levels = ndtr(np.linspace(ndtri(tail), -ndtri(tail), KNOTS))
        if not (
            len(ends) == 4 and np.isfinite(ends).all() and np.quantile(made, levels[0]) < np.quantile(made, levels[-1])
        ):
            raise LevyError(
                f"{len(made)} generated and {len(seen)} real values give no quantile mapping: finite values that vary are expected"
            )
        near = EQUAL * (seen[-1] - seen[0])
        seen = np.where(seen - seen[0] < near, seen[0], np.where(seen[-1] - seen < near, seen[-1], seen))
        knots, of_real = np.quantile(made, levels), np.quantile(seen, levels)
        distinct = np.append(True, np.diff(knots) > 0)
        knots, of_real = knots[distinct], of_real[distinct]
        above, below = seen[seen > of_real[-1]], seen[seen < of_real[0]]
        upper = (
            (excess_law(made[made > knots[-1]] - knots[-1]), excess_law(above - of_real[-1])) if len(above) else None
        )
        lower = (excess_law(knots[0] - made[made < knots[0]]), excess_law(of_real[0] - below)) if len(below) else None
        ranks = np.searchsorted(seen, seen[-1]) / len(seen), np.searchsorted(seen, seen[0], "right") / len(seen)
        highest = float(knots[-1]) if upper else float(np.quantile(made, (1 + ranks[0]) / 2))
        lowest = float(knots[0]) if lower else float(np.quantile(made, ranks[1] / 2))
        return cls(tuple(knots.tolist()), tuple(of_real.tolist()), upper, lower, highest, lowest)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "QuantileMapping":
        """The inverse of ``dataclasses.asdict``; lists may stand for tuples.

        Raises:
            LevyError: values of another make.
        """
        laws: Any = lambda pair: None if pair is None else tuple((float(scale), float(shape)) for scale, shape in pair)
        try:
            generated, real = (np.array(values[name], dtype=np.float64) for name in ("generated", "real"))
            found = cls(
                tuple(generated.tolist()), tuple(real.tolist()), laws(values["upper"]), laws(values["lower"]), float(values["highest"]),
                float(values["lowest"]),
            )  # fmt: skip
            numbers = np.concatenate(
                [generated, real, *(law for pair in (found.upper, found.lower) if pair for law in pair)]
            )
            if len(generated) != len(real) or not np.isfinite([*numbers, found.highest, found.lowest]).all():
                raise ValueError("knots and laws of finite numbers are expected")
            if not ((np.diff(generated) > 0).all() and (np.diff(real) >= 0).all() and len(real) > 1):
                raise ValueError("ascending knots are expected")
        except (KeyError, TypeError, ValueError) as error:
            raise LevyError(
                f"a quantile mapping is damaged ({type(error).__name__}: {error}): run the tune stage again"
            ) from error
        return found

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Generated values of any shape -> values of the training period; keeps NaN."""
        y = np.interp(x, self.generated, self.real)
        if self.upper:
            y = _beyond(x, y, self.generated[-1], self.real[-1], self.upper)
        return -_beyond(-x, -y, -self.generated[0], -self.real[0], self.lower) if self.lower else y

    def inverse(self, y: np.ndarray) -> np.ndarray:
        """Real values of any shape -> generated ones."""
        x = np.interp(y, self.real, self.generated)
        if self.upper:
            x = _beyond(y, x, self.real[-1], self.generated[-1], self.upper[::-1])
        else:
            x = np.where(y >= self.real[-1], self.highest, x)
        if self.lower:
            return -_beyond(-y, -x, -self.real[0], -self.generated[0], self.lower[::-1])
        return np.where(y <= self.real[0], self.lowest, x)


@dataclass(frozen=True)
class SeasonalMapping:
    """A mapping for each season that the training period has, by its name."""

    by_season: Mapping[str, QuantileMapping]


def read_mapping(values: Mapping[str, Any], seasons: Sequence[str]) -> QuantileMapping | SeasonalMapping:
    """Of ``dataclasses.asdict``: of a mapping, or of one for each of some seasons, by their names.

    Raises:
        LevyError: values of another make.
    """
    if values and isinstance(values, Mapping) and set(values) <= set(seasons):
        return SeasonalMapping({name: QuantileMapping.from_mapping(own) for name, own in values.items()})
    return QuantileMapping.from_mapping(values)


def _beyond(x: np.ndarray, y: np.ndarray, end: float, image: float, laws: tuple[Law, ...]) -> np.ndarray:
    """y, but for x above ``end``: as far beyond its image as is as rare."""
    law, of_image = laws
    far = np.asarray(x > end)
    y = np.array(y)
    y[far] = image + excess_of(survival_of(np.asarray(x)[far] - end, law), of_image)  # of few values
    return y
