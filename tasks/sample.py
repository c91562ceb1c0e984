"""Stage sample: the grid of one model, and the samplers that `tune` found.

Cells that are there already are kept; a rerun computes the missing ones, and those whose files are cut off or damaged.
"""

import time
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict

import numpy as np
import torch
from accelerate import PartialState

from levy_core.base.conditions import move
from levy_core.base.determinism import make_reproducible
from levy_core.base.errors import LevyError, NotFiniteError
from levy_core.base.files import hash_json
from levy_core.base.memory import free_memory
from levy_core.sampling.solver import Solver
from levy_core.serving.draw import check_fitted, check_guide, cost, draw_slices, hash_model
from levy_core.serving.memory import Footprint, check_batch
from levy_core.training.checkpoint import Model, load_model
from tasks.cells.store import (
    Cell,
    has_failed,
    is_done,
    remove_damaged,
    write_cell,
    write_failure,
    write_index,
    write_labels,
)
from tasks.cells.tuned import read_correction, read_tuned
from tasks.kinds.kind import Correct
from tasks.kinds.opening import open_correction
from tasks.params.samplers import cells_of, classes_of
from tasks.params.schema import Params
from tasks.params.sections import SampleParams
from tasks.runtime import paths, processes
from tasks.runtime.progress import bar


def sample(params: Params, dataset: str, design: str) -> None:
    """Draws every cell, with the classes that ``sample.classes`` says.

    A cell that leaves the finite numbers is recorded as failed, with the reason, and the grid goes on.
    """
    work = lambda state: _sample(params, dataset, design, state)
    processes.run(params.compute, params.compute.processes, work)


def _sample(params: Params, dataset: str, design: str, state: PartialState) -> None:
    """The work of one of the processes that share the missing cells; the main one speaks for all and writes the index."""
    make_reproducible(params.compute.threads)
    folder = paths.model(dataset, design)
    model = load_model(folder, state.device)
    grid = params.sample
    correction = read_correction(paths.tuned(dataset, design))
    kind, model_hash = params.kind(dataset), hash_model(folder)
    if correction:
        model_hash = hash_json([model_hash, correction, kind.hash_code("corrected")])
    correct = open_correction(kind, folder, correction, model.samples)
    solvers = dict.fromkeys([*cells_of(grid, kind), *read_tuned(paths.tuned(dataset, design)).values()])
    labels = model.samples.labels(classes_of(grid, kind), 0, grid.n)
    check_fitted(solvers, folder)  # before hours of work
    for solver in solvers:
        check_guide(model, solver, labels)
    cells: dict[str, Cell] = {}
    solver_by_key: dict[str, Solver] = {}
    for solver in solvers:
        nfe = cost(model, solver)
        for seed in grid.seeds:
            cell = Cell(asdict(solver), solver.label, seed, nfe)
            key = cell.key(model_hash, labels)
            cells[key], solver_by_key[key] = cell, solver
    out = paths.samples(dataset, design)
    out.mkdir(parents=True, exist_ok=True)
    if state.is_main_process:
        damaged = remove_damaged(out, cells, (grid.n, *model.shape), np.dtype(model.samples.dtype))
        if damaged:
            print(
                f"{out}: {len(damaged)} of {len(cells)} cells are cut off or damaged and drawn again, the first is {damaged[0]}"
            )
    processes.wait_for_everyone()
    missing = {key: cell for key, cell in cells.items() if not is_done(out, key)}
    evaluations = grid.n * sum(cell.nfe for cell in missing.values())
    if state.is_main_process:
        print(
            f"{design} on {dataset}: {len(cells)} cells, {len(missing)} to draw, {evaluations:,} network evaluations; "
            f"classes: {classes_of(grid, kind)}"
        )
        _check_memory(model, dict.fromkeys(solver_by_key[key] for key in missing), grid, state)
        _check_budget(model, grid, evaluations, state)
    processes.wait_for_everyone()  # all have seen the same cells missing, and the main process allows them

    # Dealt like cards, the dearest first: nobody gets more than one cell's evaluations above the others.
    dealt = sorted(missing, key=lambda key: missing[key].nfe, reverse=True)
    total = {"total": evaluations, "unit": "eval", "unit_scale": True, "disable": not state.is_main_process}
    with bar(None, f"sample {design}", **total) as progress:
        for key in dealt[state.process_index :: state.num_processes]:
            cell = missing[key]
            try:
                drawn = draw_slices(model, solver_by_key[key], cell.seed, labels, grid.batch, state.device)
                corrected = _correct(drawn, correct, labels) if correct else drawn
                write_cell(out, key, (grid.n, *model.shape), np.dtype(model.samples.dtype), corrected)
            except NotFiniteError as error:
                write_failure(out, key, str(error))
            if state.is_main_process:
                done = sum(cell.nfe for key, cell in missing.items() if is_done(out, key))  # by all processes
                progress.update(grid.n * done - progress.n)
        processes.wait_for_everyone()
        progress.update(evaluations - progress.n)
    if not state.is_main_process:
        return
    write_labels(out, labels, model.samples.no_class)
    write_index(out, cells)
    failed = sum(has_failed(out, key) for key in missing)
    if failed:
        print(f"{design} on {dataset}: {failed} of {len(missing)} cells failed; the table of the report says why")


def _correct(drawn: Iterable[np.ndarray], correct: Correct, labels: np.ndarray) -> Iterator[np.ndarray]:
    """Corrects samples slice by slice."""
    start = 0
    for samples in drawn:
        corrected = correct(samples, labels, np.arange(start, start + len(samples)))
        if np.isinf(corrected).any():
            raise NotFiniteError("samples are infinite once they are corrected: values far out in a tail were mapped")
        yield corrected
        start += len(samples)


def _check_memory(model: Model, solvers: Collection[Solver], grid: SampleParams, state: PartialState) -> None:
    """Refuses a batch that does not fit into memory, which processes may share."""
    if not solvers:
        return
    footprint, sharing, free = Footprint(model, state.device), processes.sharing(state), free_memory(state.device)
    for solver in solvers:
        check_batch("sample.batch", grid.batch, footprint, solver, grid.n, free, sharing)


def _check_budget(model: Model, grid: SampleParams, evaluations: int, state: PartialState) -> None:
    """Refuses a grid that would take longer than ``sample.hours``, by the time of one batch in one of the processes."""
    if grid.hours is None or not evaluations:
        return
    device = state.device
    y = torch.zeros(min(grid.batch, grid.n), *model.net.shape, device=device)
    rho, cond = torch.ones(len(y), device=device), move(model.samples.condition(np.zeros(len(y))), device)
    times = []
    for _ in range(3):  # the first warms up
        start = time.perf_counter()
        model.predictor(y, rho, cond).sum().item()
        times.append(time.perf_counter() - start)
    hours = evaluations / len(y) * min(times) / 3600 / state.num_processes
    print(f"about {hours:.2g} hours, of {grid.hours:g} allowed")
    if hours > grid.hours:
        raise LevyError(
            f"the grid would take about {hours:.2g} hours ({evaluations:,} evaluations, {min(times) * 1000:.0f} ms for {len(y)}), "
            f"but sample.hours allows {grid.hours:g}: raise it, or take cells, seeds or samples out of `sample`"
        )
