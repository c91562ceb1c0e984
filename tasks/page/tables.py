"""The report's tables as plain values: texts, and what is best."""

from typing import Any

import pandas as pd

from levy_core.sampling.solver import Solver
from levy_core.sampling.steps import FAMILIES
from tasks.cells.selection import best, is_published, solver_of
from tasks.cells.tables import metric_name


def pm(cell: pd.Series, key: str, factor: float = 1) -> str:
    """Mean and spread over seeds as text."""
    if pd.isna(cell[key]):
        return "too few samples"
    spread = cell[f"{key}_std"]
    return f"{cell[key] * factor:.3g}" + (f" ± {spread * factor:.2g}" if pd.notna(spread) else "")


def budgets(eta: dict[str, Any]) -> list[dict[str, Any]]:
    """For each number of evaluations the best design and sampler, and how far ahead of the paper's best it is."""
    rows = []
    for nfe in sorted({int(n) for entry in eta.values() for n in entry["budgets"]}):
        found = {d: entry["budgets"][str(nfe)] for d, entry in eta.items() if str(nfe) in entry["budgets"]}
        design = min(found, key=lambda d: found[d]["mean"])
        entry = found[design]
        rows.append(
            {
                "nfe": nfe,
                "design": design,
                "sampler": Solver(**entry["sampler"]).label,
                "tuned": entry["tuned"],
                "value": _with_spread(entry["mean"], entry["std"]),
                "published": _published(entry),
                "ahead": _ahead(entry),
                "seeds": entry["seeds"],
                "samples": entry["samples"],
            }
        )
    return rows


def _with_spread(mean: float, std: float | None) -> str:
    return f"{mean:.3g}" + (f" ± {std:.2g}" if std is not None else "")


def _published(entry: dict[str, Any]) -> str:
    if "published" not in entry:
        return "not in the grid"
    other = entry["published"]
    return f"{_with_spread(other['mean'], other['std'])} ({Solver(**other['sampler']).form})"


def _ahead(entry: dict[str, Any]) -> str:
    if "difference" not in entry:
        return ""
    if entry["difference"] == 0:
        return "it is the paper's"
    error = f" ± {entry['error']:.2g}" if entry["error"] is not None else ""
    return f"{-entry['difference']:.3g}{error}"


def overtaken(eta: dict[str, Any], grid: pd.DataFrame, metric: str) -> list[str]:
    """For each design: the fewest evaluations at which its best sampler is no worse than the paper's best at any number."""
    lines = []
    for design, entry in eta.items():
        mine = grid[(grid.design == design) & grid[metric].notna()]
        published = mine[[is_published(solver_of(row)) for _, row in mine.iterrows()]]
        if published.empty:
            continue
        other = best(published, metric).iloc[0]
        enough = [int(nfe) for nfe, found in entry["budgets"].items() if found["mean"] <= other[metric]]
        if enough and min(enough) < other["nfe"]:
            lines.append(
                f"{design}: {min(enough)} evaluations do what the paper's samplers do with {int(other['nfe'])} "
                f"({entry['budgets'][str(min(enough))]['mean']:.3g} against {other[metric]:.3g})"
            )
    return lines


def card(design: str, cell: pd.Series, metric: str) -> dict[str, str]:
    """A design's score at a glance."""
    spread, solver = cell[f"{metric}_std"], solver_of(cell)
    return {
        "title": f"{design}: {metric_name(metric)}",
        "value": f"{cell[metric]:.3g}",
        "unit": f"± {spread:.2g}" if pd.notna(spread) else "one seed",
        "text": f"{solver.form}, {int(cell['nfe'])} evaluations",
    }


def papers_form(grid: pd.DataFrame, designs: list[str], metric: str) -> list[dict[str, Any]]:
    """Tables of the paper's form, one a path of levels: a row a family and eta, a column a discretisation and number of evaluations."""
    solvers = pd.Series([solver_of(row) for _, row in grid.iterrows()], index=grid.index)
    named = pd.DataFrame(
        {"path": solvers.map(lambda s: s.path), "row": solvers.map(lambda s: s.form.rsplit(" ", 1)[0])}
    )
    fixed = pd.concat([grid, named], axis=1)[~grid.tuned | solvers.map(is_published)]
    return [_table(part, designs, metric, str(path)) for path, part in fixed.groupby("path", sort=False)]


def _table(part: pd.DataFrame, designs: list[str], metric: str, path: str) -> dict[str, Any]:
    columns = sorted({(str(row["discretisation"]), int(row["nfe"])) for _, row in part.iterrows()})
    order = {family: k for k, family in enumerate(FAMILIES)}
    names = list(
        dict.fromkeys(part.sort_values(["family", "eta"], key=lambda v: v.map(order) if v.name == "family" else v).row)
    )
    blocks = []
    for design in designs:
        mine = part[part.design == design]
        cells = {(row["row"], row["discretisation"], int(row["nfe"])): row for _, row in mine.iterrows()}
        lowest = {
            c: min((r[metric] for k, r in cells.items() if k[1:] == c and pd.notna(r[metric])), default=None)
            for c in columns
        }
        rows = [(name, [_entry(cells.get((name, *c)), metric, lowest[c]) for c in columns]) for name in names]
        blocks.append((design, rows))
    return {"path": path, "columns": [f"{form}, {nfe}" for form, nfe in columns], "blocks": blocks}


def _entry(cell: pd.Series | None, metric: str, lowest: float | None) -> tuple[str, bool]:
    if cell is None:  # a form that the solver does not have
        return "", False
    if isinstance(cell["failed"], str):
        return "failed", False
    return pm(cell, metric), cell[metric] == lowest


def measures(
    cells: dict[str, pd.Series], designs: list[str], named: list[tuple[str, str, float]]
) -> list[tuple[str, list[str]]]:
    """The measures of each design's default sampler: name for people, one text per design; those that were not measured are left out."""
    return [
        (name, [pm(cells[d], key, factor) for d in designs])
        for name, key, factor in named
        if all(key in cells[d] for d in designs)
    ]
