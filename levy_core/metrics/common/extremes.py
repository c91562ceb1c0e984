"""Tails by extreme-value theory: Hill's index, the generalised Pareto law, return levels."""

import numpy as np

from levy_core.base.pareto import FEWEST, pareto
from levy_core.metrics.common.marginal import NAN, Tail

PEAKS = 0.1  # share of field maxima that a generalised Pareto law is fitted to


def hill(tail: Tail, share: float) -> float:
    """Tail index nu of P(X > x) ~ x**-nu from the largest ``share`` of the values; NaN from fewer than FEWEST.

    Source: Hill (1975), A simple general approach to inference about the tail of a distribution.
    """
    k = int(tail.n * share)
    if k < FEWEST or k >= len(tail.top) or tail.top[k] <= 0:
        return NAN
    mean = float(np.mean(np.log(tail.top[:k] / tail.top[k])))
    return 1 / mean if mean else NAN


def pareto_shape(tail: Tail, share: float) -> float:
    """xi of the peaks over the threshold that the largest ``share`` of the values exceed (1 / nu for a tail index nu)."""
    k = int(tail.n * share)
    return pareto(tail.top[:k] - tail.top[k])[0] if FEWEST <= k < len(tail.top) else NAN


def independent_exceedances(exceeding: np.ndarray, block: int, runs: np.ndarray | None = None) -> float:
    """How many independent events would vary as the exceedances of a level do, at most N; NaN from fewer than two blocks.

    Args:
        exceeding: how many values of each field exceed it, [N] in the order of time. block: fields per block.
        runs: which run of neighbouring times each belongs to, ascending [N]: no block lies in two. None: one run.

    The sum over B blocks has the squared coefficient of variation s^2 / (B m^2), with m and s^2 the mean and variance of a block,
    and a Poisson count of K events 1 / K: K = B m^2 / s^2, however cells and neighbouring times depend on each other.
    """
    by_run = np.split(exceeding, [] if runs is None else np.flatnonzero(np.diff(runs)) + 1)
    sums = np.concatenate([run[: len(run) // block * block].reshape(-1, block).sum(1) for run in by_run])
    blocks = len(sums)
    if blocks < 2:
        return NAN
    variance = float(sums.var(ddof=1))
    most = float(len(exceeding))
    return min(most, blocks * float(sums.mean()) ** 2 / variance) if variance else (most if sums.any() else 0.0)


def maxima(values: np.ndarray) -> np.ndarray:
    """The largest value of each field: [N, ...] -> [at most N]; fields without any value are left out."""
    largest = np.fmax.reduce(values, axis=tuple(range(1, values.ndim)))
    return largest[~np.isnan(largest)]


def return_levels(values: np.ndarray, periods: tuple[float, ...]) -> np.ndarray:
    """Levels that a field's largest value exceeds once in so many fields, in the units of the values, [periods].

    Args:
        values: fields [N, ...], NaN where missing, or their maxima [N].
        periods: in fields (for daily fields: days), more than 1.

    Up to the level of 1 / PEAKS = 10 fields it is the empirical quantile; beyond, the generalised Pareto law of the
    peaks over that level. A field's maximum is over cells that depend on each other and differ, so the whole law of
    maxima need not be a GEV; its tail is generalised Pareto all the same (Pickands 1975, Balkema and de Haan 1974).
    NaN where fewer than FEWEST peaks are left (N < 100) or the period exceeds 10 N.
    """
    largest = np.sort(maxima(values))
    n, threshold = len(largest), (np.quantile(largest, 1 - PEAKS) if len(largest) else NAN)
    peaks = largest[largest > threshold] - threshold
    xi, sigma = pareto(peaks)
    levels = np.full(len(periods), NAN)
    for i, period in enumerate(periods):
        if not 10 * n >= period or np.isnan(xi):
            continue
        if period * PEAKS <= 1:
            levels[i] = np.quantile(largest, 1 - 1 / period)
        else:
            over = period * len(peaks) / n
            levels[i] = threshold + (sigma * np.log(over) if abs(xi) < 1e-8 else sigma / xi * (over**xi - 1))
    return levels


def return_levels_of_cells(values: np.ndarray, period: float) -> np.ndarray:
    """The level that each cell exceeds once in so many fields: [N, ...] -> [...], in the units of the values, NaN where missing.

    Cell by cell what ``return_levels`` says of its own N values, all at once; ``period`` is more than 1 / PEAKS = 10 fields.
    """
    count = (~np.isnan(values)).sum(0)
    kept = int(PEAKS * len(values)) + 2
    top = -np.sort(-values, axis=0)[:kept]  # descending, NaN last
    place = PEAKS * np.maximum(count - 1, 0)
    above = place.astype(np.int64)
    high, low = (np.take_along_axis(top, np.minimum(k, len(top) - 1)[None], 0)[0] for k in (above, above + 1))
    threshold = np.where(place > above, high + (place - above) * (low - high), high)
    is_peak = top > threshold
    excesses, peaks = np.where(is_peak, top - threshold, 0), is_peak.sum(0)
    rank = peaks - 1 - np.arange(len(top)).reshape(-1, *[1] * threshold.ndim)  # ascending, from 0
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        mean = excesses.sum(0) / peaks
        second = 2 * (excesses * rank).sum(0) / (peaks * (peaks - 1)) - mean
        xi = 2 - mean / second
        over = period * peaks / count
        stretch = np.where(np.abs(xi) < 1e-8, np.log(over), (over**xi - 1) / xi)
        levels = threshold + mean * (1 - xi) * stretch
    measured = (peaks >= FEWEST) & (second > 0) & (10 * count >= period)
    return np.where(measured, levels, NAN)
