"""Training data in a latent: fitted to the data, then the coefficients of every sample."""

import numpy as np
import torch
from torch import Tensor

from levy_core.base.rows import thin_rows
from levy_core.nets.latent import Latent, fit_latent
from levy_core.training.batches import Data, sample_shape

VALUES = 20_000_000  # that a latent is fitted to, at most: the matrices of products are then of 4,500 x 4,500 or less
ROWS = 500  # samples that are encoded at a time


def fit_to_data(data: Data, eofs: int | float, areas: np.ndarray | None) -> Latent:
    """The latent of training data [N, *S]; of more than 20 million values, that of samples spread evenly. As ``fit_latent`` otherwise."""
    size = int(np.prod(sample_shape(data)))
    return fit_latent(_read(data, thin_rows(len(data), VALUES // size, 1)), eofs, areas)


def encode_data(latent: Latent, data: Data) -> Tensor:
    """Coefficients of all samples, float32 [N, K]."""
    parts = [np.arange(start, min(start + ROWS, len(data))) for start in range(0, len(data), ROWS)]
    return torch.cat([latent.encode(_read(data, rows)) for rows in parts])


def _read(data: Data, rows: np.ndarray) -> Tensor:
    return data[torch.from_numpy(rows)].cpu() if isinstance(data, Tensor) else torch.from_numpy(data[rows])
