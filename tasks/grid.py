"""Rows of the grid's tables: the solver that a row is of, its name, and which row is best.

A row comes from a table in memory, from a CSV or from JSON; so numbers may be numpy's, whole numbers may stand as 20.0
(beside empty cells), truth as text, and what is empty is NaN or None.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pandas as pd

from levy_core.errors import LevyError
from levy_core.files import replacing
from levy_core.solver import Solver
from tasks import paths

Row = Mapping[Any, Any] | pd.Series

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
    named = [field.name for field in fields(Solver) if field.name in row and pd.notna(row[field.name])]
    return Solver(**{name: _plain(row[name], kinds[name]) for name in named})


def _plain(value: Any, kind: Any) -> Any:
    """``value`` as the type of its field; of ``int | None`` that is int."""
    readers = [READERS[k] for k in (kind, *get_args(kind)) if k in READERS]
    return readers[0](value) if readers else value


def sampler_of(row: Row) -> dict[str, Any]:
    """The solver of a row as JSON."""
    return asdict(solver_of(row))


def cell_label(row: Row) -> str:
    """One cell of the grid in a line of text."""
    solver = solver_of(row)
    return f"{row['design']} with {solver.label}, {solver.grid}, {solver.steps} evaluations"


def write_rows(path: Path, rows: pd.DataFrame, digits: int) -> None:
    """A CSV in one piece: metrics rounded to significant digits, what names the solver kept exactly."""
    exact = {field.name for field in fields(Solver)}
    rounded = {
        name: values if name in exact or values.dtype.kind != "f" else values.map(lambda v: float(f"{v:.{digits}g}"))
        for name, values in rows.items()
    }
    with replacing(path) as temporary:
        pd.DataFrame(rounded).to_csv(temporary, index=False)


def best(grid: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The cells that have a value of ``metric``, best first; ties go to fewer steps, then to the order of the table.

    Raises:
        LevyError: no cell has one.
    """
    ranked = grid.dropna(subset=[metric]).sort_values([metric, "steps"], kind="stable")
    if ranked.empty:
        designs = ", ".join(map(str, grid.design.unique()))
        raise LevyError(f"no cell of {designs} has a value of {metric}: look at the evaluations under {paths.OUTPUTS}/")
    return ranked
