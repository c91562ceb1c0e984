"""Drawing samples from a trained model: what the stages and the registered model share."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from levy_core.base.code import hash_code
from levy_core.base.conditions import LABEL, PLACE, Condition
from levy_core.base.errors import LevyError
from levy_core.base.files import hash_files, hash_json
from levy_core.base.pixels import to_uint8
from levy_core.base.seeds import Streams
from levy_core.nets.latent import LATENT
from levy_core.sampling.guidance import GUIDES, EpsHat
from levy_core.sampling.loop import Watch, evaluations, sample
from levy_core.sampling.solver import Solver, StepTable, guide_evaluations, tabulate

if TYPE_CHECKING:
    from levy_core.process.design import Design
    from levy_core.training.checkpoint import Model

SLICE = 2**28  # bytes of samples that are drawn at a time where they are not needed together
# Code that decides what a sample is, with all that these import: this module, and every network.
CODE = (
    "levy_core.serving.draw", "levy_core.nets.unet", "levy_core.nets.dit", "levy_core.nets.mlp", "levy_core.nets.latent",
)  # fmt: skip


def hash_model(folder: Path) -> str:
    """Hash of a trained model and of the code that draws from it; what a model only says for people does not count."""
    described = json.loads((folder / "design.json").read_text())
    described.pop("about", None)
    return hash_json([hash_weights(folder), described, hash_code(*CODE)])


def hash_weights(folder: Path) -> str:
    """Hash of what a trained model has learned."""
    return hash_files(*(folder / name for name in ("model.safetensors", LATENT) if (folder / name).exists()))


def check_fitted(solvers: Iterable[Solver], folder: Path) -> None:
    """Refuses tables that were fitted to another model than that of the folder, whose weights are read once where there are any.

    Raises:
        LevyError: names both.
    """
    fitted = [(solver, solver.fitted_to) for solver in solvers if solver.fitted_to is not None]
    own = hash_weights(folder) if fitted else ""
    for solver, to in fitted:
        if to != own:
            raise LevyError(
                f"the fitted table {solver.label} belongs to the model with weights {to:.12}, but {folder} has weights {own:.12}: run tune "
                "again for this model, or choose another discretisation"
            )


@lru_cache(maxsize=64)
def step_table(solver: Solver, design: "Design") -> StepTable:
    """Of many steps a table takes seconds, and a request asks for it three times: for what it costs, what it takes of memory, and to draw."""
    return tabulate(solver, design.schedule)


def cost(model: "Model", solver: Solver) -> int:
    """Network evaluations per sample."""
    table = step_table(solver, model.design)
    return evaluations(table, model.design.noise) + guide_evaluations(solver, table.rho[:-1])


def guide_predictor(model: "Model", solver: Solver) -> EpsHat:
    """The model's predictor with the solver's guide."""
    return GUIDES[solver.guide].wrap(model.predictor, solver.strength, solver.guided, model.samples.absent)


def check_guide(model: "Model", solver: Solver, labels: np.ndarray) -> None:
    """Refuses a guide for samples that ask for nothing that it could follow, and for a model that knows nothing to leave.

    Raises:
        LevyError: names the guide and the remedy.
    """
    if GUIDES[solver.guide].follows != LABEL:
        return
    if (labels == model.samples.no_class).all():
        raise LevyError(
            f"the guide {solver.guide} moves samples towards a class, but these are drawn without one: ask for a class, or "
            "choose the guide none"
        )
    if not model.samples.knows_no_class:
        raise LevyError(
            f"the guide {solver.guide} moves samples away from those without a class, but the model was told the class of every "
            "training sample: train it with train.label_dropout above 0, or choose the guide none"
        )


def draw_samples(
    model: "Model",
    solver: Solver,
    seed: int,
    labels: np.ndarray,
    batch: int,
    device: torch.device,
    first: int = 0,
    watch: Watch | None = None,
) -> np.ndarray:
    """[N, C, H, W], uint8 images or float32 standardised fields; sample ``first + i`` has label ``labels[i]``.

    The number of classes stands for 'no class'. ``watch`` is called after each evaluation, as by ``sample``, and may raise.

    Raises:
        LevyError: a guide that these labels or this model give nothing to work with.
        NotFiniteError: the sampler left the finite numbers.
    """
    check_guide(model, solver, labels)
    table, predictor, noise = step_table(solver, model.design), guide_predictor(model, solver), model.design.noise

    def draw(indices: Sequence[int], cond: Condition) -> torch.Tensor:
        drawn = sample(predictor, table, noise, seed, indices, model.net.shape, cond, device, watch)
        return decode_samples(model, drawn, [(seed, i) for i in indices])

    return draw_in_batches(model, draw, labels, batch, first)


def draw_slices(
    model: "Model",
    solver: Solver,
    seed: int,
    labels: np.ndarray,
    batch: int,
    device: torch.device,
    first: int = 0,
) -> Iterator[np.ndarray]:
    """``draw_samples``, as many whole batches at a time as have ``SLICE`` bytes, so that large samples need not fit into memory together."""
    itemsize = np.dtype(model.samples.dtype).itemsize * int(np.prod(model.shape))
    step = batch * max(1, SLICE // itemsize // batch)
    for start in range(0, len(labels), step):
        part = labels[start : start + step]
        yield draw_samples(model, solver, seed, part, batch, device, first + start)


def draw_in_batches(
    model: "Model", draw: Callable[[range, Condition], torch.Tensor], labels: np.ndarray, batch: int, first: int = 0
) -> np.ndarray:
    """Samples [N, C, H, W] as people keep them, of what ``draw`` makes of the numbers and conditions of each batch."""
    parts = []
    for start in range(0, len(labels), batch):
        part = labels[start : start + batch]
        drawn = draw(range(first + start, first + start + len(part)), model.samples.condition(part))
        parts.append(convert_samples(model, drawn.numpy()))
    return np.concatenate(parts)


def draw_together(
    model: "Model", solver: Solver, requests: Sequence[tuple[int, np.ndarray]], device: torch.device, watch: Watch
) -> list[np.ndarray]:
    """What ``draw_samples`` gives for each (seed, labels), but for the last bits: all are one batch. ``check_guide`` is the caller's.

    Raises:
        NotFiniteError: the sampler left the finite numbers.
    """
    labels = np.concatenate([labels for _, labels in requests])
    seeds = [seed for seed, part in requests for _ in part]
    indices = [i for _, part in requests for i in range(len(part))]
    table, predictor, cond = (
        step_table(solver, model.design),
        guide_predictor(model, solver),
        model.samples.condition(labels),
    )
    drawn = sample(predictor, table, model.design.noise, seeds, indices, model.net.shape, cond, device, watch)
    ends = np.cumsum([len(part) for _, part in requests])[:-1]
    samples = decode_samples(model, drawn, list(zip(seeds, indices, strict=True)))
    return np.split(convert_samples(model, samples.numpy()), ends)


def decode_samples(model: "Model", drawn: torch.Tensor, keys: Sequence[tuple[int, int]]) -> torch.Tensor:
    """Samples from what the network makes: of coefficients fields, with the rest of each (seed, index)."""
    if not model.latent:
        return drawn
    return model.latent.decode(drawn) + model.latent.draw_rest(Streams([(seed, "rest", i) for seed, i in keys]))


def convert_samples(model: "Model", values: np.ndarray) -> np.ndarray:
    """Pixels, or values as they are where their extremes matter."""
    return to_uint8(values) if model.samples.dtype == "uint8" else values


def trajectories(model: "Model", solver: Solver, seed: int, labels: np.ndarray) -> np.ndarray:
    """What the network takes for the final samples at each evaluation, [steps, n, C, H, W], of the first samples of a seed."""
    table, predictions = tabulate(solver, model.design.schedule), []
    cond, keys = model.samples.condition(labels), [(seed, i) for i in range(len(labels))]
    sample(
        guide_predictor(model, solver), table, model.design.noise, seed, range(len(labels)), model.net.shape, cond,
        watch=lambda k, x0: predictions.append(convert_samples(model, decode_samples(model, x0.cpu(), keys).numpy())),
    )  # fmt: skip
    return np.stack(predictions)


def evaluation_flops(model: "Model", in_training: bool = False) -> int:
    """Floating point operations of one network evaluation of one sample; ``in_training``: of what a step sees of it, one patch of designs with patches."""
    shape, cond = model.net.shape, model.samples.condition(np.zeros(1))
    cover = getattr(model.predictor.net, "cover", None)
    if in_training and cover is not None:
        shape = (*shape[:-2], *cover.patches.side)
        cond = {**cond, PLACE: torch.zeros(1, 2, dtype=torch.int64)}
    with FlopCounterMode(display=False) as counter:
        model.predictor(torch.zeros(1, *shape), torch.ones(1), cond)
    return counter.get_total_flops()
