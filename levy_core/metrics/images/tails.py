"""How far out samples reach: the upper tail of a positive quantity, generated against real."""

import numpy as np
from scipy import stats

UPPER = np.linspace(0.9, 0.99, 10)  # quantiles that a few hundred samples can still estimate


def upper_quantile_error(generated: np.ndarray, real: np.ndarray, levels: np.ndarray = UPPER) -> float:
    """Mean squared log error of upper quantiles of positive values [N] and [M].

    Source: Allouche et al. (2022), as used for t-EDM (arXiv 2410.14171, appendix).
    """
    ratio = np.quantile(generated, levels) / np.quantile(real, levels)
    return float(np.mean(np.log(ratio) ** 2))


def compare(generated: np.ndarray, real: np.ndarray) -> dict[str, float]:
    """``tail_ks``: Kolmogorov-Smirnov distance of the whole law; ``tail_error``: of its upper quantiles; ``tail_q99``: the ratio of the 99 % quantiles.

    NaN where there are fewer than two values.
    """
    if min(len(generated), len(real)) < 2:
        return dict.fromkeys(("tail_ks", "tail_error", "tail_q99"), float("nan"))
    return {
        "tail_ks": float(stats.ks_2samp(generated, real).statistic),
        "tail_error": upper_quantile_error(generated, real),
        "tail_q99": float(np.quantile(generated, 0.99) / np.quantile(real, 0.99)),
    }
