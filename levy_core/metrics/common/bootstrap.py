"""Blocks of neighbouring times, drawn again for intervals."""

import numpy as np
from scipy import special


def block_rows(n: int, block: int, draws: int, rng: np.random.Generator, runs: np.ndarray | None = None) -> np.ndarray:
    """Rows of ``draws`` resamples of n times, in blocks of ``block`` times that start anywhere, int64 [draws, n].

    The series is closed to a circle, so that every time is drawn as often as any other; of several runs each is.
    Source: Politis and Romano (1992), A circular block-resampling procedure for stationary data.

    Args:
        runs: which run of neighbouring times each belongs to, ascending [n]: no block lies in two. None: one run.
    """
    length = min(block, n)
    starts = rng.integers(0, n, (draws, -(-n // length)))
    _, first, of, size = np.unique(
        np.zeros(n) if runs is None else runs, return_index=True, return_inverse=True, return_counts=True
    )
    begin, around = first[of][starts][:, :, None], size[of][starts][:, :, None]
    rows = begin + (starts[:, :, None] - begin + np.arange(length)) % around
    return rows.reshape(draws, -1)[:, :n]


def interval(resampled: np.ndarray, share: float = 0.9) -> tuple[float, float]:
    """The percentile interval that holds ``share`` of resampled estimates [draws]; NaN where half of them are NaN."""
    finite = resampled[~np.isnan(resampled)]
    if 2 * len(finite) <= len(resampled):
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


def rank_intervals(ordered: np.ndarray, share: float = 0.9) -> tuple[np.ndarray, np.ndarray]:
    """The percentile interval of each order statistic of independent values [n], ascending: (low [n], high [n]).

    What the bootstrap tends to with ever more draws: of n values drawn again the k-th smallest is at most the j-th of all with the chance that
    k or more of n are among the first j, a beta law. Above the largest value no draw can be: there the interval ends.
    Source: Efron (1979), Bootstrap methods: another look at the jackknife, section 3 (of the median).
    """
    n = len(ordered)
    k = np.arange(1, n + 1)
    ends = (special.betaincinv(k, n + 1 - k, q) for q in ((1 - share) / 2, (1 + share) / 2))
    low, high = (ordered[np.clip(np.ceil(n * end).astype(np.int64), 1, n) - 1] for end in ends)
    return low, high
