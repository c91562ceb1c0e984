"""The covariance that is kept with a model, from its training data."""

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
import torch
from torch import Tensor

from levy_core.base.eofs import fit_by_columns
from levy_core.base.errors import LevyError
from levy_core.base.memory import free_memory
from levy_core.base.rows import Rows, read_rows, thin_rows
from levy_core.observations.covariance import Covariance, covariance_of, fit_covariance

FILE = "covariance.safetensors"
SAMPLES, VALUES = 2000, 20_000_000  # that it is fitted to in memory, at most
ON_DISK = (
    1_000_000_000  # values of samples of more, which are fitted to in parts: 4 GB beside the model while it is fitted
)
FEWEST = 20
SHARE = 0.95  # of the variance that patterns hold
PATTERNS, KEPT = 256, 64_000_000  # patterns at most, and their values


def keep_covariance(data: Tensor | Rows, size: int, folder: Path) -> None:
    """Writes the covariance of training data, of ``size`` values per sample, into a model's folder; nothing of too few samples."""
    if not suffices(len(data), size):
        return
    rows = thin_rows(len(data), _count(size), 1)
    most = max(1, min(PATTERNS, KEPT // size))
    if len(rows) * size <= VALUES:
        fields = torch.nan_to_num(read_rows(data, rows).flatten(1).double())
        if fields.std(0).max() > 0:
            fit_covariance(fields, SHARE, most).save(folder / FILE)
        return
    with TemporaryFile(dir=folder) as file:
        read = _by_columns(data, rows, size, file)
        found = fit_by_columns(read, (len(rows), size), SHARE, most, max(1, VALUES // len(rows)))
    covariance_of(found).save(folder / FILE)


def _by_columns(data: Tensor | Rows, rows: np.ndarray, size: int, file: IO[bytes]) -> Callable[[int, int], Tensor]:
    """What reads columns of samples, through a copy of these in a file: stores are read by samples."""
    together = max(1, VALUES // size)
    for first in range(0, len(rows), together):
        some = read_rows(data, rows[first : first + together])
        file.write(torch.nan_to_num(some).float().flatten(1).numpy().tobytes())
    file.flush()

    def read(first: int, last: int) -> Tensor:
        found = np.empty((len(rows), last - first), np.float32)
        for row, values in enumerate(found):
            values[:] = np.frombuffer(os.pread(file.fileno(), 4 * len(values), 4 * (row * size + first)), np.float32)
        return torch.from_numpy(found).double()

    return read


def _count(size: int) -> int:
    """How many samples it is fitted to, at most."""
    return min(SAMPLES, ON_DISK // size)


def suffices(samples: int, size: int) -> bool:
    """Whether a covariance is kept of so many training samples, of ``size`` values each."""
    return min(samples, _count(size)) >= FEWEST


def keeps_covariance(folder: Path) -> bool:
    """Whether ``keep_covariance`` wrote one."""
    return (folder / FILE).exists()


def read_covariance(folder: Path) -> Covariance:
    """What ``keep_covariance`` wrote.

    Raises:
        LevyError: the model has none, or memory does not hold it.
    """
    if not keeps_covariance(folder):
        raise LevyError(
            f"{folder} keeps no covariance of its training data (it was trained by an earlier levy, or its samples are too few or too large), "
            "which the guide interpolation needs: train it again, or choose the guide jacobian"
        )
    need, free = 2 * (folder / FILE).stat().st_size, free_memory()  # float32 becomes float64
    if need > free:
        raise LevyError(
            f"{folder / FILE} takes up to {need / 2**20:,.0f} MiB of memory, of which {free / 2**20:,.0f} MiB are free: free memory, or choose "
            "the guide jacobian"
        )
    return Covariance.load(folder / FILE)
