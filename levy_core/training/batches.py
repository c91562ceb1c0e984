"""Where training samples come from: a tensor in memory, or a store that is read ahead in a background thread."""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from math import prod
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

READ_BYTES = 32 * 2**20  # of a read: rows of many steps together, so that a chunk is read once for all of them
READ_STEPS = 64  # at most in one read
AHEAD = 2  # reads that are made before they are needed


class SampleStore(Protocol):
    """Samples that need not fit in memory, such as a prepared store's."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """float32 [n, *shape] of the rows, int64 [n], in their order; NaN where a value is missing."""
        ...


Data = Tensor | SampleStore
Cut = Callable[[int, int, Tensor], Tensor]  # (step, the first of its rows, samples) -> what is kept of them


def sample_shape(samples: Data) -> tuple[int, ...]:
    """Shape of one sample."""
    return tuple(samples.shape[1:] if isinstance(samples, Tensor) else samples.shape)


def batches(
    samples: Data, rows: Callable[[int], Tensor], steps: range, cut: Cut | None = None
) -> Generator[Tensor, None, None]:
    """The batch of each step, [B, *S]: the samples in ``rows(step)``, int64 [B], or what ``cut`` leaves of them.

    A source is read for several steps at a time, ahead of them, in one thread, which ends when the iterator ends or is
    closed. What is cut is cut there, so that no more than one read of whole samples is in memory. What the source raises is raised here.
    """
    if isinstance(samples, Tensor):
        for step in steps:
            found = samples[rows(step)]
            yield found if cut is None else cut(step, 0, found)
        return

    def read(group: range) -> Sequence[Tensor]:
        wanted = [rows(step) for step in group]
        if cut is None:
            return torch.from_numpy(samples[torch.cat(wanted).numpy()]).split([len(each) for each in wanted])
        return [
            torch.cat([cut(step, first, part) for first, part in parts(each)])
            for step, each in zip(group, wanted, strict=True)
        ]

    def parts(wanted: Tensor) -> Iterator[tuple[int, Tensor]]:
        at_once = max(1, READ_BYTES // (4 * prod(samples.shape)))
        for first in range(0, len(wanted), at_once):
            yield first, torch.from_numpy(samples[wanted[first : first + at_once].numpy()])

    together = max(1, min(READ_STEPS, READ_BYTES // (4 * len(rows(steps.start)) * prod(samples.shape))))
    coming = (steps[i : i + together] for i in range(0, len(steps), together))
    pool = ThreadPoolExecutor(1, "read-ahead")
    try:
        waiting = deque(pool.submit(read, group) for group in islice(coming, AHEAD))
        while waiting:
            ready = waiting.popleft().result()
            waiting.extend(pool.submit(read, group) for group in islice(coming, 1))
            yield from ready
    finally:
        pool.shutdown(cancel_futures=True)


def fill_missing(x: Tensor) -> tuple[Tensor, Tensor | None]:
    """NaN become 0, the mean of standardised data; and which values were there, bool like x, None where all were."""
    valid = ~x.isnan()
    return (x, None) if bool(valid.all()) else (x.where(valid, 0.0), valid)
