"""Samples of a search: large ones are drawn in slices that lie on disk."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from levy_core.base.rows import keep_on_disk
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
        yield samples if len(samples) == len(labels) else keep_on_disk([samples], len(samples), folder)
