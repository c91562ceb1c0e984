"""Which rows are kept of many."""

import numpy as np


def thin_rows(n: int, most: int, block: int) -> np.ndarray:
    """Rows of at most ``most`` of n times: all, or contiguous blocks spread evenly from the first to the last.

    Blocks keep the persistence of weather, which the bootstrap needs to see. int64 [min(n, most)], ascending.
    """
    if n <= most:
        return np.arange(n)
    length = min(block, most)
    starts = np.linspace(0, n - length, most // length).astype(np.int64)
    return (starts[:, None] + np.arange(length)).reshape(-1)
