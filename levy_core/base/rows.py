"""Which rows are kept of many, and how they are read."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

Result = TypeVar("Result")
PART = 8_000_000  # values that are looked at together


class BlockMap(Protocol):
    """Like ``map``: what a function says of each block of rows, in their order; perhaps in other processes.

    Function and results can be pickled. What the function raises is raised here.
    """

    def __call__(self, work: Callable[[slice], Result], rows: list[slice], /) -> Iterable[Result]: ...


class Rows(Protocol):
    """Samples that need not fit in memory."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """[n, *S] of the rows, int64 [n]."""
        ...


@dataclass(frozen=True, eq=False)
class Converted:
    """Rows of which something is made as they are read.

    Attributes:
        rows: [N, *S]. shape: of what is made, with N. convert: (rows that were read [n, *S], which these are, int64 [n]) -> what is made of them.
    """

    rows: Rows
    shape: tuple[int, ...]
    convert: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.convert(self.rows[rows], rows)


@dataclass(frozen=True, eq=False)
class Chosen:
    """Some of the rows: ``which``, int64 [n]."""

    rows: Rows
    which: np.ndarray

    def __len__(self) -> int:
        return len(self.which)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.rows[self.which[rows]]


@dataclass(frozen=True, eq=False)
class Joined:
    """Several arrays [n, *S], perhaps memory-mapped, one after the other."""

    arrays: Sequence[np.ndarray]

    def __len__(self) -> int:
        return sum(map(len, self.arrays))

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        ends = np.cumsum([len(array) for array in self.arrays])
        which = np.searchsorted(ends, rows, "right")
        read = np.empty((len(rows), *self.arrays[0].shape[1:]), self.arrays[0].dtype)
        for i in np.unique(which):
            read[which == i] = self.arrays[i][rows[which == i] - (ends[i] - len(self.arrays[i]))]
        return read


def keep_on_disk(slices: Iterable[np.ndarray], n: int, folder: Path) -> np.ndarray:
    """Slices of n samples in all, [n, *S], as one memory-mapped array in a file of ``folder`` that has no name and ends with the array."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder) as stream:
        for part in slices:
            stream.write(np.ascontiguousarray(part).data)
        stream.flush()
        return np.memmap(stream, part.dtype, "r", shape=(n, *part.shape[1:]))


def parts(n: int, shape: tuple[int, ...]) -> list[slice]:
    """Spans of n samples [*S], as many in each as are looked at together; one without any of n = 0."""
    step = max(1, PART // int(np.prod(shape)))
    return [slice(start, min(n, start + step)) for start in range(0, max(1, n), step)]


def read_rows(samples: Tensor | Rows, rows: np.ndarray) -> Tensor:
    """Some samples [n, *S] by their rows, int64 [n], from memory or a store, on the CPU."""
    if isinstance(samples, Tensor):
        return samples[torch.from_numpy(rows)].cpu()
    return torch.from_numpy(samples[rows])


def to_runs(rows: np.ndarray) -> list[slice]:
    """Rows, int64 [n], in runs of neighbours."""
    return [slice(int(run[0]), int(run[-1]) + 1) for run in np.split(rows, np.flatnonzero(np.diff(rows) != 1) + 1)]


def thin_rows(n: int, most: int, block: int, runs: np.ndarray | None = None) -> np.ndarray:
    """Rows of at most ``most`` of n times: all, or contiguous blocks spread evenly from the first to the last.

    Blocks keep the persistence of weather, which the bootstrap needs to see. int64 [min(n, most)], ascending; none where ``most`` is below 1.

    Args:
        runs: which run of neighbouring times each belongs to, ascending [n]: each has its share of blocks, and none lies in two. None: one run.
    """
    if runs is not None:
        ends = np.append(0, np.unique(runs, return_counts=True)[1].cumsum())
        shares = np.diff(most * ends // n)
        own = (thin_rows(*of, block) for of in zip(np.diff(ends).tolist(), shares.tolist(), strict=True))
        return np.concatenate([start + rows for start, rows in zip(ends[:-1], own, strict=True)])
    if n <= most or most < 1:
        return np.arange(min(n, max(most, 0)))
    length = min(block, most)
    starts = np.linspace(0, n - length, most // length).astype(np.int64)
    return (starts[:, None] + np.arange(length)).reshape(-1)
