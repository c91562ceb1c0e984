"""Stage compare: the grid of all designs as one table with mean and spread over seeds, and its winner."""

from dataclasses import fields

import pandas as pd

from levy_core.files import write_json
from levy_core.solver import Solver
from tasks import paths, stage
from tasks.grid import best, cell_label, write_rows
from tasks.params import Params

CELL = ["design", *(field.name for field in fields(Solver))]

HEADLINE = [
    "fid/longtail",
    "fid/balanced",
    "kid/longtail",
    "precision/longtail",
    "recall/longtail",
    "rare_fid/balanced",
    "rare_recall/balanced",
    "rare_share_ratio",
]


def compare(params: Params, dataset: str) -> None:
    """The winner has the smallest mean of ``compare.metric``."""
    rows = pd.concat([pd.read_csv(paths.evaluation(dataset, design)) for design in params.designs], ignore_index=True)
    grid = summarise(rows)
    ranked = best(grid, params.compare.metric)
    winner = {key: None if pd.isna(value) else value for key, value in ranked.iloc[0].to_dict().items()}
    write_rows(paths.grid(dataset), grid, digits=6)
    write_json(paths.winner(dataset), {"metric": params.compare.metric, **winner})
    per_design = {d: ranked[ranked.design == d].iloc[0] for d in params.designs if (ranked.design == d).any()}
    headline = {
        d: {name.replace("/", "_"): float(f"{row[name]:.6g}") for name in HEADLINE if pd.notna(row[name])}
        for d, row in per_design.items()
    }
    write_json(paths.metrics(dataset), headline)
    print(f"{dataset}: {cell_label(winner)}: {params.compare.metric} {winner[params.compare.metric]:.3f}")


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a cell: the mean of each metric over seeds, and its standard deviation as ``NAME_std``."""
    cell = [name for name in CELL if name in rows]
    groups = rows.drop(columns="seed").groupby(cell, sort=False, dropna=False)
    mean, spread = groups.mean(), groups.std(ddof=1)
    seeds = groups.size().rename("seeds")
    return pd.concat([seeds, mean, spread.add_suffix("_std")], axis=1).reset_index()


if __name__ == "__main__":
    stage.main(compare, "dataset")
