"""Stage sample: the whole grid of one model in one process. Cells that are there already are kept; a rerun computes the missing ones."""

from pathlib import Path

import numpy as np
import torch

import levy_core.grids
import levy_core.limits
import levy_core.nets.unet
import levy_core.noise
import levy_core.param
import levy_core.sample
import levy_core.schedule
import levy_core.seeds
import levy_core.solver
import levy_core.steps
from levy_core.checkpoint import Model, load_model
from levy_core.datasets.store import to_uint8
from levy_core.files import hash_code, hash_files
from levy_core.sample import sample as draw
from levy_core.solver import Solver, tabulate
from tasks import paths, stage
from tasks.cells import Cell, write_cell, write_index
from tasks.params import Params

# Code that decides what a sample is.
DECIDES = (
    levy_core.grids,
    levy_core.limits,
    levy_core.nets.unet,
    levy_core.noise,
    levy_core.param,
    levy_core.sample,
    levy_core.schedule,
    levy_core.seeds,
    levy_core.solver,
    levy_core.steps,
)


def sample(params: Params, dataset: str, design: str) -> None:
    """Draws every cell without a class, so that the samples show which classes the model remembers."""
    stage.reproducible(params.compute.threads)
    device = stage.device(params.compute.device)
    folder = paths.model(dataset, design)
    model = load_model(folder, device)
    grid = params.sample
    model_hash = hash_files(folder / "model.safetensors", folder / "design.json", Path(__file__)) + hash_code(*DECIDES)
    cells = {
        cell.key(model_hash, grid.n): cell
        for solver in grid.cells()
        for seed in grid.seeds
        for cell in [Cell(solver, seed)]
    }
    out = paths.samples(dataset, design)
    out.mkdir(parents=True, exist_ok=True)
    missing = {key: cell for key, cell in cells.items() if not (out / f"{key}.npy").exists()}
    evaluations = sum(cell.solver.steps for cell in missing.values()) * grid.n
    print(f"{design} on {dataset}: {len(cells)} cells, {len(missing)} to draw, {evaluations:,} network evaluations")
    with stage.bar(None, f"sample {design}", total=evaluations, unit="eval", unit_scale=True) as progress:
        for key, cell in missing.items():
            write_cell(
                out,
                key,
                draw_images(model, cell.solver, cell.seed, np.full(grid.n, len(model.classes)), grid.batch, device),
            )
            progress.update(cell.solver.steps * grid.n)
    write_index(out, cells)


def draw_images(
    model: Model, solver: Solver, seed: int, labels: np.ndarray, batch: int, device: torch.device
) -> np.ndarray:
    """uint8 [N, C, H, W]: sample i has label ``labels[i]`` (the number of classes stands for 'no class')."""
    table = tabulate(solver, model.design.schedule)
    parts = []
    for start in range(0, len(labels), batch):
        wanted = torch.from_numpy(labels[start : start + batch].astype(np.int64))
        indices = range(start, start + len(wanted))
        drawn = draw(model.predictor, table, model.design.noise, seed, indices, model.net.shape, wanted, device)
        parts.append(to_uint8(drawn.numpy()))
    return np.concatenate(parts)


if __name__ == "__main__":
    stage.main(sample, "dataset", "design")
