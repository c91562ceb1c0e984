"""Blocks of neighbouring times, drawn again for intervals."""

import numpy as np


def block_rows(n: int, block: int, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of ``draws`` resamples of n times, in blocks of ``block`` times that start anywhere, int64 [draws, n].

    The series is closed to a circle, so that every time is drawn as often as any other.
    Source: Politis and Romano (1992), A circular block-resampling procedure for stationary data.
    """
    length = min(block, n)
    starts = rng.integers(0, n, (draws, -(-n // length)))
    rows = (starts[:, :, None] + np.arange(length)).reshape(draws, -1)[:, :n]
    return rows % n


def interval(resampled: np.ndarray, share: float = 0.9) -> tuple[float, float]:
    """The percentile interval that holds ``share`` of resampled estimates [draws]; NaN where half of them are NaN."""
    finite = resampled[~np.isnan(resampled)]
    if 2 * len(finite) <= len(resampled):
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)
