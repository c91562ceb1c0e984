"""Designs side by side on a person's own fields, over training seeds: their extremes against the held-out and the training period.

In a checkout whose params.yaml names the data set, the designs, and a grid of one sampler:

    python docs/benchmarks/extremes.py NAME          # trains every design with three seeds, one after the other
"""

import sys

import numpy as np
import pandas as pd

from tasks.cells.tables import read_rows
from tasks.cells.tuned import write_tuned
from tasks.evaluate import evaluate
from tasks.params import loading as settings
from tasks.params.schema import Params
from tasks.prepare import prepare
from tasks.reference import reference
from tasks.runtime import paths
from tasks.sample import sample
from tasks.train import train

SEEDS = (0, 1, 2)
MEASURES = ("q999_ratio", "mean95_ratio", "hill_ratio", "tail_error", "ks", "return_error", "spectrum_error")


def rows_of(params: Params, dataset: str, design: str, seed: int) -> pd.DataFrame:
    """The evaluation of one training: one row per seed of the samples."""
    seeded = params.model_copy(update={"train": params.train.model_copy(update={"seed": seed})})
    train(seeded, dataset, design)
    write_tuned(paths.tuned(dataset, design), {})
    sample(seeded, dataset, design)
    evaluate(seeded, dataset, design)
    return read_rows(paths.evaluation(dataset, design))


def main(dataset: str) -> None:
    """Prints one table per period: mean and standard deviation over training seeds."""
    params = settings.load()
    prepare(params, dataset)
    reference(params, dataset)
    found = {d: [rows_of(params, dataset, d, seed).mean(numeric_only=True) for seed in SEEDS] for d in params.designs}
    variables = [v.key for v in params.data[dataset].config.variables]
    for period in ("test", "train"):
        names = [f"distance/{period}", *(f"{m}/{period}/{v}" for v in variables for m in MEASURES)]
        print(f"\n| design | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
        for design, rows in found.items():
            values = [np.array([row[name] for row in rows]) for name in names]
            print(f"| {design} | {' | '.join(f'{v.mean():.3g} ± {v.std(ddof=1):.2g}' for v in values)} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
