"""How far out samples reach: the upper tail of a positive quantity, generated against real."""

import numpy as np

from levy_core.metrics.images.weights import quantile

UPPER = np.linspace(0.9, 0.99, 10)  # quantiles that a few hundred samples can still estimate
NAMES = ("tail_ks", "tail_error", "tail_q99")


def upper_quantile_error(
    generated: np.ndarray, real: np.ndarray, weights: np.ndarray, levels: np.ndarray = UPPER
) -> float:
    """Mean squared log error (MSLE) of upper quantiles of positive values [N], weighted, and [M].

    Source: Allouche et al. (2022), as used for t-EDM (arXiv 2410.14171, appendix).
    """
    ratio = quantile(generated, weights, levels) / np.quantile(real, levels)
    return float(np.mean(np.log(ratio) ** 2))


def kolmogorov_smirnov(generated: np.ndarray, real: np.ndarray, weights: np.ndarray) -> float:
    """Largest difference of the distribution functions of values [N], weighted, and [M]."""
    order, both = np.argsort(generated, kind="stable"), np.concatenate([generated, real])
    cumulative = np.concatenate([[0.0], np.cumsum(weights[order])])
    mine = cumulative[np.searchsorted(generated[order], both, side="right")]
    theirs = np.searchsorted(np.sort(real), both, side="right") / len(real)
    return float(np.abs(mine - theirs).max())


def compare(generated: np.ndarray, real: np.ndarray, weights: np.ndarray | None = None) -> dict[str, float]:
    """``tail_ks``: Kolmogorov-Smirnov distance of the whole law; ``tail_error``: of its upper quantiles; ``tail_q99``: the ratio of the 99 % quantiles.

    ``weights`` of the generated values, of sum 1; equal without. NaN where there are fewer than two values.
    """
    if min(len(generated), len(real)) < 2:
        return dict.fromkeys(NAMES, float("nan"))
    w = np.full(len(generated), 1 / len(generated)) if weights is None else weights
    return {
        "tail_ks": kolmogorov_smirnov(generated, real, w),
        "tail_error": upper_quantile_error(generated, real, w),
        "tail_q99": float(quantile(generated, w, np.array(0.99)) / np.quantile(real, 0.99)),
    }
