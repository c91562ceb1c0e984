"""A kind of data of one's own: a folder, a section of params.yaml and data, and no other line of code."""

import json
import math
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student

from tests.conftest import ROOT, TINY, Checkout, make_checkout, merged
from tests.support.home import commit

pytestmark = pytest.mark.pipeline
KIND = ROOT / "tests" / "support" / "series_kind"
DATASET, DESIGN, TIMES = "waves", "tedm", 20
SETTINGS = merged(
    TINY,
    {
        "datasets": [DATASET],
        "designs": [DESIGN],
        "data": {DATASET: {"kind": "series", "test_share": 0.25}},
        "models": {DESIGN: {"preset": "tedm", "nu": 4.0}},
        "train": {"balance": 0},  # series have no classes
        "tune": {"steps": [2], "samples": 20, "first": 8, "last": 8},
        "sample": {"grid": {"paper": {"solvers": ["ode"], "discretisations": ["ei-noise"], "steps": [2]}}},
        "evaluate": {"series": {"lags": 6}},
        "compare": {"series": "distance/train"},
        "retrain": {
            "seeds": {"first": 3, "most": 3},
            "n": 64,
            "false_promotion": 0.2,
            "gate": {"series": {"distance/test": "better"}},
        },
    },
)
# What a registered model is asked; the last line of its output is JSON.
ASK = """
import json, sys
from tasks.registry import tracking
mlflow = tracking.connect()
model = mlflow.pyfunc.load_model(sys.argv[1])
drawn = model.predict({"n": 3})
schema = model.metadata.get_output_schema()
print(json.dumps({"dtype": str(drawn.dtype), "values": drawn.tolist(), "promised": schema.inputs[0].to_dict()}))
"""
JUDGE = """
import json, sys
from pathlib import Path
from tasks.params import loading
from tasks.registry.challenge import challenge
folder = Path(sys.argv[2])
print(json.dumps(challenge(loading.load(), sys.argv[1], {"challenger": folder, "champion": folder}).to_mapping()))
"""


def write_series(folder: Path, numbers: range) -> None:
    """A CSV file per series: each value is 0.8 times the one before and Student-t noise, around 15."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        noise = student.rvs(4, size=TIMES, random_state=number)
        values = [noise[0]]
        for shock in noise[1:]:
            values.append(0.8 * values[-1] + shock)
        np.savetxt(folder / f"{number:03d}.csv", 15 + np.array(values))


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Checkout:
    """A checkout to which the folder of the kind, its settings and data were added, and nothing else."""
    checkout = make_checkout(tmp_path_factory.mktemp("series"), SETTINGS)
    shutil.copytree(KIND, checkout.root / "tasks/kinds/series", ignore=shutil.ignore_patterns("__pycache__"))
    write_series(checkout.root / "data" / DATASET, range(48))
    checkout.run(sys.executable, "-m", "dvc", "add", "-q", "data")
    commit(checkout, "series")
    return checkout


@pytest.fixture(scope="module")
def ran(home) -> Checkout:
    """The checkout after `levy run`, with version 1."""
    home.levy("run")
    return home


def last_json(checkout: Checkout, script: str, *arguments: str):
    return json.loads(checkout.run(sys.executable, "-c", script, *arguments).stdout.splitlines()[-1])


def test_nothing_but_the_folder_the_settings_and_the_data_differs(home):
    changed = home.run("git", "diff", "--name-only", "HEAD~1", "HEAD").stdout.split()
    assert {name for name in changed if not name.startswith("tasks/kinds/series/")} == {"data.dvc"}


def test_data_that_are_no_series_are_refused_before_anything_runs(home):
    odd = home.root / "data" / DATASET / "odd.csv"
    for content, message in (("1\n2\n", "has 2 numbers, but 000.csv has 20"), ("1\nx\n", "is no series")):
        odd.write_text(content)
        told = home.levy("check", check=False)
        assert told.returncode == 1
        assert message in told.stderr
    odd.unlink()


@pytest.mark.parametrize("key", ["balance", "class_balancing"])
def test_classes_of_a_kind_without_them_cannot_be_balanced(home, tmp_path, key):
    other = tmp_path / "other.yaml"
    other.write_text(f"train: {{{key}: 1}}\n")
    told = home.levy("check", "--params", str(other), check=False)
    assert told.returncode == 1
    assert (
        f"train.{key} is 1, but waves is of the kind series, which has no classes: set train.{key} to 0" in told.stderr
    )


def test_series_go_from_file_to_registry(ran):
    assert "series" not in ran.levy("check").stderr
    page = (ran.root / "outputs" / DATASET / "report/index.html").read_text()
    assert "Series, real beside generated" in page
    assert "distance from the held-out series" in page
    asked = last_json(ran, ASK, f"models:/levy-{DATASET}@champion")
    drawn = np.array(asked["values"])
    assert (drawn.shape, asked["dtype"]) == ((3, TIMES), "float32")
    assert asked["promised"]["tensor-spec"] == {"dtype": "float32", "shape": [-1, TIMES]}
    assert 5 < np.median(drawn) < 25  # in the units of the data
    metrics = json.loads((ran.root / "outputs" / DATASET / "metrics.json").read_text())
    assert {"distance_train", "distance_test", "best"} <= set(metrics[DESIGN])
    samples = ran.root / "samples"
    ran.levy("sample", str(samples), "--model", f"models:/levy-{DATASET}@champion", "--n", "4")
    assert np.loadtxt(samples / "samples.csv", delimiter=",").shape == (4, TIMES)


def test_the_gate_measures_against_held_out_series(ran):
    models = sorted((ran.root / "mlartifacts").rglob("sampler.json"))
    assert models
    verdict = last_json(ran, JUDGE, DATASET, str(models[-1].parent))
    assert verdict["comparable"]
    (line,) = verdict["lines"]
    assert line["metric"] == "distance/test"
    assert math.isfinite(line["other"])
    assert not verdict["promoted"]  # a model is not better than itself


@pytest.mark.long
def test_new_series_are_trained_on_and_judged(ran):
    commit(ran, "ran")
    write_series(ran.root / "data" / DATASET, range(48, 60))
    told = ran.levy("retrain", DATASET, "--quiet", "0")
    assert "distance/test" in told.stdout
    assert "levy-waves version 2" in told.stdout
