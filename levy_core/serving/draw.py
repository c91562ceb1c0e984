"""Drawing samples from a trained model: what the stages and the registered model share."""

from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

import levy_core.base.samples
import levy_core.base.seeds
import levy_core.nets.backbone
import levy_core.nets.globe
import levy_core.nets.unet
import levy_core.process.noise
import levy_core.process.parametrisation
import levy_core.process.schedule
import levy_core.sampling.grids
import levy_core.sampling.limits
import levy_core.sampling.loop
import levy_core.sampling.solver
import levy_core.sampling.steps
from levy_core.base.files import hash_code, hash_files
from levy_core.datasets.images.pixels import to_uint8
from levy_core.sampling.loop import evaluations, sample
from levy_core.sampling.solver import Solver, tabulate
from levy_core.training.checkpoint import Model

# Code that decides what a sample is.
DECIDES = (
    levy_core.sampling.grids,
    levy_core.sampling.limits,
    levy_core.nets.backbone,
    levy_core.nets.globe,
    levy_core.nets.unet,
    levy_core.process.noise,
    levy_core.process.parametrisation,
    levy_core.sampling.loop,
    levy_core.base.samples,
    levy_core.process.schedule,
    levy_core.base.seeds,
    levy_core.sampling.solver,
    levy_core.sampling.steps,
)


def hash_model(folder: Path) -> str:
    """Hash of a trained model and of the code that draws from it."""
    return hash_files(folder / "model.safetensors", folder / "design.json", Path(__file__)) + hash_code(*DECIDES)


def cost(model: Model, solver: Solver) -> int:
    """Network evaluations a sample."""
    return evaluations(tabulate(solver, model.design.schedule), model.design.noise)


def draw_samples(
    model: Model, solver: Solver, seed: int, labels: np.ndarray, batch: int, device: torch.device, first: int = 0
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


def _as_kept(model: Model, drawn: np.ndarray) -> np.ndarray:
    """Images as pixels; fields as they are, because their extremes matter."""
    return to_uint8(drawn) if kept_type(model) is np.uint8 else drawn


def kept_type(model: Model) -> type[np.generic]:
    """What samples are kept as: uint8 for images, float32 for fields."""
    return np.uint8 if model.samples.kind == "images" else np.float32


def trajectories(model: Model, solver: Solver, seed: int, n: int) -> np.ndarray:
    """What the network takes for the final samples at each evaluation, [steps, n, C, H, W]: the grid's first n samples."""
    table, seen = tabulate(solver, model.design.schedule), []
    labels = torch.from_numpy(model.samples.usual_labels(0, n))
    sample(
        model.predictor, table, model.design.noise, seed, range(n), model.net.shape, labels,
        watch=lambda k, x0: seen.append(_as_kept(model, x0.cpu().numpy())),
    )  # fmt: skip
    return np.stack(seen)


def evaluation_flops(model: Model) -> int:
    """Floating point operations of one network evaluation of one sample."""
    y = torch.zeros(1, *model.net.shape)
    with FlopCounterMode(display=False) as counter:
        model.predictor(y, torch.ones(1), torch.zeros(1, dtype=torch.int64))
    return counter.get_total_flops()
