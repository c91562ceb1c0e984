"""The tail index of real fields, from which the nu of a Student-t design is chosen."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import stats

from levy_core.metrics.common import extremes
from levy_core.metrics.common.bootstrap import block_rows
from levy_core.metrics.common.intervals import ResampledTails
from levy_core.metrics.common.marginal import NAN, Tail

SHARES = (0.1, 0.05, 0.02, 0.01, 0.005)  # of the values that Hill's estimator may look at
AGREE = 3.0  # standard errors that estimates from fewer values may be apart
NORMAL = float(stats.norm.ppf(0.95))
XI = np.concatenate([[0], np.geomspace(0.005, 2, 80)])  # 1 / nu of the table


@dataclass(frozen=True)
class Estimate:
    """How heavy the tail of a variable is.

    Attributes:
        nu: of the Student-t law whose tail has the same Hill estimates; infinite for tails as light as a Gaussian's.
        low, high: 90 % interval of nu. hill: Hill's own estimate from the k largest values, biased towards 0.
        gpd_xi: generalised Pareto shape of the same peaks, about 1 / nu. k, n: order statistics used, and values.
        All NaN where there are too few values.
    """

    nu: float
    low: float
    high: float
    hill: float
    gpd_xi: float
    k: int
    n: int


def tail_index(
    values: np.ndarray, block: int = 10, resamples: int = 200, seed: int = 0, runs: np.ndarray | None = None
) -> Estimate:
    """The tail index of one variable's fields [N, ...] in the order of time, NaN where missing.

    Each cell is taken from its median and in units of its mean absolute deviation, so that a mixture of calm and stormy
    places is not mistaken for a heavy tail; then all cells are pooled. Hill's estimator is biased at any share of
    values that leaves enough of them, by a fifth for nu = 5 and 2 %, and the bias depends on the law. What is sought is
    the nu of a Student-t design, so the estimate is read off that law: nu such that Student-t values have the same
    expected Hill estimate beyond the same share.

    For Student-t values every share tells the same nu, and the largest the most exactly; other laws are like it only
    far out. So k is the largest of SHARES whose estimate agrees with those from all smaller ones, within AGREE
    standard errors of their difference. Source of the rule: Drees and Kaufmann (1998), Selecting the optimal sample
    fraction in univariate extreme value estimation, after Lepski.

    Standard errors are by bootstrap of ``block`` neighbouring times: the cells of a field share its extremes, so that
    fields, not cells, are what there is much or little of; ``runs`` are as of ``block_rows``. The interval is symmetric in log nu: samples that lack
    extremes also lack their spread, and percentiles would then be too short towards heavy tails.
    """
    flat = values.reshape(len(values), math.prod(values.shape[1:])).astype(np.float64)
    away = np.abs(flat - _per_cell(np.nanmedian, flat))
    with np.errstate(invalid="ignore", divide="ignore"):
        away /= _per_cell(np.nanmean, away)
    owner, cell = np.nonzero(np.isfinite(away))
    if not len(owner):
        return Estimate(NAN, NAN, NAN, NAN, NAN, 0, 0)
    reach = ResampledTails(away[owner, cell], owner, len(flat), max(SHARES))
    tail = reach.tail(np.ones(len(flat), dtype=np.int64))
    xi = _xi(tail)
    if np.isnan(xi[0]):
        return Estimate(NAN, NAN, NAN, NAN, NAN, 0, tail.n)
    rows = block_rows(len(flat), block, resamples, np.random.default_rng(seed), runs)
    drawn = np.array([_xi(reach.tail(np.bincount(r, minlength=len(flat)))) for r in rows])
    chosen = _agreeing(xi, drawn)
    best, error, share = float(xi[chosen]), NORMAL * float(np.nanstd(drawn[:, chosen])), SHARES[chosen]
    low, high = (best * math.exp(-error / best), best * math.exp(error / best)) if best > 0 else (best, best + error)
    hill, shape = extremes.hill(tail, share), extremes.pareto_shape(tail, share)
    return Estimate(_inverse(best), _inverse(high), _inverse(low), hill, shape, int(tail.n * share), tail.n)


def _agreeing(xi: np.ndarray, resampled: np.ndarray) -> int:
    """The first of SHARES that agrees with all later usable ones; ``resampled`` is [resamples, shares]."""
    usable = int((~np.isnan(xi)).sum())
    for i in range(usable):
        error = np.nanstd(resampled[:, i + 1 : usable] - resampled[:, [i]], axis=0)
        if (np.abs(xi[i + 1 : usable] - xi[i]) <= AGREE * error).all():
            return i
    return usable - 1


def _per_cell(of: Callable[..., np.ndarray], values: np.ndarray) -> np.ndarray:
    result = np.full(values.shape[1], np.nan)
    known = ~np.isnan(values).all(0)
    result[known] = of(values[:, known], axis=0)
    return result


def _inverse(xi: float) -> float:
    return float("inf") if xi == 0 else 1 / xi


def _xi(tail: Tail) -> np.ndarray:
    """1 / nu at each of SHARES; 0 for a tail as light as a Gaussian's, NaN where there are too few values."""
    return np.array([np.interp(1 / extremes.hill(tail, share), _expected(share), XI) for share in SHARES])


@cache
def _expected(share: float) -> np.ndarray:
    """Expected 1 / Hill of |t| beyond its largest ``share``, by 1 / nu as in XI: the mean of log(x / threshold).

    An integral over the probability p = share * v**2 of exceeding x, by Gauss and Legendre.
    """
    node, weight = np.polynomial.legendre.leggauss(200)
    v = (node + 1) / 2
    p = share * v**2 / 2  # of one tail
    nu = np.array([_inverse(xi) for xi in XI])[:, None]
    return np.log(stats.t.isf(p, nu) / stats.t.isf(share / 2, nu)) @ (weight * v)
