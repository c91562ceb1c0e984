"""The law of one variable's values, all cells and fields pooled: Kolmogorov-Smirnov, moments, and how far values reach.

**Reach** is |x - m|, with m the median of the real values, on both sides of a comparison. It is positive whatever the
variable (anomalies have negative quantiles, kelvins a meaningless zero), so that logarithms of its quantiles can be
compared; it follows changes of units; for rain and other one-sided variables its tail is the upper tail.
"""

from dataclasses import dataclass

import numpy as np

NAN = float("nan")
TABLE = 20_000  # order statistics kept of a larger set: its distribution function to 1 / TABLE
BEYOND = 10  # values that must lie above a quantile for it to count as measured


def thin(ordered: np.ndarray) -> np.ndarray:
    """At most TABLE evenly spaced order statistics of ascending values [N]: all of them where they are few."""
    if len(ordered) <= TABLE:
        return ordered
    return ordered[((np.arange(TABLE) + 0.5) * (len(ordered) / TABLE)).astype(np.int64)]


def kolmogorov(ordered: np.ndarray, table: np.ndarray) -> float:
    """Largest difference of the distribution functions of ascending values [N] and [M]; NaN where a side is empty.

    It is found at the steps of ``table``, before and after each: between two steps the other function only rises.
    """
    if not len(ordered) or not len(table):
        return NAN
    before = np.searchsorted(ordered, table, "left") / len(ordered) - np.searchsorted(table, table, "left") / len(table)
    after = np.searchsorted(ordered, table, "right") / len(ordered) - np.searchsorted(table, table, "right") / len(
        table
    )
    return float(max(np.abs(before).max(), np.abs(after).max()))


def quantile(ordered: np.ndarray, level: float) -> float:
    """``numpy.quantile`` of ascending values [N]; NaN for none."""
    return float(np.quantile(ordered, level)) if len(ordered) else NAN


def is_measured(n: int, level: float) -> bool:
    """Whether enough of n values lie above their quantile of a level."""
    return n * (1 - level) >= BEYOND * (1 - 1e-9)


def share_above(ordered: np.ndarray, threshold: float) -> float:
    """Share of ascending values [N] above a threshold; NaN for none."""
    return 1 - float(np.searchsorted(ordered, threshold, "right")) / len(ordered) if len(ordered) else NAN


def moments(values: np.ndarray) -> tuple[float, float]:
    """(skewness, kurtosis) of [N]: third and fourth standardised moments, 0 and 3 for a Gaussian; NaN for a constant.

    In units of the largest value, whose fourth power may be too large for a number.
    """
    if len(values) < BEYOND or not np.isfinite(values).all():
        return NAN, NAN
    away = values - values.mean()
    away /= np.abs(away).max() or 1
    square = away * away
    variance = square.mean()
    if variance == 0:
        return NAN, NAN
    return float((square * away).mean() / variance**1.5), float((square * square).mean() / variance**2)


@dataclass(frozen=True)
class Tail:
    """The largest of n positive values.

    Attributes:
        top: descending [K]. n: how many values there were, K of them kept.
    """

    top: np.ndarray
    n: int

    @classmethod
    def of(cls, values: np.ndarray, share: float = 1.0) -> "Tail":
        """The largest ``share`` of positive values [N]."""
        kept = _count(len(values), share)
        return cls(np.sort(np.partition(values, len(values) - kept)[len(values) - kept :])[::-1], len(values))

    @classmethod
    def reach(cls, ordered: np.ndarray, centre: float, share: float) -> "Tail":
        """The largest ``share`` of |x - centre| of ascending values [N]: they are at the two ends."""
        kept = _count(len(ordered), share)
        ends = ordered if 2 * kept >= len(ordered) else np.concatenate([ordered[:kept], ordered[-kept:]])
        return cls(np.sort(np.abs(ends - centre))[::-1][:kept], len(ordered))

    def quantile(self, level: float) -> float:
        """As ``numpy.quantile``; NaN where fewer than BEYOND values lie above it, or beyond what was kept."""
        position = (self.n - 1) * (1 - level)
        above = int(position)
        weight = position - above
        below = above + (weight > 0)
        if not is_measured(self.n, level) or below >= len(self.top):
            return NAN
        return float((1 - weight) * self.top[above] + weight * self.top[below])

    def quantiles(self, levels: tuple[float, ...]) -> np.ndarray:
        """float64 [levels]."""
        return np.array([self.quantile(level) for level in levels])


def _count(n: int, share: float) -> int:
    return min(n, int(np.ceil(share * n)) + 2)


def log_ratio(generated: np.ndarray, real: np.ndarray) -> np.ndarray:
    """log(generated / real) where both are known and the real one is positive, [at most N]; -inf for a generated 0."""
    known = np.isfinite(generated) & np.isfinite(real) & (real > 0)
    with np.errstate(divide="ignore"):
        return np.log(generated[known] / real[known])


def mean_square(values: np.ndarray) -> float:
    """NaN for none."""
    return float(np.mean(values**2)) if len(values) else NAN


def ratio(a: float, b: float) -> float:
    """a / b; NaN where b is 0 or either is NaN."""
    return a / b if b else NAN
