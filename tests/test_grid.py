"""The grid's tables: rows become solvers again, whichever way they were stored, and the best row is the best."""

import io
import json
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import pytest

from levy_core.errors import LevyError
from levy_core.solver import Solver
from tasks.compare import summarise
from tasks.grid import best, cell_label, sampler_of, solver_of, write_rows

SOLVERS = [
    Solver("sde-e", "ei-noise", "uniform-t", 20, 0.2),
    Solver("ode", "euler-maruyama", "uniform-log-rho", 5),
    Solver("sde-a", "ei-score", "uniform-t", 10),
]


@dataclass(frozen=True)
class Wider(Solver):
    """A solver of a later version."""

    corrected: bool = False
    order: int | None = None
    strength: float | None = 0.5


def through_csv(table):
    return pd.read_csv(io.StringIO(table.to_csv(index=False)))


def test_rows_of_tables_and_of_json_become_the_solvers_that_wrote_them():
    table = through_csv(pd.DataFrame([{"design": "lim", **asdict(solver), "fid/longtail": 1.5} for solver in SOLVERS]))
    for k, solver in enumerate(SOLVERS):
        row = table.iloc[k]
        for form in (row, row.to_dict(), json.loads(json.dumps(row.to_dict()))):
            assert solver_of(form) == solver
            assert sampler_of(form) == asdict(solver)
            assert json.loads(json.dumps(sampler_of(form))) == asdict(solver)  # no numpy scalar is left
    assert cell_label(table.iloc[0]) == "lim with SDE-E(0.2) ei-noise, uniform-t, 20 evaluations"


def test_tables_on_disk_keep_the_solver_exactly_and_round_metrics(tmp_path):
    solver = Solver("sde-e", "2m-data", "karras", 7, 1 / 3, "quiet-end", rho_max=1e2 / 3, denoise=True, limit="clamp")
    write_rows(tmp_path / "t.csv", pd.DataFrame([{"design": "lim", **asdict(solver), "fid/longtail": 2 / 3}]), digits=4)
    row = pd.read_csv(tmp_path / "t.csv").iloc[0]
    assert solver_of(row) == solver
    assert row["fid/longtail"] == 0.6667


def test_fields_that_a_solver_gains_are_read_by_their_type(monkeypatch):
    monkeypatch.setattr("tasks.grid.Solver", Wider)
    wide = [
        Wider("ode", "ei-noise", "uniform-t", 5, corrected=True, order=2, strength=0.1),
        Wider("ode", "ei-noise", "uniform-t", 5, corrected=False, order=None, strength=0.5),
    ]
    table = through_csv(pd.concat([pd.DataFrame([asdict(s) for s in wide]), pd.DataFrame([asdict(SOLVERS[0])])]))
    assert table.order.dtype == float  # whole numbers beside empty cells
    assert [solver_of(table.iloc[k]) for k in range(3)] == [*wide, Wider(**asdict(SOLVERS[0]))]
    plain = sampler_of(table.iloc[0])
    assert [type(plain[name]) for name in ("steps", "eta", "corrected", "order", "strength")] == [
        int,
        float,
        bool,
        int,
        float,
    ]
    for value, truth in ((np.True_, True), ("False", False), (1.0, True), (0, False), (None, False)):
        assert solver_of({**asdict(SOLVERS[0]), "corrected": value}).corrected is truth
    assert solver_of(asdict(SOLVERS[0])) == Wider(**asdict(SOLVERS[0]))  # a table without the new columns


def test_unknown_names_in_a_row_are_refused():
    with pytest.raises(LevyError, match="unknown solver 'rk9'"):
        solver_of({**asdict(SOLVERS[0]), "family": "rk9"})


def test_the_best_has_the_smallest_value_then_the_fewest_steps_then_the_first_place():
    grid = pd.DataFrame(
        {
            "design": ["a", "b", "c", "d", "e"],
            "steps": [20, 20, 10, 20, 5],
            "fid/longtail": [2.0, 1.0, 1.0, 1.0, np.nan],
        }
    )
    assert best(grid, "fid/longtail").design.tolist() == ["c", "b", "d", "a"]
    with pytest.raises(LevyError, match="no cell of e has a value of fid/longtail"):
        best(grid[grid.design == "e"], "fid/longtail")


def test_cells_are_summarised_over_seeds():
    rows = [
        {"design": "lim", **asdict(solver), "seed": seed, "fid/longtail": solver.steps + seed}
        for solver in SOLVERS
        for seed in (0, 2)
    ]
    grid = summarise(pd.DataFrame(rows))
    assert [solver_of(row) for row in grid.to_dict("records")] == SOLVERS
    assert grid["fid/longtail"].tolist() == [21, 6, 11]
    assert grid["fid/longtail_std"].tolist() == pytest.approx([2**0.5] * 3)
    assert grid.seeds.tolist() == [2, 2, 2]
