"""Which rows are kept of many, and how they are read."""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor


class Rows(Protocol):
    """Samples that need not fit in memory."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """[n, *S] of the rows, int64 [n]."""
        ...


def read_rows(samples: Tensor | Rows, rows: np.ndarray) -> Tensor:
    """Some samples [n, *S] by their rows, int64 [n], from memory or a store, on the CPU."""
    if isinstance(samples, Tensor):
        return samples[torch.from_numpy(rows)].cpu()
    return torch.from_numpy(samples[rows])


def thin_rows(n: int, most: int, block: int) -> np.ndarray:
    """Rows of at most ``most`` of n times: all, or contiguous blocks spread evenly from the first to the last.

    Blocks keep the persistence of weather, which the bootstrap needs to see. int64 [min(n, most)], ascending; none where ``most`` is below 1.
    """
    if n <= most or most < 1:
        return np.arange(min(n, max(most, 0)))
    length = min(block, most)
    starts = np.linspace(0, n - length, most // length).astype(np.int64)
    return (starts[:, None] + np.arange(length)).reshape(-1)
