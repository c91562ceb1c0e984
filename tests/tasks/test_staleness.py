"""Stages are stale by rooms: dvc.yaml declares those that a stage's code lies in, no others, and DVC says so."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from levy_core.base.code import closure
from tasks.kinds.kind import kind_names
from tests.conftest import ROOT, Checkout
from tests.support.outputs import finished_checkout

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
MOST = 64  # declared dependencies on code: more is a file that nobody reviews

# Modules of a kind's folder that its functions import late, by the stage that calls them; not every kind has all.
PARTS = {
    "prepare": ("data",),
    "reference": ("metrics",),
    "train": ("training",),
    "tune": ("metrics", "correction", "corrected"),
    "sample": ("corrected",),
    "observe": ("held_out", "training"),
    "evaluate": ("metrics",),
    "compare": ("measures",),
    "report": ("page",),
}
# Code that a stage imports and dvc.yaml need not name, and why.
EXEMPT = {
    "tasks.runtime": "how a stage starts, where it reads and writes, and what it prints: none of it is in a result",
    "tasks.params.schema": "accepts or refuses params.yaml, whose values DVC compares itself",
    "tasks.params.sections": "as the schema; its defaults are those of stages that name tasks/params",
    "tasks.params.training": "as the sections",
}


def modules_in(package: str) -> list[str]:
    """The modules of a package, or the one module of this name."""
    folder = ROOT / package.replace(".", "/")
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    return [".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files]


def files_of(stage: str) -> set[Path]:
    """The files of the code that runs in a stage, without what is exempt and what only that imports."""
    exempt = [module for package in EXEMPT for module in modules_in(package)]
    kinds = [f"tasks.kinds.{kind}" for kind in kind_names()]  # each names all parts, and calls one
    parts = [
        f"{kind}.{part}"
        for kind in kinds
        for part in PARTS[stage]
        if (ROOT / kind.replace(".", "/") / f"{part}.py").exists()
    ]
    reached = closure(f"tasks.{stage}", *kinds, *parts, leaves=[*exempt, *kinds])
    named = [module.replace(".", "/") for module in reached if module not in exempt]
    return {Path(name, "__init__.py") if (ROOT / name).is_dir() else Path(f"{name}.py") for name in named}


def declared(stage: str) -> list[Path]:
    return [Path(dep) for dep in STAGES[stage]["deps"] if dep.startswith(("levy_core", "tasks"))]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_the_rooms_of_all_code_that_it_runs_and_no_others(stage):
    files, rooms = files_of(stage), declared(stage)
    assert len(files) > 5
    undeclared = sorted(str(file) for file in files if not any(file.is_relative_to(room) for room in rooms))
    assert undeclared == []
    unreached = [str(room) for room in rooms if not any(file.is_relative_to(room) for file in files)]
    assert unreached == []
    assert all((ROOT / room).exists() for room in rooms)


def test_what_is_declared_can_be_reviewed():
    assert set(PARTS) == set(STAGES)
    assert sum(len(declared(stage)) for stage in STAGES) <= MOST
    assert all(modules_in(package) for package in EXEMPT)


# file in which a line changes -> stages that DVC runs again for it
ALL = "prepare reference train tune sample observe evaluate compare report"
STALE = {
    "levy_core/base/seeds.py": ALL,
    "levy_core/datasets/images/longtail.py": "prepare reference train tune sample observe evaluate report",
    "levy_core/metrics/images/manifold.py": "prepare reference tune observe evaluate report",
    "levy_core/nets/unet.py": "train tune sample observe report",
    "levy_core/observations/guides.py": "train tune sample observe report",
    "levy_core/process/noise.py": "train tune sample observe compare report",
    "levy_core/sampling/search.py": "tune sample observe compare report",
    "levy_core/training/trainer.py": "train tune sample observe report",
    "levy_core/serving/registered.py": "tune sample observe report",  # which name the whole core, because they use seven of its nine rooms
    "levy_core/__init__.py": "tune observe report",
    "tasks/cells/selection.py": "tune sample observe evaluate compare report",
    "tasks/kinds/images/page.py": ALL,
    "tasks/kinds/fields/page.html.j2": ALL,
    "tasks/page/figures.py": "report",
    "tasks/page/report.html.j2": "report",
    "tasks/params/resolution.py": "train tune sample observe",
    "tasks/params/schema.py": "train tune sample observe",
    "tasks/registry/record.py": "",
    "tasks/observing/cases.py": "observe",
    "tasks/tuning/scores.py": "tune",
    "tasks/training/resume.py": "train",
    "tasks/runtime/stage.py": "",
    "tasks/runtime/checksums.py": "",
    "tasks/__main__.py": "",
    **{f"tasks/{stage}.py": stage for stage in ALL.split()},
    "flows/pipeline/flow.py": "",
    "tests/conftest.py": "",
    "docs/pipeline.md": "",
}


def test_the_table_has_a_file_of_every_room():
    rooms = {path.parent for top in ("levy_core", "tasks") for path in (ROOT / top).glob("*/__init__.py")}
    assert {room.relative_to(ROOT) for room in rooms} <= {Path(*Path(file).parts[:2]) for file in STALE}


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Checkout:
    return finished_checkout(tmp_path_factory, "staleness")


# A line more in each file, and what `dvc status --json` finds then, by a repository opened anew: in one process, of which
# DVC's imports take most of the time.
EACH = """
import json, sys
from pathlib import Path
from dvc.repo import Repo

for name in json.loads(sys.argv[1]):
    before = Path(name).read_bytes()
    Path(name).write_bytes(before + b"\\n# a remark\\n")
    with Repo() as repo:
        print(json.dumps([name, sorted(repo.status())]))
    Path(name).write_bytes(before)
"""


@pytest.fixture(scope="module")
def stale(ran) -> dict[str, set[str]]:
    """The stages that are stale after a line more in a file of the table."""
    told = ran.run(sys.executable, "-c", EACH, json.dumps(list(STALE))).stdout
    found = dict(map(json.loads, told.splitlines()))
    return {file: {name.partition("@")[0] for name in names} for file, names in found.items()}


@pytest.mark.pipeline
def test_nothing_is_stale_where_nothing_changed(ran):
    assert json.loads(ran.run(sys.executable, "-m", "dvc", "status", "--json").stdout) == {}


@pytest.mark.pipeline
@pytest.mark.parametrize("file", STALE)
def test_a_changed_line_makes_stale_what_the_table_says(stale, file):
    assert stale[file] == set(STALE[file].split())
