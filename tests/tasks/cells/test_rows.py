"""The grid's tables: rows become solvers again, whichever way they were stored, and the best row is the best."""

import io
import json
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from levy_core.base.errors import LevyError
from levy_core.sampling.solver import Solver
from tasks.cells.selection import (
    SETTINGS,
    cell_label,
    is_published,
    paired_difference,
    rank_cells,
    rows_of_cell,
    sampler_of,
    select_default,
    solver_of,
)
from tasks.cells.tables import read_rows, write_rows
from tasks.cells.tuned import write_tuned
from tasks.compare import compare, summarise
from tasks.evaluate import _read_known_rows
from tasks.page import tables
from tasks.params import plain_yaml
from tasks.params.loading import load
from tasks.runtime import paths
from tests.conftest import ROOT, merged

# Names that look like a number, a truth value, a date or nothing at all to pandas or to a dialect of YAML.
ODD_NAMES = ["1", "007", "1e5", "0x10", "1_000", "True", "false", "NA", "nan", "None", "null", "inf", "2024-01-01"]
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
    table = through_csv(
        pd.DataFrame([{"design": "lim", **asdict(solver), "fid_classes/longtail": 1.5} for solver in SOLVERS])
    )
    for k, solver in enumerate(SOLVERS):
        row = table.iloc[k]
        for form in (row, row.to_dict(), json.loads(json.dumps(row.to_dict()))):
            assert solver_of(form) == solver
            assert sampler_of(form) == asdict(solver)
            assert json.loads(json.dumps(sampler_of(form))) == asdict(solver)  # no numpy scalar is left


def test_a_cell_is_named_with_what_it_cost_which_its_steps_are_not_where_a_guide_asks_twice():
    row = {"design": "lim", **asdict(SOLVERS[0]), "nfe": 40}
    assert cell_label(row) == "lim with SDE-E(0.2) ei-noise, uniform-t, 40 evaluations"


def test_tables_on_disk_keep_the_solver_exactly_and_round_metrics(tmp_path):
    solver = Solver("sde-e", "2m-data", "karras", 7, 1 / 3, "quiet-end", rho_max=1e2 / 3, denoise=True, limit="clamp")
    write_rows(
        tmp_path / "t.csv",
        pd.DataFrame([{"design": "lim", **asdict(solver), "fid_classes/longtail": 2 / 3}]),
        digits=4,
        exact=SETTINGS,
    )
    row = pd.read_csv(tmp_path / "t.csv").iloc[0]
    assert solver_of(row) == solver
    assert row["fid_classes/longtail"] == 0.6667


@given(
    st.lists(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}", fullmatch=True), min_size=1, max_size=4, unique=True),
    st.sampled_from([None, "nan", "NaN at step 3"]),
    st.floats(0.001, 1e3),
)
@example(ODD_NAMES, None, 0.1)
@example(["1"], "NA", 0.1)
def test_any_name_of_a_design_comes_back_as_it_was_written_and_empty_cells_as_missing(
    tmp_path_factory, names, failed, rho
):
    path = tmp_path_factory.getbasetemp() / "names.csv"
    solver = Solver("ode", "2m-data", "karras", 7, rho_max=rho)
    row = {**asdict(solver), "cell": "1e5", "ruler": "007", "failed": failed, "a": 0.5, "b": np.nan}
    write_rows(path, pd.DataFrame([{"design": name, **row} for name in names]), digits=6, exact=SETTINGS)
    rows = read_rows(path)
    assert rows.design.tolist() == names
    assert (rows.cell.tolist(), rows.ruler.tolist()) == (["1e5"] * len(names), ["007"] * len(names))
    assert [solver_of(row) for _, row in rows.iterrows()] == [solver] * len(names)
    assert rows.failed.isna().all() if failed is None else rows.failed.tolist() == [failed] * len(names)
    assert (rows.a == 0.5).all()
    assert rows.b.isna().all()
    assert rows.rho_min.isna().all()


def test_fields_that_a_solver_gains_are_read_by_their_type(monkeypatch):
    monkeypatch.setattr("tasks.cells.selection.Solver", Wider)
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


def test_the_best_has_the_smallest_value_then_the_fewest_evaluations_then_the_first_place():
    grid = pd.DataFrame(
        {
            "design": ["a", "b", "c", "d", "e"],
            "nfe": [20, 20, 10, 20, 5],
            "fid_classes/longtail": [2.0, 1.0, 1.0, 1.0, np.nan],
        }
    )
    assert rank_cells(grid, "fid_classes/longtail").design.tolist() == ["c", "b", "d", "a"]
    with pytest.raises(LevyError, match="no cell of e has a value of fid_classes/longtail: look at the evaluations"):
        rank_cells(grid[grid.design == "e"], "fid_classes/longtail")


@pytest.mark.parametrize("column", [{"fid_classes/longtail": [np.nan] * 3}, {}])
def test_where_nothing_is_left_the_failures_are_named_once_each(column):
    grid = pd.DataFrame(
        {"design": ["a", "a", "b"], "nfe": [5, 10, 5], "failed": ["NaN at step 3", "huge", "huge"], **column}
    )
    with pytest.raises(
        LevyError, match=r"no cell of a, b has a value of fid_classes/longtail \(NaN at step 3; huge\): look at"
    ):
        rank_cells(grid, "fid_classes/longtail")


def cells(*rows):
    return pd.DataFrame(rows, columns=["nfe", "fid_classes/longtail", "fid_classes/longtail_std"])


def test_the_default_is_the_cheapest_cell_within_one_standard_deviation_of_the_best():
    near = cells((50, 1.0, 0.3), (20, 1.29, 0.0), (10, 1.31, 9.0), (20, 1.2, 0.1))
    assert select_default(near, "fid_classes/longtail").tolist() == [20, 1.2, 0.1]  # of equal cost the better
    at_the_edge = cells((50, 1.0, 0.25), (10, 1.25, 0.0))
    assert select_default(at_the_edge, "fid_classes/longtail")["nfe"] == 10
    alone = cells((50, 1.0, 0.3), (10, 1.4, 0.5))  # the spread of the other does not count
    assert select_default(alone, "fid_classes/longtail")["nfe"] == 50
    beaten = cells((5, 1.1, 0.1), (50, 1.3, 0.1))
    assert select_default(beaten, "fid_classes/longtail")["nfe"] == 5
    for broken in (cells((5, np.nan, np.nan), (50, 1.0, 0.1)), cells((50, 1.0, 0.1), (5, np.nan, np.nan))):
        assert select_default(broken, "fid_classes/longtail")["nfe"] == 50


def test_the_default_of_one_seed_is_the_best():
    grid = cells((50, 1.0, np.nan), (10, 1.0001, np.nan), (20, 1.0, np.nan))
    assert select_default(grid, "fid_classes/longtail").tolist()[:2] == [20, 1.0]


def rows_of(values, design="lim", **more):
    """A row a solver and seed; ``values[solver][seed]`` is its metric, a text why it failed."""
    return pd.DataFrame(
        [
            {
                "design": design,
                **asdict(solver),
                "seed": seed,
                "nfe": solver.steps,
                "cell": f"{k}-{seed}",
                "ruler": "r",
                "failed": value if isinstance(value, str) else None,
                "samples": np.nan if isinstance(value, str) else 16.0,
                "fid_classes/longtail": np.nan if isinstance(value, str) else value,
                **more,
            }
            for k, (solver, seeds) in enumerate(values.items())
            for seed, value in seeds.items()
        ]
    )


def test_differences_are_paired_by_seed():
    a, b, alone = SOLVERS
    rows = rows_of({a: {0: 1.0, 1: 12.0, 2: 5.0}, b: {2: 6.5, 0: 2.0, 1: 13.5}, alone: {7: 1.0}})
    rows = pd.concat([rows, rows_of({a: {0: 99.0, 1: 99.0, 2: 99.0}}, design="ddpm")])
    of = [{"design": "lim", **asdict(solver)} for solver in SOLVERS]
    assert rows_of_cell(rows, of[0])["fid_classes/longtail"].tolist() == [1.0, 12.0, 5.0]
    # 1 - 2, 12 - 13.5, 5 - 6.5: mean -4/3, squared deviations 1/9, 1/36, 1/36, so that the error is sqrt(1/6 / 2 / 3)
    for rows_on_disk in (rows, through_csv(rows)):
        assert paired_difference(rows_on_disk, of[0], of[1], "fid_classes/longtail") == pytest.approx(
            (-4 / 3, (1 / 36) ** 0.5)
        )
    assert paired_difference(rows, of[1], of[0], "fid_classes/longtail")[0] == pytest.approx(4 / 3)
    assert paired_difference(rows, of[0], of[0], "fid_classes/longtail") == (0, 0)
    one = rows[rows.seed == 1]
    mean, error = paired_difference(one, of[0], of[1], "fid_classes/longtail")
    assert mean == -1.5
    assert np.isnan(error)
    assert np.isnan(paired_difference(rows, of[0], of[2], "fid_classes/longtail")).all()  # no seed in common


PUBLISHED = [
    Solver(family, discretisation, "uniform-t", 10, 0.2)
    for family in ("sde-a", "sde-e", "ode")
    for discretisation in ("euler-maruyama", "ei-score", "ei-noise")
]


def test_the_papers_own_samplers_are_known_and_what_differs_in_one_thing_is_not_theirs():
    base = asdict(Solver("sde-e", "ei-noise", "uniform-t", 10, 0.2))
    assert all(map(is_published, PUBLISHED))
    for change in (
        {"family": "split-ddim"},
        {"discretisation": "2m-data"},
        {"grid": "karras"},
        {"eta_schedule": "falling"},
        {"rho_max": 20.0},
        {"rho_min": 0.1},
        {"denoise": True},
        {"limit": "clamp"},
    ):
        assert not is_published(Solver(**{**base, **change})), change
    assert is_published(Solver(**{**base, "steps": 7, "eta": 0.9}))


def test_cells_are_summarised_over_seeds():
    grid = summarise(rows_of({solver: {seed: solver.steps + seed for seed in (0, 2)} for solver in SOLVERS}))
    assert [solver_of(row) for row in grid.to_dict("records")] == SOLVERS
    assert grid["fid_classes/longtail"].tolist() == [21, 6, 11]
    assert grid["fid_classes/longtail_std"].tolist() == pytest.approx([2**0.5] * 3)
    assert grid.seeds.tolist() == [2, 2, 2]
    assert grid.nfe.tolist() == [20, 5, 10]
    assert grid.failed.isna().all()
    assert not {"seed", "cell", "ruler", "cell_std", "failed_std"} & set(grid.columns)


def test_a_cell_with_a_failed_seed_has_no_metrics_and_keeps_the_reason():
    a, b, c = SOLVERS
    rows = rows_of({a: {0: 1.0, 1: "NaN at step 3"}, b: {0: 2.0, 1: 4.0}, c: {0: "huge", 1: "huge"}})
    for form in (rows, through_csv(rows)):
        grid = summarise(form)
        assert [solver_of(row) for row in grid.to_dict("records")] == SOLVERS
        assert grid.failed.tolist()[::2] == ["NaN at step 3", "huge"]
        assert pd.isna(grid.failed[1])
        assert grid["fid_classes/longtail"].isna().tolist() == [True, False, True]
        assert grid["fid_classes/longtail_std"].isna().tolist() == [True, False, True]
        assert grid.seeds.tolist() == [2, 2, 2]
        assert solver_of(rank_cells(grid, "fid_classes/longtail").iloc[0]) == b


def test_a_grid_that_failed_altogether_is_told_with_its_reasons():
    rows = rows_of({solver: {0: "NaN at step 3"} for solver in SOLVERS})
    for form in (rows, rows.drop(columns=["samples", "fid_classes/longtail"]), through_csv(rows)):
        with pytest.raises(LevyError, match=r"no cell of lim has a value of fid_classes/longtail \(NaN at step 3\)"):
            rank_cells(summarise(form), "fid_classes/longtail")


METRICS = [
    "fid/balanced",
    "kid/balanced",
    "precision/longtail",
    "recall/longtail",
    "density/longtail",
    "coverage/longtail",
]
METRICS += ["rare_fid/balanced", "rare_coverage/balanced", "rare_share_ratio", "near_train", "tail_error"]


def two_designs():
    return load(ROOT / "params.yaml").model_copy(update={"designs": ["lim", "ddpm"]})


@pytest.fixture
def compared(tmp_path, monkeypatch):
    """What the compare stage makes of two designs: lim with a tuned sampler, ddpm with one seed that failed."""
    monkeypatch.chdir(tmp_path)
    em, ei = (Solver("ode", d, "uniform-t", 10) for d in ("euler-maruyama", "ei-noise"))
    tuned = Solver("ode", "3m-data", "karras", 10, rho_max=20.0, rho_min=0.03, denoise=True)
    dear = Solver("sde-e", "ei-noise", "uniform-t", 50, 0.2)
    values = {em: {0: 3.0, 1: 5.0}, ei: {0: 6.0, 1: 6.0}, tuned: {0: 1.0, 1: 2.0}, dear: {0: 1.2, 1: 1.4}}
    more = dict.fromkeys(METRICS, 1 / 3)
    write_rows(paths.evaluation("digits", "lim"), rows_of(values, **more), digits=8, exact=SETTINGS)
    others = rows_of({em: {0: 9.0, 1: 9.5}, dear: {0: 0.1, 1: "NaN at step 3"}}, design="ddpm", **more)
    write_rows(paths.evaluation("digits", "ddpm"), others, digits=8, exact=SETTINGS)
    write_tuned(paths.tuned("digits", "lim"), {10: {"sampler": asdict(tuned), "score": 1.0, "samples": 9, "trials": 1}})
    write_tuned(paths.tuned("digits", "ddpm"), {})
    compare(two_designs(), "digits")
    return {"em": em, "tuned": tuned, "dear": dear}


def read(path):
    return json.loads(path("digits").read_text())


def test_eta_json_names_the_best_sampler_at_each_cost_and_how_far_ahead_of_the_papers_it_is(compared):
    eta = read(paths.eta)
    assert {design: list(entry["budgets"]) for design, entry in eta.items()} == {"lim": ["10", "50"], "ddpm": ["10"]}
    ten, fifty = eta["lim"]["budgets"].values()
    assert Solver(**ten["sampler"]) == compared["tuned"]
    assert (ten["tuned"], ten["mean"], ten["std"], ten["seeds"], ten["samples"]) == (True, 1.5, 0.707107, 2, 16)
    assert Solver(**ten["published"]["sampler"]) == compared["em"]  # 4 on average, against 6
    assert ten["published"]["mean"] == 4
    assert (ten["difference"], ten["error"]) == (-2.5, 0.5)  # 1 - 3 and 2 - 5
    assert Solver(**fifty["sampler"]) == Solver(**fifty["published"]["sampler"]) == compared["dear"]
    assert (fifty["tuned"], fifty["difference"], fifty["error"]) == (False, 0, 0)
    # 1.3 at 50 evaluations is the smallest mean, and 1.5 at 10 is more than its deviation of 0.14 away
    assert eta["lim"]["default"] == 50
    assert eta["ddpm"]["default"] == 10  # the other cell has a seed that failed, however good the rest is


def test_winner_and_metrics_agree_with_eta_json(compared):
    winner, metrics, grid = read(paths.winner), read(paths.metrics), pd.read_csv(paths.grid("digits"))
    assert (winner["design"], winner["metric"]) == ("lim", "fid_classes/longtail")
    assert winner["fid_classes/longtail"] == pytest.approx(1.3)
    assert solver_of(winner) == compared["dear"]
    assert metrics["lim"]["best"] == {"at_10": 1.5, "at_50": 1.3}
    assert (metrics["lim"]["evaluations"], metrics["lim"]["fid_classes_longtail"]) == (50, 1.3)
    assert metrics["ddpm"]["best"] == {"at_10": 9.25}
    assert grid.tuned.tolist() == [False, False, True, False, False, False]
    assert grid.failed.dropna().tolist() == ["NaN at step 3"]


def test_one_seed_leaves_spread_and_error_empty_in_eta_json(compared):
    rows = pd.read_csv(paths.evaluation("digits", "lim"))
    write_rows(paths.evaluation("digits", "lim"), rows[rows.seed == 0], digits=8, exact=SETTINGS)
    compare(two_designs(), "digits")
    ten = read(paths.eta)["lim"]["budgets"]["10"]
    assert (ten["mean"], ten["std"], ten["error"], ten["difference"]) == (1.0, None, None, -2.0)
    assert "NaN" not in paths.eta("digits").read_text()


def test_designs_whose_names_look_like_something_else_are_compared_and_reported_under_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = plain_yaml.read((ROOT / "params.yaml").read_text())
    models = {name: {"preset": "ddpm"} for name in ODD_NAMES}
    settings = merged(shipped, {"designs": ODD_NAMES, "models": models})
    (tmp_path / "params.yaml").write_text(plain_yaml.write(settings))
    solver, dear = Solver("ode", "ei-noise", "uniform-t", 10), Solver("sde-e", "ei-noise", "uniform-t", 50, 0.2)
    for k, name in enumerate(ODD_NAMES):
        values = {solver: {0: 3.0 + k, 1: 5.0 + k}, dear: {0: 30.0, 1: 30.0}}
        write_rows(
            paths.evaluation("digits", name),
            rows_of(values, name, **dict.fromkeys(METRICS, 0.5)),
            digits=8,
            exact=SETTINGS,
        )
        write_tuned(paths.tuned("digits", name), {})
    compare(load(), "digits")
    grid, eta = read_rows(paths.grid("digits")), read(paths.eta)
    assert read(paths.winner)["design"] == "1"
    assert list(eta) == list(read(paths.metrics)) == sorted(ODD_NAMES)
    for name in ODD_NAMES:
        assert solver_of(select_default(grid[grid.design == name], "fid_classes/longtail")) == solver
    (table,) = tables.tabulate_grid(grid, list(eta), "fid_classes/longtail")
    filled = {design: sum(bool(text) for _, row in rows for text, _ in row) for design, rows in table["blocks"]}
    assert filled == dict.fromkeys(ODD_NAMES, 2)
    assert {row["design"] for row in tables.list_budgets(eta)} == {
        "1",
        min(ODD_NAMES),
    }  # all are alike at 50 evaluations


def test_cells_of_hashes_that_look_like_numbers_or_nothing_are_known_again(tmp_path):
    rows = rows_of({SOLVERS[0]: {0: 1.0}, SOLVERS[1]: {0: 2.0}})
    rows["cell"], rows["ruler"] = ["NA", "1e5"], "null"
    write_rows(tmp_path / "t.csv", rows, digits=8, exact=SETTINGS)
    known = _read_known_rows(tmp_path / "t.csv", "null")
    assert {cell: row["fid_classes/longtail"] for cell, row in known.items()} == {"NA": 1.0, "1e5": 2.0}
