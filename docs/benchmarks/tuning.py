"""The search against a full grid, ten evaluations against fifty, judged on fresh seeds.

In a checkout whose pipeline has prepared a data set and made its reference:

    python docs/benchmarks/tuning.py search digits MODEL            # a folder of model.safetensors and design.json
"""

import sys
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from levy_core.base.determinism import make_reproducible
from levy_core.sampling.search import search
from levy_core.sampling.solver import Solver
from levy_core.sampling.steps import fits
from levy_core.serving.draw import draw_samples
from levy_core.serving.memory import Footprint
from levy_core.training.checkpoint import Model, load_model
from tasks.cells.selection import is_published
from tasks.kinds.opening import open_metrics
from tasks.params import loading as settings
from tasks.params.samplers import classes_of, space_of
from tasks.params.sections import Block
from tasks.runtime.progress import bar
from tasks.tune import filter_by_cost
from tasks.tuning.scores import Memo, Scorer

STEPS, SLOW = 10, 50  # evaluations
GRID_N = 300  # samples of a cell of the full grid
FRESH, N = (101, 102, 103), 2000  # seeds that neither search nor grid have seen, and samples of each
CPU = torch.device("cpu")
ETAS = [0.05, 0.2, 0.5]


class Bench:
    """One data set and what its samples are measured with."""

    def __init__(self, dataset: str):
        self.params = settings.load()
        make_reproducible(self.params.compute.threads)
        self.space = space_of(self.params.tune, self.params.kind(dataset))
        self.metrics, self.metric = open_metrics(self.params, dataset), self.params.metric(dataset)
        self.classes = classes_of(self.params.sample, self.params.kind(dataset))

    def judge(self, model: Model, seed: int, memo: Memo) -> Scorer:
        """Scores of solvers with the noise of one seed."""
        return Scorer(model, self.metrics, self.metric, self.classes, seed, 250, CPU, memo, Footprint(model, CPU))

    def tuned(self, model: Model, steps: int, memo: Memo) -> tuple[Solver, int]:
        """What the search finds with the settings of params.yaml, and the samples that it drew."""
        tune = self.params.tune
        judge, space = self.judge(model, 1, memo), filter_by_cost(self.space, model)
        found = search(judge, model.design.schedule, space, steps, tune.samples, tune.counts(), tune.seed)
        return found.best.solver, found.samples

    def fresh(self, model: Model, solver: Solver) -> list[dict[str, float]]:
        """All metrics on each fresh seed."""
        labels = model.samples.labels(self.classes, 0, N)
        drawn = (draw_samples(model, solver, seed, labels, 250, CPU) for seed in FRESH)
        return [self.metrics.measure(samples, labels) for samples in drawn]


def full_grid(steps: int) -> list[Solver]:
    """What a person would try: every solver on three grids, from the schedule's own ends and from the bounded ones, clamped or not."""
    families, forms = ["sde-a", "sde-e", "ode"], ["euler-maruyama", "ei-score", "ei-noise", "2m-data", "3m-data"]
    pairs = [(f, d) for f, d in product(families, forms) if fits(f, d) and not (f == "sde-a" and "m-data" in d)]
    cells = []
    for family, form in pairs:
        cells += Block(solvers=[family], discretisations=[form], grids=["uniform-t"], steps=[steps], etas=ETAS).cells()
        bounded = {"rho_max": [20.0], "rho_min": [0.03], "denoise": [True], "limits": ["none", "clamp"]}
        cells += Block(
            solvers=[family],
            discretisations=[form],
            grids=["uniform-log-rho", "karras"],
            steps=[steps],
            etas=ETAS,
            **bounded,
        ).cells()
    return list(dict.fromkeys(cells))


def best_of(judge: Scorer, cells: list[Solver]) -> tuple[Solver, float]:
    """The cell with the smallest FID."""
    scores = [judge(cell, GRID_N) for cell in bar(cells, "grid", unit="cell")]
    k = int(np.nanargmin(scores))
    return cells[k], scores[k]


def line(name: str, drawn: str, solver: Solver, rows: list[dict[str, float]]) -> None:
    """A row of the table."""
    fid = np.array([row["fid/longtail"] for row in rows])
    print(
        f"| {name} | {drawn} | {solver.label}, {solver.steps} | {fid.mean():.3f} ± {fid.std(ddof=1):.3f} |", flush=True
    )


def run_search(dataset: str, folder: str) -> None:
    """The table of one model."""
    bench, model = Bench(dataset), load_model(Path(folder))
    labels = model.samples.labels(bench.classes, 0, N)
    print(f"FID floor of {N} perfect samples: {bench.metrics.floors(labels)['floor/fid/longtail']:.3f}\n")
    print("| sampler | evaluations spent to find it | what it is | FID on fresh seeds |\n|---|---|---|---|")
    with TemporaryDirectory() as scratch:
        memo = Memo(Path(scratch) / "memo", "")
        tuned, samples = bench.tuned(model, STEPS, memo)
        mine = bench.fresh(model, tuned)
        line("search", f"{samples * STEPS:,}", tuned, mine)
        for name, steps, cells in (
            ("full grid", STEPS, full_grid(STEPS)),
            ("the paper's samplers", STEPS, [c for c in full_grid(STEPS) if is_published(c)]),
            ("the paper's samplers", SLOW, [c for c in full_grid(SLOW) if is_published(c)]),
        ):
            winner, _ = best_of(bench.judge(model, 2, memo), cells)
            rows = bench.fresh(model, winner)
            line(name, f"{len(cells) * GRID_N * steps:,}", winner, rows)
            gap = np.array([a["fid/longtail"] - b["fid/longtail"] for a, b in zip(mine, rows, strict=True)])
            print(
                f"search less {name} at {steps}: {gap.mean():+.3f} ± {gap.std(ddof=1) / len(gap) ** 0.5:.3f}",
                file=sys.stderr,
            )


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] != "search":
        sys.exit(__doc__)
    run_search(*sys.argv[2:])
