"""Tails by extreme-value theory: Hill's index, the generalised Pareto law, return levels."""

import numpy as np

from levy_core.base.pareto import FEWEST, excess_of, pareto
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
    return float(pareto(tail.top[:k] - tail.top[k])[0]) if FEWEST <= k < len(tail.top) else NAN


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


def return_levels(values: np.ndarray, periods: tuple[float, ...]) -> np.ndarray:
    """Levels that each of several series exceeds once in so many fields, in the units of the values, [periods, ...].

    Args:
        values: one number of each field, such as its maximum, [N, ...], NaN where missing: of each series, or cell, on its own.
        periods: in fields (for daily fields: days), more than 1.

    Up to the level of 1 / PEAKS = 10 fields it is the empirical quantile; beyond, the generalised Pareto law of the
    peaks over that level. A field's maximum is over cells that depend on each other and differ, so the whole law of
    maxima need not be a GEV; its tail is generalised Pareto all the same (Pickands 1975, Balkema and de Haan 1974).
    NaN where fewer than FEWEST peaks are left (N < 100) or the period exceeds 10 N.
    """
    levels = np.full((len(periods), *values.shape[1:]), NAN)
    if not len(values):
        return levels
    ordered, n = np.sort(values, axis=0), (~np.isnan(values)).sum(0)
    threshold = _quantile(ordered, n, 1 - PEAKS)
    top = ordered[int((1 - PEAKS) * (n.min() - 1)) :]
    peaks = np.where(top > threshold, top - threshold, NAN)
    xi, sigma = pareto(peaks)
    count = (~np.isnan(peaks)).sum(0)
    for i, period in enumerate(periods):
        if period * PEAKS <= 1:
            found = _quantile(ordered, n, 1 - 1 / period)
        else:
            with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
                found = threshold + excess_of(np.log(period * count / n), (sigma, xi))
        levels[i] = np.where((10 * n >= period) & ~np.isnan(xi), found, NAN)
    return levels


def _quantile(ordered: np.ndarray, n: np.ndarray, level: float) -> np.ndarray:
    """``numpy.nanquantile`` of ascending values [N, ...], the first n [...] of which are not NaN: it would go cell by cell."""
    place = np.maximum(n - 1, 0) * level
    below = place.astype(np.int64)
    low, high = (np.take_along_axis(ordered, np.minimum(k, n - 1).clip(0)[None], 0)[0] for k in (below, below + 1))
    part = place - below
    return np.where(part < 0.5, low + (high - low) * part, high - (high - low) * (1 - part))
