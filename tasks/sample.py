"""Stage sample: the grid of one model, and the samplers that `tune` found, in one process. Cells that are there already are kept; a rerun computes the missing ones."""

import time

import torch

from levy_core.checkpoint import Model, load_model
from levy_core.errors import LevyError, NotFiniteError
from tasks import paths, stage
from tasks.cells import Cell, is_done, write_cell, write_failure, write_index
from tasks.draw import cost, draw_images, hash_model, no_class
from tasks.params import Params, SampleParams
from tasks.tuned import read_tuned


def sample(params: Params, dataset: str, design: str) -> None:
    """Draws every cell without a class, so that the samples show which classes the model remembers.

    A cell that leaves the finite numbers is recorded as failed, with the reason, and the grid goes on.
    """
    stage.reproducible(params.compute.threads)
    device = stage.device(params.compute.device)
    folder = paths.model(dataset, design)
    model = load_model(folder, device)
    grid = params.sample
    model_hash = hash_model(folder)
    solvers = dict.fromkeys([*grid.cells(), *read_tuned(paths.tuned(dataset, design)).values()])
    tried = [Cell(solver, seed, cost(model, solver)) for solver in solvers for seed in grid.seeds]
    cells = {cell.key(model_hash, grid.n): cell for cell in tried}
    out = paths.samples(dataset, design)
    out.mkdir(parents=True, exist_ok=True)
    missing = {key: cell for key, cell in cells.items() if not is_done(out, key)}
    evaluations = grid.n * sum(cell.nfe for cell in missing.values())
    print(f"{design} on {dataset}: {len(cells)} cells, {len(missing)} to draw, {evaluations:,} network evaluations")
    _check_budget(model, grid, evaluations, device)
    failed = 0
    with stage.bar(None, f"sample {design}", total=evaluations, unit="eval", unit_scale=True) as progress:
        for key, cell in missing.items():
            try:
                image = draw_images(model, cell.solver, cell.seed, no_class(model, grid.n), grid.batch, device)
                write_cell(out, key, image)
            except NotFiniteError as error:
                failed += 1
                write_failure(out, key, str(error))
            progress.update(cell.nfe * grid.n)
    write_index(out, cells)
    if failed:
        print(f"{design} on {dataset}: {failed} of {len(missing)} cells failed; the table of the report says why")


def _check_budget(model: Model, grid: SampleParams, evaluations: int, device: torch.device) -> None:
    """Refuses a grid that would take longer than ``sample.hours``, by the time of one batch."""
    if grid.hours is None or not evaluations:
        return
    y = torch.zeros(min(grid.batch, grid.n), *model.net.shape, device=device)
    rho, labels = torch.ones(len(y), device=device), torch.zeros(len(y), dtype=torch.int64, device=device)
    times = []
    for _ in range(3):  # the first warms up
        start = time.perf_counter()
        model.predictor(y, rho, labels).sum().item()
        times.append(time.perf_counter() - start)
    hours = evaluations / len(y) * min(times) / 3600
    print(f"about {hours:.2g} hours, of {grid.hours:g} allowed")
    if hours > grid.hours:
        raise LevyError(
            f"the grid would take about {hours:.2g} hours ({evaluations:,} evaluations, {min(times) * 1000:.0f} ms for {len(y)}), "
            f"but sample.hours allows {grid.hours:g}: raise it, or take cells, seeds or samples out of `sample`"
        )


if __name__ == "__main__":
    stage.main(sample, "dataset", "design")
