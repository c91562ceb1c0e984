"""The covariance that is kept with a model, from its training data."""

from pathlib import Path

import torch
from torch import Tensor

from levy_core.base.errors import LevyError
from levy_core.base.rows import Rows, read_rows, thin_rows
from levy_core.observations.covariance import Covariance, fit_covariance

FILE = "covariance.safetensors"
SAMPLES, VALUES = 2000, 20_000_000  # that it is fitted to, at most
FEWEST = 20
PATTERNS = 256  # at most


def keep_covariance(data: Tensor | Rows, size: int, folder: Path) -> None:
    """Writes the covariance of training data, of ``size`` values per sample, into a model's folder; nothing for samples too large."""
    if not suffices(len(data), size):
        return
    rows = thin_rows(len(data), min(SAMPLES, VALUES // size), 1)
    fields = torch.nan_to_num(read_rows(data, rows).flatten(1).double())
    if fields.std(0).max() > 0:
        fit_covariance(fields, most=PATTERNS).save(folder / FILE)


def suffices(samples: int, size: int) -> bool:
    """Whether a covariance is kept of so many training samples, of ``size`` values each."""
    return min(samples, SAMPLES, VALUES // size) >= FEWEST


def keeps_covariance(folder: Path) -> bool:
    """Whether ``keep_covariance`` wrote one."""
    return (folder / FILE).exists()


def read_covariance(folder: Path) -> Covariance:
    """What ``keep_covariance`` wrote.

    Raises:
        LevyError: the model has none.
    """
    if not keeps_covariance(folder):
        raise LevyError(
            f"{folder} keeps no covariance of its training data (it was trained by an earlier levy, or its samples are too large), "
            "which the guide interpolation needs: train it again, or choose the guide jacobian"
        )
    return Covariance.load(folder / FILE)
