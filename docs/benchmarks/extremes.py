"""Designs side by side on a person's own fields, over training seeds: their extremes against the held-out and the training period.

In a checkout whose params.yaml names the data set, the designs, and a grid of one sampler:

    python docs/benchmarks/extremes.py NAME          # trains every design with three seeds, one after the other

Where a variable of the data set has `quantile_mapping`, each model is measured without it and with it. Of variables with a minimum, where a climatology
of the day was taken off, also by season: the root mean square over seasons of log(mean / real) and of log(99 % quantile / real).
"""

import sys
from typing import Any

import numpy as np
import pandas as pd

from levy_core.datasets.fields.labels import seasons_of
from levy_core.datasets.fields.store import FieldStore
from levy_core.training.checkpoint import load_model
from tasks.cells.store import read_cells, read_labels
from tasks.cells.tables import read_rows
from tasks.cells.tuned import write_tuned
from tasks.evaluate import evaluate
from tasks.kinds.fields.metrics import PERIODS, FieldMetrics
from tasks.kinds.opening import open_metrics
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
BY_SEASON = ("season_mean_error", "season_q99_error")


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
        rows = read_rows(paths.evaluation(dataset, design))
        seasonal = pd.DataFrame(by_season(params, dataset, design), index=rows.index)
        found[name] = pd.concat([rows, seasonal], axis=1)
    return found


def by_season(params: Params, dataset: str, design: str) -> dict[str, float]:
    """Of the samples of a design: errors of the mean and the 99 % quantile of each season, over seasons, by period and variable."""
    metrics, folder = open_metrics(params, dataset), paths.samples(dataset, design)
    assert isinstance(metrics, FieldMetrics)
    cells = read_cells(folder)
    labels = read_labels(folder, cells)
    times = metrics.times(labels)
    if times is None:
        return {}
    made = np.concatenate([metrics.physical(cell.samples, labels)[:] for cell in cells if cell.samples is not None])
    drawn, row = np.tile(seasons_of(times), len(made) // len(times)), dict[str, float]()
    for period in PERIODS:
        store = FieldStore.open(paths.prepared(dataset) / "fields.zarr", period)
        real, seen = metrics.codec.decode(store[np.arange(len(store))], store.times), seasons_of(store.times)
        for c, variable in enumerate(metrics.codec.variables):
            if variable.minimum is not None:
                ratios = [
                    [np.log(of(made[drawn == s, c]) / of(real[seen == s, c])) for of in (np.nanmean, _high)]
                    for s in np.unique(seen)
                ]
                errors = np.sqrt((np.array(ratios) ** 2).mean(0))
                row |= {f"{name}/{period}/{variable.key}": error for name, error in zip(BY_SEASON, errors, strict=True)}
    return row


def _high(x: np.ndarray) -> float:
    return float(np.nanquantile(x, 0.99))


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
        names = [f"distance/{period}", *(f"{m}/{period}/{v}" for v in variables for m in (*MEASURES, *BY_SEASON))]
        names += [f"crps_skill/{v}" for v in variables] if period == "test" else []
        names = [name for name in names if all(name in row for rows in found.values() for row in rows)]
        print(f"\n| design | {' | '.join(names)} |\n|---|{'---|' * len(names)}")
        for label, rows in found.items():
            values = [np.array([row[name] for row in rows]) for name in names]
            print(f"| {label} | {' | '.join(f'{v.mean():.3g} ± {v.std(ddof=1):.2g}' for v in values)} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
