"""The report's tables as plain values: texts, and what is best."""

from typing import Any

import pandas as pd

from levy_core.sampling.solver import Solver
from levy_core.sampling.steps import FAMILIES
from tasks.cells.selection import is_published, rank_cells, solver_of
from tasks.cells.tables import metric_name


def format_mean(cell: pd.Series, key: str, factor: float = 1) -> str:
    """Mean and spread over seeds as text."""
    if pd.isna(cell[key]):
        return "not known"
    spread = cell[f"{key}_std"]
    return f"{cell[key] * factor:.3g}" + (f" ± {spread * factor:.2g}" if pd.notna(spread) else "")


def list_budgets(eta: dict[str, Any]) -> list[dict[str, Any]]:
    """For each number of evaluations the best design and sampler, and how far ahead of the paper's best it is."""
    rows = []
    for nfe in sorted({int(n) for entry in eta.values() for n in entry["budgets"]}):
        budgets = {d: entry["budgets"][str(nfe)] for d, entry in eta.items() if str(nfe) in entry["budgets"]}
        design = min(budgets, key=lambda d: budgets[d]["mean"])
        entry = budgets[design]
        rows.append(
            {
                "nfe": nfe,
                "design": design,
                "sampler": Solver(**entry["sampler"]).label,
                "tuned": entry["tuned"],
                "value": _format_spread(entry["mean"], entry["std"]),
                "published": _describe_published(entry),
                "ahead": _describe_lead(entry),
                "seeds": entry["seeds"],
                "samples": entry["samples"],
            }
        )
    return rows


def _format_spread(mean: float, std: float | None) -> str:
    return f"{mean:.3g}" + (f" ± {std:.2g}" if std is not None else "")


def _describe_published(entry: dict[str, Any]) -> str:
    if "published" not in entry:
        return "not in the grid"
    published = entry["published"]
    return f"{_format_spread(published['mean'], published['std'])} ({Solver(**published['sampler']).form})"


def _describe_lead(entry: dict[str, Any]) -> str:
    if "difference" not in entry:
        return ""
    if entry["difference"] == 0:
        return "it is the paper's"
    error = f" ± {entry['error']:.2g}" if entry["error"] is not None else ""
    return f"{-entry['difference']:.3g}{error}"


def list_cheaper_than_published(eta: dict[str, Any], grid: pd.DataFrame, metric: str) -> list[str]:
    """For each design: the fewest evaluations at which its best sampler is no worse than the paper's best at any number."""
    lines = []
    for design, entry in eta.items():
        cells = grid[(grid.design == design) & grid[metric].notna()]
        published = cells[[is_published(solver_of(row)) for _, row in cells.iterrows()]]
        if published.empty:
            continue
        reference = rank_cells(published, metric).iloc[0]
        enough = [int(nfe) for nfe, budget in entry["budgets"].items() if budget["mean"] <= reference[metric]]
        if enough and min(enough) < reference["nfe"]:
            lines.append(
                f"{design}: {min(enough)} evaluations do what the paper's samplers do with {int(reference['nfe'])} "
                f"({entry['budgets'][str(min(enough))]['mean']:.3g} against {reference[metric]:.3g})"
            )
    return lines


def make_card(design: str, cell: pd.Series, metric: str) -> dict[str, str]:
    """A design's score at a glance."""
    spread, solver = cell[f"{metric}_std"], solver_of(cell)
    return {
        "title": f"{design}: {metric_name(metric)}",
        "value": f"{cell[metric]:.3g}",
        "unit": f"± {spread:.2g}" if pd.notna(spread) else "one seed",
        "text": f"{solver.form}, {int(cell['nfe'])} evaluations",
    }


def tabulate_grid(grid: pd.DataFrame, designs: list[str], metric: str) -> list[dict[str, Any]]:
    """The grid as the paper prints it, one table per path of levels: one row per family and eta, one column per discretisation and cost."""
    solvers = pd.Series([solver_of(row) for _, row in grid.iterrows()], index=grid.index)
    named = pd.DataFrame(
        {"path": solvers.map(lambda s: s.path), "row": solvers.map(lambda s: s.form.rsplit(" ", 1)[0])}
    )
    fixed = pd.concat([grid, named], axis=1)[~grid.tuned | solvers.map(is_published)]
    return [_tabulate_path(part, designs, metric, str(path)) for path, part in fixed.groupby("path", sort=False)]


def _tabulate_path(part: pd.DataFrame, designs: list[str], metric: str, path: str) -> dict[str, Any]:
    columns = sorted({(str(row["discretisation"]), int(row["nfe"])) for _, row in part.iterrows()})
    order = {family: k for k, family in enumerate(FAMILIES)}
    names = list(
        dict.fromkeys(part.sort_values(["family", "eta"], key=lambda v: v.map(order) if v.name == "family" else v).row)
    )
    blocks = []
    for design in designs:
        of_design = part[part.design == design]
        cells = {(row["row"], row["discretisation"], int(row["nfe"])): row for _, row in of_design.iterrows()}
        lowest = {
            c: min((r[metric] for k, r in cells.items() if k[1:] == c and pd.notna(r[metric])), default=None)
            for c in columns
        }
        rows = [(name, [_format_cell(cells.get((name, *c)), metric, lowest[c]) for c in columns]) for name in names]
        blocks.append((design, rows))
    return {"path": path, "columns": [f"{form}, {nfe}" for form, nfe in columns], "blocks": blocks}


def _format_cell(cell: pd.Series | None, metric: str, lowest: float | None) -> tuple[str, bool]:
    if cell is None:  # a form that the solver does not have
        return "", False
    if isinstance(cell["failed"], str):
        return "failed", False
    return format_mean(cell, metric), cell[metric] == lowest


def tabulate_measures(
    cells: dict[str, pd.Series], designs: list[str], named: list[tuple[str, str, float]]
) -> list[tuple[str, list[str]]]:
    """The measures of each design's default sampler: name for people, one text per design; those that were not measured are left out."""
    return [
        (name, [format_mean(cells[d], key, factor) for d in designs])
        for name, key, factor in named
        if all(key in cells[d] for d in designs)
    ]
