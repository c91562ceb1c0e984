"""Training data in a latent: fitted to the data, then the coefficients of every sample."""

import numpy as np
import torch
from torch import Tensor

from levy_core.base.errors import LevyError
from levy_core.base.rows import read_rows, thin_rows
from levy_core.nets.latent import Latent, fit_latent, measure_held
from levy_core.training.batches import Data, sample_shape

FIELDS, VALUES = 2_000, 200_000_000  # that a latent is fitted to, at most: 0.8 GB, and as much again for the patterns
FEWEST = 200  # of more: EOFs of fewer fields hold little of new ones (docs/weather.md)
HELD_BACK = 10  # one in so many, the last ones, to see what EOFs of the others hold of them
ROWS = 500  # samples that are encoded at a time, at most


def count_fitted(samples: int, size: int) -> int:
    """How many of the samples, of ``size`` values each, a latent is fitted to.

    Raises:
        LevyError: few of many, because they are large.
    """
    fitted = min(samples, FIELDS, VALUES // size)
    if fitted < min(FEWEST, samples):
        raise LevyError(
            f"a sample has {size:,} values, so that EOFs would be fitted to {fitted} of {samples:,} samples ({VALUES:,} values at most), "
            f"but fewer than {FEWEST} say little of new ones: take a smaller box, a coarser grid or fewer variables, or a design without eofs"
        )
    return fitted


def fit_to_data(data: Data, eofs: int | float, areas: np.ndarray | None) -> Latent:
    """The latent of training data [N, *S]; of more than ``count_fitted``, that of samples spread evenly.

    Raises:
        LevyError: as ``count_fitted`` and ``fit_latent``.
    """
    return fit_latent(read_rows(data, _fitted_rows(data)), eofs, areas)


def measure_held_back(data: Data, eofs: int, areas: np.ndarray | None) -> float | None:
    """Share of the variance of the last tenth of the fitted samples that EOFs of the others hold; None of fewer than 20 samples."""
    rows = _fitted_rows(data)
    cut = len(rows) - len(rows) // HELD_BACK
    if len(rows) < 2 * HELD_BACK:
        return None
    latent = fit_latent(read_rows(data, rows[:cut]), min(eofs, cut - 1), areas)
    return measure_held(read_rows(data, rows[cut:]), latent)


def encode_data(latent: Latent, data: Data) -> Tensor:
    """Coefficients of all samples, float32 [N, K]."""
    together = max(1, min(ROWS, VALUES // latent.mean.numel() // 8))
    parts = [np.arange(start, min(start + together, len(data))) for start in range(0, len(data), together)]
    return torch.cat([latent.encode(read_rows(data, rows)) for rows in parts])


def _fitted_rows(data: Data) -> np.ndarray:
    return thin_rows(len(data), count_fitted(len(data), int(np.prod(sample_shape(data)))), 1)
