"""Drawing samples from a trained model: what the stages and the registered model share."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from levy_core.base.code import hash_code
from levy_core.base.files import hash_files, hash_json
from levy_core.base.pixels import to_uint8
from levy_core.sampling.loop import evaluations, sample
from levy_core.sampling.solver import Solver, tabulate

if TYPE_CHECKING:
    from levy_core.training.checkpoint import Model

# Code that decides what a sample is, with all that these import: this module, and every network.
CODE = ("levy_core.serving.draw", "levy_core.nets.unet", "levy_core.nets.mlp")


def hash_model(folder: Path) -> str:
    """Hash of a trained model and of the code that draws from it; what a model only says for people does not count."""
    described = json.loads((folder / "design.json").read_text())
    described.pop("about", None)
    return hash_json([hash_files(folder / "model.safetensors"), described, hash_code(*CODE)])


def cost(model: "Model", solver: Solver) -> int:
    """Network evaluations per sample."""
    return evaluations(tabulate(solver, model.design.schedule), model.design.noise)


def draw_samples(
    model: "Model", solver: Solver, seed: int, labels: np.ndarray, batch: int, device: torch.device, first: int = 0
) -> np.ndarray:
    """[N, C, H, W], uint8 images or float32 standardised fields; sample ``first + i`` has label ``labels[i]``.

    The number of classes stands for 'no class'.

    Raises:
        NotFiniteError: the sampler left the finite numbers.
    """
    table = tabulate(solver, model.design.schedule)
    parts = []
    for start in range(0, len(labels), batch):
        wanted = torch.from_numpy(labels[start : start + batch].astype(np.int64))
        indices = range(first + start, first + start + len(wanted))
        drawn = sample(model.predictor, table, model.design.noise, seed, indices, model.net.shape, wanted, device)
        parts.append(_as_kept(model, drawn.numpy()))
    return np.concatenate(parts)


def _as_kept(model: "Model", drawn: np.ndarray) -> np.ndarray:
    """Pixels, or values as they are where their extremes matter."""
    return to_uint8(drawn) if model.samples.dtype == "uint8" else drawn


def trajectories(model: "Model", solver: Solver, seed: int, n: int) -> np.ndarray:
    """What the network takes for the final samples at each evaluation, [steps, n, C, H, W]: the grid's first n samples."""
    table, seen = tabulate(solver, model.design.schedule), []
    labels = torch.from_numpy(model.samples.usual_labels(0, n))
    sample(
        model.predictor, table, model.design.noise, seed, range(n), model.net.shape, labels,
        watch=lambda k, x0: seen.append(_as_kept(model, x0.cpu().numpy())),
    )  # fmt: skip
    return np.stack(seen)


def evaluation_flops(model: "Model") -> int:
    """Floating point operations of one network evaluation of one sample."""
    y = torch.zeros(1, *model.net.shape)
    with FlopCounterMode(display=False) as counter:
        model.predictor(y, torch.ones(1), torch.zeros(1, dtype=torch.int64))
    return counter.get_total_flops()
