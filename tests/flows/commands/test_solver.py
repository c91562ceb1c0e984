"""`levy solver show`: the table that a sampler follows."""

import pytest
from typer.testing import CliRunner

from flows.cli import app
from levy_core.base.errors import LevyError
from levy_core.process.schedule import SCHEDULES
from levy_core.sampling.grids import GRIDS
from levy_core.sampling.solver import ETA_SCHEDULES
from levy_core.sampling.steps import DISCRETISATIONS, FAMILIES


def show(*arguments):
    return CliRunner().invoke(app, ["solver", "show", *arguments], env={"COLUMNS": "200"}, catch_exceptions=False)


def test_it_prints_a_row_a_network_evaluation_and_the_scale_that_comes_back():
    done = show(
        "sde-a", "ei-noise", "--alpha", "1.5", "--steps", "400", "--grid", "uniform-log-rho", "--rho-min", "0.01"
    )
    assert done.exit_code == 0
    rows = [line for line in done.stdout.splitlines() if line.startswith("│")]
    assert len(rows) == 400
    assert "it returns scale 1.5" in done.stdout  # the bias of SDE-A: 1.587 from infinitely far


def test_it_draws_the_table(tmp_path):
    done = show("ode", "3m-data", "--steps", "6", "--denoise", "--plot", str(tmp_path / "new" / "table.svg"))
    assert "ends at rho = 0" in done.stdout
    assert "<svg" in (tmp_path / "new" / "table.svg").read_text()


def test_the_posterior_shows_what_its_coefficients_come_from():
    assert "jump" in show("posterior", "--steps", "3").stdout


def test_help_teaches():
    text = CliRunner().invoke(app, ["solver", "show", "--help"], env={"COLUMNS": "200"}).stdout
    for word in ("split-dlim", "3m-data", "karras", "exploding", "y <- keep * y"):
        assert word in text
    # written out, because importing the tables would make --help slow
    for table in (FAMILIES, DISCRETISATIONS, GRIDS, SCHEDULES, ETA_SCHEDULES):
        for name in table:
            assert name in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ode", "rk4"), "unknown discretisation 'rk4'"),
        (("ode", "--schedule", "sine"), "unknown schedule 'sine'"),
        (("ode", "--alpha", "0.9"), "alpha is 0.9"),
        (("ode", "--rho-min", "1000"), "the grid would rise"),
    ],
)
def test_mistakes_are_named(arguments, message):
    with pytest.raises(LevyError, match=message):
        show(*arguments)
