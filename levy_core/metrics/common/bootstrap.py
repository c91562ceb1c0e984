"""Blocks of neighbouring times, drawn again for intervals."""

import numpy as np


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
