"""The table of what helps: which rows, in which order, and what is best."""

from dataclasses import asdict
from math import nan

import pandas as pd
import pytest

from levy_core.base.measure import Measure
from levy_core.process.design import Design
from levy_core.sampling.solver import Solver
from tasks.page.contrasts import list_contrasts, tabulate_contrasts

DESIGNS = {
    name: Design.from_mapping(settings)
    for name, settings in {
        "edm": {"preset": "edm"},
        "ddpm": {"preset": "ddpm"},
        "tedm": {"preset": "tedm"},
        "heavier": {"preset": "tedm", "nu": 3.0},
        "lim": {"preset": "lim"},
        "lim-gaussian": {"preset": "lim", "alpha": 2.0},
    }.items()
}
PLAIN = Solver("ode", "ei-noise", "karras", 10)
GUIDED = Solver("ode", "ei-noise", "karras", 10, guide="classifier-free", strength=1.53)


def grid_of(rows):
    """A grid of (design, solver, FID, rare share)."""
    table = [
        {
            "design": d,
            **asdict(solver),
            "nfe": 10,
            "fid/longtail": fid,
            "fid/longtail_std": 0.1,
            "share": share,
            "share_std": nan,
        }
        for d, solver, fid, share in rows
    ]
    return pd.DataFrame(table)


def test_a_twin_follows_its_heavy_tailed_designs_and_names_them():
    grid = grid_of([(name, PLAIN, 1.0, 1.0) for name in DESIGNS])
    found = list_contrasts(grid, DESIGNS, "fid/longtail")
    assert [(c.design, c.twin_of, c.noise) for c in found] == [
        ("ddpm", (), "Gaussian"),
        ("tedm", (), "Student-t, nu 4"),
        ("edm", ("tedm", "heavier"), "Gaussian"),
        ("heavier", (), "Student-t, nu 3"),
        ("lim", (), "alpha-stable, alpha 1.8"),
        ("lim-gaussian", ("lim",), "Gaussian (alpha 2)"),
    ]
    assert {c.minimiser for c in found} == {"the conditional mean"}


def test_each_guide_has_a_row_the_default_sampler_among_them():
    worse = Solver("ode", "ei-noise", "uniform-t", 10)
    rows = [("edm", worse, 3.0, 1.0), ("edm", PLAIN, 2.0, 1.0), ("edm", GUIDED, 1.0, 1.0), ("ddpm", PLAIN, nan, nan)]
    found = list_contrasts(grid_of(rows), {"edm": DESIGNS["edm"]}, "fid/longtail")
    assert [(c.guide, c.is_default, c.cell["fid/longtail"]) for c in found] == [
        ("none", False, 2.0),
        ("classifier-free 1.5", True, 1.0),
    ]


@pytest.mark.parametrize("good", ["low", "one"])
def test_the_best_of_a_column_is_what_its_measure_calls_good_and_what_is_missing_is_never_best(good):
    grid = grid_of([("edm", PLAIN, 1.0, 0.4), ("edm", GUIDED, 2.0, 0.9), ("ddpm", PLAIN, 3.0, nan)])
    found = list_contrasts(grid, {name: DESIGNS[name] for name in ("edm", "ddpm")}, "fid/longtail")
    measures = (Measure("fid", "low"), Measure("share", good))
    rows = tabulate_contrasts(found, [("FID", "fid/longtail"), ("share", "share")], measures)
    assert [cells for _, cells in rows] == [
        [("1 ± 0.1", True), ("0.4", good == "low")],
        [("2 ± 0.1", False), ("0.9", good == "one")],
        [("3 ± 0.1", False), ("–", False)],
    ]
