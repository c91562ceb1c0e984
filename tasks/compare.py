"""Stage compare: the grid of all designs as one table with mean and spread over seeds, the best sampler at each cost, and the winner."""

from typing import Any

import pandas as pd

from levy_core.base.files import write_json
from tasks.cells.selection import (
    SETTINGS,
    cell_label,
    is_published,
    paired_difference,
    rank_cells,
    sampler_of,
    select_default,
    solver_of,
)
from tasks.cells.tables import read_rows, write_rows
from tasks.cells.tuned import read_tuned
from tasks.kinds.kind import Kind
from tasks.params.schema import Params
from tasks.runtime import paths

CELL = ["design", *SETTINGS, "nfe"]
LABELS = ["seed", "cell", "ruler", "failed"]


def compare(params: Params, dataset: str) -> None:
    """The winner is the cheapest sampler within the noise of the smallest mean of ``compare.metric`` (``select_default``)."""
    metric = params.metric(dataset)
    tables = [read_rows(paths.evaluation(dataset, design)) for design in params.designs]
    rows = pd.concat(tables, ignore_index=True)
    tuned = {d: set(read_tuned(paths.tuned(dataset, d)).values()) for d in params.designs}
    grid = summarise(rows)
    grid.insert(len(CELL), "tuned", [solver_of(row) in tuned[row["design"]] for _, row in grid.iterrows()])
    write_rows(paths.grid(dataset), grid, digits=6, exact=SETTINGS)

    winner = select_default(grid, metric)
    cells_of = {d: cells for d in params.designs if (cells := grid[grid.design == d])[metric].notna().any()}
    budgets = {d: _list_budgets(rows, cells, metric) for d, cells in cells_of.items()}
    defaults = {d: select_default(cells, metric) for d, cells in cells_of.items()}
    write_json(paths.winner(dataset), {"metric": metric, **_to_plain(winner)})
    write_json(
        paths.eta(dataset),
        {d: {"metric": metric, "default": int(defaults[d]["nfe"]), "budgets": budgets[d]} for d in budgets},
    )
    write_json(
        paths.metrics(dataset),
        {d: _pick_headline(params.kind(dataset), cells, defaults[d], metric) for d, cells in cells_of.items()},
    )
    _write_curves(dataset, grid, metric)
    print(f"{dataset}: {cell_label(winner)}: {metric} {winner[metric]:.3f}")


def summarise(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per cell: the mean of each metric over seeds, and its standard deviation as ``NAME_std``.

    A cell with a seed that failed has no metrics: the mean of those that survived would flatter it.
    """
    cell = [name for name in CELL if name in rows]
    groups = rows.drop(columns=[name for name in LABELS if name in rows]).groupby(cell, sort=False, dropna=False)
    failed = rows.groupby(cell, sort=False, dropna=False).failed.first()
    mean, spread = (table.loc[failed.isna()] for table in (groups.mean(), groups.std(ddof=1)))
    seeds = groups.size().rename("seeds")
    metrics = [mean, spread.add_suffix("_std")] if len(mean.columns) else []  # none where every cell failed
    return pd.concat([seeds, failed, *metrics], axis=1).copy().reset_index()


def _list_budgets(rows: pd.DataFrame, grid: pd.DataFrame, metric: str) -> dict[str, Any]:
    """The best sampler of a design at each number of evaluations, and how far ahead of the paper's own it is."""
    budgets = {}
    for nfe, cells in grid.dropna(subset=[metric]).groupby("nfe"):
        first = rank_cells(cells, metric).iloc[0]
        entry = {
            "sampler": sampler_of(first),
            "tuned": bool(first["tuned"]),
            "mean": first[metric],
            "std": first[f"{metric}_std"],
            "seeds": int(first["seeds"]),
            "samples": int(first["samples"]),
        }
        published = cells[[is_published(solver_of(row)) for _, row in cells.iterrows()]]
        if len(published):
            reference = rank_cells(published, metric).iloc[0]
            ahead, error = paired_difference(rows, first, reference, metric)
            entry["published"] = {
                "sampler": sampler_of(reference),
                "mean": reference[metric],
                "std": reference[f"{metric}_std"],
            }
            entry["difference"], entry["error"] = ahead, error
        budgets[str(nfe)] = _round(entry)
    return budgets


def _pick_headline(kind: Kind, grid: pd.DataFrame, default: pd.Series, metric: str) -> dict[str, Any]:
    values = {name.replace("/", "_"): default[name] for name in kind.headline(default.index) if pd.notna(default[name])}
    ranked = rank_cells(grid, metric).groupby("nfe").head(1).sort_values("nfe")
    at = {f"at_{nfe}": value for nfe, value in zip(ranked.nfe, ranked[metric], strict=True)}
    return _round({"evaluations": int(default["nfe"]), **values, metric.replace("/", "_"): default[metric], "best": at})


def _round(value: Any) -> Any:
    """Six significant digits; None for what is not a number."""
    if isinstance(value, dict):
        return {key: _round(entry) if key != "sampler" else entry for key, entry in value.items()}
    if isinstance(value, float):
        return None if pd.isna(value) else float(f"{value:.6g}")
    return value


def _to_plain(row: pd.Series) -> dict[str, Any]:
    return {str(key): None if pd.isna(value) else value for key, value in row.to_dict().items()}


def _write_curves(dataset: str, grid: pd.DataFrame, metric: str) -> None:
    """What `dvc plots` draws: the best of each solver at each cost, and the best of each eta."""
    measured = grid.dropna(subset=[metric])
    labels = [solver_of(row) for _, row in measured.iterrows()]
    measured = measured.assign(value=measured[metric], spread=measured[f"{metric}_std"])
    measured["series"] = [
        f"{d} {'tuned' if t else s.form.split('(')[0].split(' ')[0]}"
        for d, t, s in zip(measured.design, measured.tuned, labels, strict=True)
    ]
    columns = ["series", "nfe", "value", "spread"]
    lowest = measured.sort_values("value").groupby(["series", "nfe"]).head(1).sort_values(["series", "nfe"])
    write_rows(paths.quality_curve(dataset), lowest[columns], digits=6, exact=SETTINGS)
    with_eta = measured[[s.uses_eta and s.eta_schedule == "constant" for s in labels]]
    series = with_eta.assign(series=with_eta.design + ", " + with_eta.nfe.astype(str) + " evaluations")
    lowest = series.sort_values("value").groupby(["series", "eta"]).head(1).sort_values(["series", "eta"])
    write_rows(paths.eta_curve(dataset), lowest[["series", "eta", "value", "spread"]], digits=6, exact=SETTINGS)
