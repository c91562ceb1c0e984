"""The generalised Pareto law of what exceeds a threshold."""

import numpy as np

FEWEST = 10  # excesses that a law is fitted to
NAN = float("nan")


def pareto(excesses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(xi, sigma), [...] each, of the generalised Pareto laws of positive excesses [k, ...], NaN left out, by L-moments; NaN from fewer than FEWEST.

    xi = 2 - l1 / l2 and sigma = l1 (1 - xi), with l1 the mean and l2 half of Gini's mean difference. Consistent for
    xi < 1; unlike maximum likelihood it always exists, needs no search, and is the more exact one for xi in -0.5..0.5
    below some 500 excesses. Source: Hosking and Wallis (1987), Parameter and quantile estimation for the
    generalized Pareto distribution.
    """
    ordered = np.sort(excesses, axis=0)  # NaN last
    n, known = (~np.isnan(ordered)).sum(0), np.nan_to_num(ordered)
    ranks = np.arange(len(ordered)).reshape(-1, *[1] * (ordered.ndim - 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        first = known.sum(0) / n
        second = 2 * (ranks * known).sum(0) / (n * (n - 1)) - first
        xi = np.where((n >= FEWEST) & (second > 0), 2 - first / second, NAN)
    return xi, first * (1 - xi)


def excess_law(excesses: np.ndarray) -> tuple[float, float]:
    """(scale, shape) of excesses [n]: a bounded law's shape would be negative, and gives way to an exponential one."""
    shape, scale = map(float, pareto(excesses))
    if not shape > 0:
        scale, shape = float(excesses.mean()) if len(excesses) else 1.0, 0.0
    return max(scale, np.finfo(np.float64).tiny), shape


def survival_of(excess: np.ndarray, law: tuple[float, float]) -> np.ndarray:
    """Minus the logarithm of the probability that an excess, at least 0, is exceeded; it does not underflow."""
    scale, shape = law
    relative = excess / scale
    return np.log1p(shape * relative) / shape if shape > 0 else relative


def excess_of(survival: np.ndarray, law: tuple[np.ndarray | float, np.ndarray | float]) -> np.ndarray:
    """The inverse of ``survival_of``, of bounded laws, whose shape is negative, too; arrays of one shape with the law's."""
    scale, shape = law
    with np.errstate(invalid="ignore", divide="ignore"):
        return scale * np.where(np.equal(shape, 0), survival, np.expm1(shape * survival) / shape)
