"""The numbers of one real variable, each with its interval by the block bootstrap over time."""

from collections.abc import Callable

import numpy as np

from levy_core.metrics.common import extremes
from levy_core.metrics.common.bootstrap import block_rows, interval
from levy_core.metrics.common.marginal import NAN, Tail

PERIODS = (10.0, 100.0, 1000.0)  # fields
KEPT = 3  # times the share of values that is looked at are kept: a resample may hold many of few calm fields

Number = dict[str, float | None]  # value, low, high; None where there are too few fields


class ResampledTails:
    """Pooled values [n], each owned by a field, and their tail when fields are drawn again."""

    def __init__(self, values: np.ndarray, owner: np.ndarray, fields: int, share: float):
        kept = min(len(values), int(np.ceil(KEPT * share * len(values))) + 2)
        order = np.argpartition(values, len(values) - kept)[len(values) - kept :]
        order = order[np.argsort(values[order])[::-1]]
        self._top, self._owner = values[order], owner[order]
        self._counts = np.bincount(owner, minlength=fields)

    def tail(self, times: np.ndarray) -> Tail:
        """``times`` is how often each field was drawn, int [fields]."""
        return Tail(np.repeat(self._top, times[self._owner]), int(times @ self._counts))


def estimates(
    values: np.ndarray,
    largest: np.ndarray,
    means: np.ndarray,
    levels: tuple[float, ...],
    tail_share: float,
    block: int,
    resamples: int,
    seed: int = 0,
    runs: np.ndarray | None = None,
) -> dict[str, Number | dict[str, Number]]:
    """What is measured of one variable's fields in the order of time, of which ``values`` [N, cells] are pooled, ``largest`` [N] and ``means`` [N].

    NaN where missing. ``skewness``, ``kurtosis`` of all values; ``hill`` and ``gpd`` of the reach beyond its largest ``tail_share``;
    ``quantiles`` of the values at ``levels``; ``return_levels`` of a field's largest value once in 10, 100 and 1000
    fields, ``mean_return_levels`` of its mean. Each is {value, low, high}: the estimate and its 90 % interval from ``resamples`` draws of blocks,
    which lie in one of the ``runs`` each (``bootstrap.block_rows``).
    """
    owner, cell = np.nonzero(~np.isnan(values))
    if not len(owner):
        return {}
    pooled = values[owner, cell]
    share = max(1 - min(levels), tail_share)
    reach = ResampledTails(np.abs(pooled - np.median(pooled)), owner, len(values), share)
    upper = ResampledTails(pooled, owner, len(values), share)
    sums = _power_sums(pooled - pooled.mean(), owner, len(values))

    def of(rows: np.ndarray) -> np.ndarray:
        times = np.bincount(rows, minlength=len(values))
        tail = reach.tail(times)
        return np.array(
            [
                *_moments(times @ sums),
                extremes.hill(tail, tail_share),
                extremes.pareto_shape(tail, tail_share),
                *upper.tail(times).quantiles(levels),
                *extremes.return_levels(largest[rows], PERIODS),
                *extremes.return_levels(means[rows], PERIODS),
            ]
        )

    numbers = _with_intervals(of, len(values), block, resamples, seed, runs)
    keys, periods = [f"{q:g}" for q in levels], [f"{p:g}" for p in PERIODS]
    return {
        **dict(zip(("skewness", "kurtosis", "hill", "gpd"), numbers, strict=False)),
        "quantiles": dict(zip(keys, numbers[4:], strict=False)),
        "return_levels": dict(zip(periods, numbers[4 + len(keys) :], strict=False)),
        "mean_return_levels": dict(zip(periods, numbers[4 + len(keys) + len(periods) :], strict=True)),
    }


def count_exceedances(
    values: np.ndarray,
    largest: np.ndarray,
    levels: tuple[float, ...],
    block: int,
    runs: np.ndarray | None = None,
) -> dict[str, dict[str, float | None]]:
    """What extremes of one variable's fields rest on: ``extremes.independent_exceedances`` (None from fewer than two blocks).

    ``values`` [N, cells] are pooled, ``largest`` [N] is each field's.

    ``exceedances`` of the quantiles of the reach at ``levels``, and ``return_exceedances`` of the levels that a field's largest value
    exceeds once in 10, 100 and 1000 fields.
    """
    known = ~np.isnan(values)
    away = np.abs(values - np.median(values[known]))
    thresholds = np.quantile(away[known], levels)
    highest = np.quantile(largest[~np.isnan(largest)], [1 - 1 / period for period in PERIODS])

    def independent(exceeding: np.ndarray) -> float | None:
        return _known(extremes.independent_exceedances(exceeding, block, runs))

    return {
        "exceedances": {f"{q:g}": independent((away > t).sum(1)) for q, t in zip(levels, thresholds, strict=True)},
        "return_exceedances": {f"{p:g}": independent(largest > t) for p, t in zip(PERIODS, highest, strict=True)},
    }


def _with_intervals(
    of: Callable[[np.ndarray], np.ndarray], n: int, block: int, resamples: int, seed: int, runs: np.ndarray | None
) -> list[Number]:
    rows = block_rows(n, block, resamples, np.random.default_rng(seed), runs)
    drawn = np.array([of(r) for r in rows])
    return [
        {"value": _known(value), "low": _known(low), "high": _known(high)}
        for value, (low, high) in zip(of(np.arange(n)), map(interval, drawn.T), strict=True)
    ]


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _power_sums(values: np.ndarray, owner: np.ndarray, fields: int) -> np.ndarray:
    """Sums of powers 0 to 4 of each field's values, [fields, 5]."""
    square = values * values
    powers = (np.ones_like(values), values, square, square * values, square * square)
    return np.stack([np.bincount(owner, power, minlength=fields) for power in powers], 1)


def _moments(sums: np.ndarray) -> tuple[float, float]:
    """As ``marginal.moments``, from sums of powers 0 to 4."""
    m1, m2, m3, m4 = sums[1:] / sums[0]
    variance = m2 - m1**2
    if variance <= 1e-12 * m2 or sums[0] < 10:
        return NAN, NAN
    third = m3 - 3 * m1 * m2 + 2 * m1**3
    fourth = m4 - 4 * m1 * m3 + 6 * m1**2 * m2 - 3 * m1**4
    return third / variance**1.5, fourth / variance**2
