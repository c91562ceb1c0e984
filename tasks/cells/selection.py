"""Rows of the grid's tables as samplers: the solver that a row is of, its name, and which row is best.

A row comes from a table in memory, from a CSV or from JSON; so numbers may be numpy's, whole numbers may stand as 20.0
(beside empty cells), truth as text, and what is empty is NaN or None.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from typing import Any, get_args, get_type_hints

import pandas as pd

from levy_core.base.errors import LevyError
from levy_core.sampling.solver import Solver
from tasks.runtime import paths

Row = Mapping[Any, Any] | pd.Series

SETTINGS = tuple(field.name for field in fields(Solver))  # columns that name the solver

# bool("False") is true, so that truth is read from its text.
READERS: dict[type, Callable[[Any], Any]] = {
    bool: lambda value: str(value).lower() in ("true", "1", "1.0"),
    int: int,
    float: float,
}


def solver_of(row: Row) -> Solver:
    """The solver of a row, in plain Python values. A field that the row lacks or leaves empty takes its default.

    Raises:
        LevyError: a name that is unknown or a number out of range.
    """
    kinds = get_type_hints(Solver)
    present = [field.name for field in fields(Solver) if field.name in row and pd.notna(row[field.name])]
    return Solver(**{name: _to_plain(row[name], kinds[name]) for name in present})


def _to_plain(value: Any, kind: Any) -> Any:
    """``value`` as the type of its field; of ``int | None`` that is int."""
    readers = [READERS[k] for k in (kind, *get_args(kind)) if k in READERS]
    return readers[0](value) if readers else value


def sampler_of(row: Row) -> dict[str, Any]:
    """The solver of a row as JSON."""
    return asdict(solver_of(row))


def cell_label(row: Row) -> str:
    """One cell of the grid in a line of text."""
    return f"{row['design']} with {solver_of(row).label}, {int(row['nfe'])} evaluations"


def rank_cells(grid: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The cells that have a value of ``metric``, best first; ties go to fewer evaluations, then to the order of the table.

    Raises:
        LevyError: no cell has one.
    """
    ranked = grid.dropna(subset=[metric]) if metric in grid else grid[:0]  # no column where every cell failed
    if ranked.empty:
        designs = ", ".join(map(str, grid.design.unique()))
        why = "; ".join(sorted(set(grid.failed.dropna()))[:3]) if "failed" in grid else ""
        raise LevyError(
            f"no cell of {designs} has a value of {metric}{f' ({why})' * bool(why)}: look at the evaluations under {paths.OUTPUTS}/"
        )
    return ranked.sort_values([metric, "nfe"], kind="stable")


def select_default(grid: pd.DataFrame, metric: str) -> pd.Series:
    """The cell with the fewest evaluations among those within one standard deviation of the best; of equals the better.

    Source: the one-standard-error rule of model selection (Breiman et al., 1984), with the spread over seeds.
    """
    ranked = rank_cells(grid, metric)
    spread = ranked.iloc[0][f"{metric}_std"]
    near = ranked[ranked[metric] <= ranked.iloc[0][metric] + (0.0 if pd.isna(spread) else spread)]
    return near.sort_values(["nfe", metric], kind="stable").iloc[0]


def rows_of_cell(rows: pd.DataFrame, cell: Row) -> pd.DataFrame:
    """The rows of ``cell``'s design and solver."""
    wanted = solver_of(cell)
    of_design = rows[rows.design == cell["design"]]
    return of_design[[solver_of(row) == wanted for _, row in of_design.iterrows()]]


def paired_difference(rows: pd.DataFrame, a: Row, b: Row, metric: str) -> tuple[float, float]:
    """Mean of ``metric`` of cell a less that of b, paired by seed, and its standard error (NaN with one seed).

    Equal seeds start from equal noise: the pairs share what the draw of the noise adds to both.
    """
    pairs = [rows_of_cell(rows, cell).set_index("seed")[metric] for cell in (a, b)]
    values = (pairs[0] - pairs[1]).dropna()
    return float(values.mean()), float(values.std(ddof=1) / max(1, len(values)) ** 0.5)


def is_published(solver: Solver) -> bool:
    """Whether a solver is one of the paper's: SDE-A, SDE-E, ODE by Euler-Maruyama or exponential integrator, uniform in t."""
    return (
        solver.family in ("sde-a", "sde-e", "ode")
        and solver.discretisation in ("euler-maruyama", "ei-score", "ei-noise")
        and solver.path == "uniform-t"
        and solver.eta_schedule == "constant"
    )
