"""The generalised Pareto law of what exceeds a threshold."""

import numpy as np

FEWEST = 10  # excesses that a law is fitted to
NAN = float("nan")


def pareto(excesses: np.ndarray) -> tuple[float, float]:
    """(xi, sigma) of the generalised Pareto law of positive excesses [k], by L-moments; NaN from fewer than FEWEST.

    xi = 2 - l1 / l2 and sigma = l1 (1 - xi), with l1 the mean and l2 half of Gini's mean difference. Consistent for
    xi < 1; unlike maximum likelihood it always exists, needs no search, and is the more exact one for xi in -0.5..0.5
    below some 500 excesses. Source: Hosking and Wallis (1987), Parameter and quantile estimation for the
    generalized Pareto distribution.
    """
    if len(excesses) < FEWEST:
        return NAN, NAN
    from scipy import stats  # half a second, and settings need only the name of the fit

    first, second = stats.lmoment(excesses, order=[1, 2], standardize=False)
    if second <= 0:
        return NAN, NAN
    xi = 2 - first / second
    return float(xi), float(first * (1 - xi))


def excess_law(excesses: np.ndarray) -> tuple[float, float]:
    """(scale, shape) of excesses [n]: a bounded law's shape would be negative, and gives way to an exponential one."""
    shape, scale = pareto(excesses)
    if not shape > 0:
        scale, shape = float(excesses.mean()) if len(excesses) else 1.0, 0.0
    return max(scale, np.finfo(np.float64).tiny), shape


def survival_of(excess: np.ndarray, law: tuple[float, float]) -> np.ndarray:
    """Minus the logarithm of the probability that an excess, at least 0, is exceeded; it does not underflow."""
    scale, shape = law
    relative = excess / scale
    return np.log1p(shape * relative) / shape if shape > 0 else relative


def excess_of(survival: np.ndarray, law: tuple[float, float]) -> np.ndarray:
    """The inverse of ``survival_of``."""
    scale, shape = law
    return scale * (np.expm1(shape * survival) / shape if shape > 0 else survival)
