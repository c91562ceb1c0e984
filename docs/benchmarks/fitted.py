"""Fitted tables: what few evaluations are worth, on exact oracles and on trained networks.

    python docs/benchmarks/fitted.py modes [--n 6000 --seeds 4]
    python docs/benchmarks/fitted.py model digits MODEL...      # folders of model.safetensors and design.json

The second in a checkout whose pipeline has prepared a data set and made its reference: two searches of each model, with and without
fitted tables, by the settings of params.yaml but for the numbers of evaluations; what they find is measured on seeds that neither has seen.
"""

import argparse
import platform
import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from searching import Energy, Law

from levy_core.base.determinism import make_reproducible
from levy_core.process.noise import Gaussian, Stable
from levy_core.process.schedule import Cosine
from levy_core.sampling.fitting import fit
from levy_core.sampling.oracles import nine_modes
from levy_core.sampling.solver import Solver
from levy_core.serving.draw import draw_samples
from levy_core.training.checkpoint import load_model
from tasks.kinds.opening import open_metrics
from tasks.params import loading as settings
from tasks.params.samplers import classes_of, space_of
from tasks.runtime.progress import bar
from tasks.tune import filter_by_cost, filter_guides
from tasks.tuning.scores import Memo
from tasks.tuning.searches import Searches

STEPS = (3, 4, 5, 6, 8)  # of the oracles
LAST = {
    3: 0.25,
    4: 0.12,
    5: 0.08,
    6: 0.05,
    8: 0.03,
}  # last level above 0 of the multistep solvers, and where a fit begins
LONG = 50  # evaluations of another, for comparison
STARTS, TRIALS, END = 1500, 60, 0.01
BUDGETS = [3, 4, 5, 10]  # evaluations of the trained models
FRESH, N = (101, 102, 103), 2000  # seeds that no search has seen, and samples of each
MEASURES = ("fid_classes/longtail", "fid/longtail", "rare_fid/balanced", "rare_coverage/balanced")


def measure(law: Law, solver: Solver, n: int, seeds: int) -> str:
    """Energy distance x 1000 of samples to data of equal number."""
    found = [1000 * Energy(law, seed, n)(solver, n) for seed in range(seeds)]
    return f"{np.mean(found):.2f} ± {np.std(found, ddof=1) / seeds**0.5:.2f}"


def multistep(form: str, evaluations: int) -> Solver:
    """From rho 20 to the last level of so many evaluations, then to 0."""
    return Solver(
        "ode", form, "uniform-log-rho", evaluations, rho_max=20.0, rho_min=LAST.get(evaluations, 0.03), denoise=True
    )


def fitted(law: Law, evaluations: int, trials: int) -> Solver:
    """A table of so many evaluations."""
    cond, start = {"label": torch.zeros(STARTS)}, multistep("2m-data", evaluations)
    return fit(law.oracle, start, law.schedule, law.oracle.noise, 3, (2,), cond, [END], trials)[0].solver


def modes(n: int, seeds: int) -> None:
    """The table of nine modes under three noise laws."""
    print(
        f"{platform.machine()}, torch {torch.__version__}, {n} samples per seed, {seeds} seeds: mean ± standard error\n"
    )
    print(
        f"| noise | solver | {' | '.join(f'N = {k}' for k in STEPS)} | N = {LONG} |\n|---|---|{'---|' * len(STEPS)}---|"
    )
    for noise in (Stable(1.2), Stable(1.5), Gaussian()):
        law = Law(nine_modes(noise), Cosine(noise.exponent))
        name = f"stable {noise.alpha:g}" if isinstance(noise, Stable) else "Gaussian"
        for form in ("ei-data", "2m-data", "3m-data"):
            cells = [measure(law, multistep(form, k), n, seeds) for k in (*STEPS, LONG)]
            print(f"| {name} | {form} | {' | '.join(cells)} |", flush=True)
        for kind, trials in (("fitted, on the same levels", 0), ("fitted", TRIALS)):
            cells = [measure(law, fitted(law, k, trials), n, seeds) for k in STEPS]
            print(f"| {name} | {kind} | {' | '.join(cells)} | |", flush=True)


def model(dataset: str, folder: Path) -> None:
    """The table of one model."""
    params = settings.load()
    make_reproducible(params.compute.threads)
    network, kind, tune = load_model(folder), params.kind(dataset), params.tune.model_copy(update={"steps": BUDGETS})
    metrics, classes = open_metrics(params, dataset), classes_of(params.sample, kind)
    labels = network.samples.labels(classes, 0, N)
    print(
        f"\n{folder}\n\n| evaluations | search | sampler | to find it | | per 1,000 samples | {' | '.join(MEASURES)} |\n|---|---|---|---|---|---|{'---|' * len(MEASURES)}"
    )
    with TemporaryDirectory() as scratch:
        memo = Memo(Path(scratch) / "memo", "")
        searches = Searches(
            network,
            folder,
            tune,
            metrics,
            params.metric(dataset),
            classes,
            params.sample.batch,
            torch.device("cpu"),
            memo,
        )
        space = filter_guides(filter_by_cost(space_of(tune, kind), network), network, labels)
        plain = replace(space, discretisations=tuple(form for form in space.discretisations if form != "fitted"))
        for name, searched in (
            ("without fits", plain),
            ("with", replace(plain, discretisations=(*plain.discretisations, "fitted"))),
        ):
            with bar(None, name, total=searches.evaluations(searched), unit="eval", unit_scale=True) as progress:
                start = time.perf_counter()
                for steps, found, spent in searches.run(searched, progress.update):
                    searching, solver, start = time.perf_counter() - start, found.best.solver, time.perf_counter()
                    drawn = [draw_samples(network, solver, seed, labels, 250, torch.device("cpu")) for seed in FRESH]
                    drawing = (time.perf_counter() - start) / len(FRESH) / N * 1000
                    rows = [metrics.measure(samples, labels) for samples in drawn]
                    cells = [
                        f"{np.mean(v):.3f} ± {np.std(v, ddof=1):.3f}"
                        for v in ([row.get(m, np.nan) for row in rows] for m in MEASURES)
                    ]
                    print(
                        f"| {steps} | {name} | {solver.label} | {spent:,} | {searching:.0f} s | {drawing:.1f} s | {' | '.join(cells)} |",
                        flush=True,
                    )
                    start = time.perf_counter()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    exact = commands.add_parser("modes")
    exact.add_argument("--n", type=int, default=6000)
    exact.add_argument("--seeds", type=int, default=4)
    trained = commands.add_parser("model")
    trained.add_argument("dataset")
    trained.add_argument("folders", type=Path, nargs="+")
    arguments = parser.parse_args()
    if arguments.command == "modes":
        return modes(arguments.n, arguments.seeds)
    for folder in arguments.folders:
        model(arguments.dataset, folder)


if __name__ == "__main__":
    main()
