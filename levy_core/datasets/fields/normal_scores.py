"""The normal-score transform: a variable's values to the standard normal quantiles of their ranks, with power-law tails.

It takes the law of single values off a variable, whatever it is, so that a network with Gaussian noise learns what is left: how
cells depend on each other. The tails are generalised Pareto laws (Pickands 1975), never bounded, so that a value beyond all
those of the training period has a score, too. Known as normal score transform or Gaussian anamorphosis in geostatistics.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import log_ndtr, ndtri, ndtri_exp

from levy_core.base.pareto import excess_law, excess_of, survival_of

TAIL = 0.05  # of the values, on a side, that a tail is fitted to
KNOTS = 181  # between the tails: piecewise linear from value to score


@dataclass(frozen=True)
class NormalScores:
    """A law, as it is kept with a model.

    Attributes:
        values, scores: ascending knots; scores of equal probability in between.
        upper: scale and shape of the generalised Pareto law of what exceeds the last knot; None where the highest values are equal, as
            those of an overcast sky, so that nothing does.
        lower: of what falls below the first knot; None where the lowest values are equal, as those of dry days.
        lowest: the score of those equal values, the middle of their ranks; else that of the first knot.
    """

    values: tuple[float, ...]
    scores: tuple[float, ...]
    upper: tuple[float, float] | None
    lower: tuple[float, float] | None
    lowest: float

    @classmethod
    def fit(cls, values: np.ndarray) -> "NormalScores":
        """The law of values [n] that are not all equal, NaN left out."""
        ordered = np.sort(values[~np.isnan(values)])
        equal = float(np.searchsorted(ordered, ordered[0], "right")) / len(ordered)
        has_atom = equal > TAIL
        levels = np.linspace(min(equal, 0.9) if has_atom else TAIL, 1 - TAIL, KNOTS)
        knots, where = np.unique(np.quantile(ordered, levels), return_inverse=True)
        scores = np.bincount(where, ndtri(levels)) / np.bincount(where)
        if has_atom:
            knots, scores = (
                np.append(ordered[0], knots[knots > ordered[0]]),
                np.append(ndtri(levels[0]), scores[knots > ordered[0]]),
            )
        above = ordered[ordered > knots[-1]]
        return cls(
            tuple(knots.tolist()),
            tuple(scores.tolist()),
            excess_law(above - knots[-1]) if len(above) else None,
            None if has_atom else excess_law(knots[0] - ordered[ordered < knots[0]]),
            float(ndtri(equal / 2)) if has_atom else float(scores[0]),
        )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> "NormalScores":
        """The inverse of ``dataclasses.asdict``; lists may stand for tuples."""
        plain: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**plain)

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Values of any shape -> scores."""
        first, last = self.values[0], self.values[-1]
        z = np.interp(x, self.values, self.scores)
        if self.upper:
            z = np.where(x > last, _beyond(x - last, self.upper, self.scores[-1]), z)
        if self.lower is None:
            return np.where(x <= first, self.lowest, z)
        return np.where(x < first, -_beyond(first - x, self.lower, -self.scores[0]), z)

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """Scores of any shape -> values."""
        first, last = self.scores[0], self.scores[-1]
        x = np.interp(z, self.scores, self.values)
        if self.upper:
            x = np.where(z > last, self.values[-1] + _excess(z, self.upper, last), x)
        if self.lower is None:
            return x
        return np.where(z < first, self.values[0] - _excess(-z, self.lower, -first), x)


def _beyond(excess: np.ndarray, tail: tuple[float, float], score: float) -> np.ndarray:
    """The score of an excess over the knot of a score; the logarithm of its probability does not underflow."""
    return -ndtri_exp(log_ndtr(-score) - survival_of(np.maximum(excess, 0), tail))


def _excess(z: np.ndarray, tail: tuple[float, float], score: float) -> np.ndarray:
    return excess_of(log_ndtr(-score) - log_ndtr(-np.maximum(z, score)), tail)
