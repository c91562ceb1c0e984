"""Which rows are kept of many."""

import numpy as np


def thin_rows(n: int, most: int, block: int) -> np.ndarray:
    """Rows of at most ``most`` of n times: all, or contiguous blocks spread evenly from the first to the last.

    Blocks keep the persistence of weather, which the bootstrap needs to see. int64 [min(n, most)], ascending; none where ``most`` is below 1.
    """
    if n <= most or most < 1:
        return np.arange(min(n, max(most, 0)))
    length = min(block, most)
    starts = np.linspace(0, n - length, most // length).astype(np.int64)
    return (starts[:, None] + np.arange(length)).reshape(-1)
