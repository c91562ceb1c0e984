"""Designs side by side on a person's own fields, over training seeds: their extremes against the held-out and the training period.

In a checkout whose params.yaml names the data set, the designs, and a grid of one sampler:

    python docs/benchmarks/extremes.py NAME          # trains every design with three seeds, one after the other

Where a variable of the data set has `quantile_mapping: true`, each model is measured without it and with it.
"""

import sys
from typing import Any

import numpy as np
import pandas as pd

from levy_core.training.checkpoint import load_model
from tasks.cells.tables import read_rows
from tasks.cells.tuned import write_tuned
from tasks.evaluate import evaluate
from tasks.params import loading as settings
from tasks.params.samplers import space_of
from tasks.params.schema import Params
from tasks.prepare import prepare
from tasks.reference import reference
from tasks.runtime import paths, stage
from tasks.sample import sample
from tasks.train import train
from tasks.tuning.correcting import fit_correction

SEEDS = (0, 1, 2)
MEASURES = (
    "q999_ratio", "mean95_ratio", "hill_ratio", "tail_error", "ks", "return_error", "spectrum_error", "joint_error", "wet_ratio",
    "wet_mean_ratio",
)  # fmt: skip


def ways_of(params: Params, dataset: str, design: str, seed: int) -> dict[str, pd.DataFrame]:
    """The evaluation of one training, without a correction and with it: one row per seed of the samples."""
    seeded = params.model_copy(update={"train": params.train.model_copy(update={"seed": seed})})
    train(seeded, dataset, design)
    device = stage.device(params.compute.device)
    model = load_model(paths.model(dataset, design), device)
    mapped = fit_correction(params, dataset, model, space_of(params.tune, params.kind(dataset)), device)
    ways: dict[str, dict[str, Any]] = {"": {}} | ({", mapped": mapped} if mapped else {})
    found = {}
    for name, correction in ways.items():
        write_tuned(paths.tuned(dataset, design), {}, correction)
        sample(seeded, dataset, design)
        evaluate(seeded, dataset, design)
        found[name] = read_rows(paths.evaluation(dataset, design))
    return found


def main(dataset: str) -> None:
    """Prints one table per period: mean and standard deviation over training seeds."""
    params = settings.load()
    prepare(params, dataset)
    reference(params, dataset)
    found: dict[str, list[pd.Series]] = {}
    for design in params.designs:
        for seed in SEEDS:
            for way, rows in ways_of(params, dataset, design, seed).items():
                found.setdefault(design + way, []).append(rows.mean(numeric_only=True))
    variables = [v.key for v in params.data[dataset].config.variables]
    for period in ("test", "train"):
        names = [f"distance/{period}", *(f"{m}/{period}/{v}" for v in variables for m in MEASURES)]
        names = [name for name in names if all(name in row for rows in found.values() for row in rows)]
        print(f"\n| design | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
        for label, rows in found.items():
            values = [np.array([row[name] for row in rows]) for name in names]
            print(f"| {label} | {' | '.join(f'{v.mean():.3g} ± {v.std(ddof=1):.2g}' for v in values)} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
