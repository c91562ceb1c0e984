"""Samples of a search: large ones are drawn in slices that lie on disk."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch

from levy_core.sampling.solver import Solver
from levy_core.serving.draw import draw_slices
from levy_core.training.checkpoint import Model


def draw_kept(
    model: Model,
    solver: Solver,
    seed: int,
    labels: np.ndarray,
    batch: int,
    device: torch.device,
    folder: Path,
    first: int = 0,
) -> Iterator[np.ndarray]:
    """Slices of ``draw_samples``: one in memory, or each of several in a file of ``folder`` that has no name and ends with the array."""
    for samples in draw_slices(model, solver, seed, labels, batch, device, first):
        yield samples if len(samples) == len(labels) else _keep(samples, folder)


def _keep(samples: np.ndarray, folder: Path) -> np.ndarray:
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder) as stream:
        stream.write(np.ascontiguousarray(samples).data)
        stream.flush()
        return np.memmap(stream, samples.dtype, "r", shape=samples.shape)
