"""A registered model opens in anybody's process: by MLflow and by `levy sample`, whichever of the two names its loader goes by."""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from levy_core.base.files import write_json
from levy_core.nets.unet import UNetConfig
from levy_core.sampling.solver import Solver
from levy_core.serving.requests import SAMPLER
from tasks.registry import tracking
from tasks.registry.download import LOADERS
from tests.conftest import ROOT, save_untrained
from tests.support.databases import put_database

NOW, BEFORE = LOADERS
TOOLS = ("DO_NOT_TRACK", "DVC_", "HF_", "LEVY_", "MLFLOW_", "PREFECT_")
DRAW = """
import json
import os

before = dict(os.environ)
import sys

import mlflow
import numpy as np

np.save("drawn.npy", mlflow.pyfunc.load_model(sys.argv[1]).predict([{"n": 3, "class": "b", "seed": 4}]))
changed = sorted(name for name, _ in set(os.environ.items()) ^ set(before.items()))
print(json.dumps({"changed": changed, "loaded": sorted({"tasks", "flows"} & set(sys.modules))}))
"""


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """The address of a record with one model of 8 x 8 images for each loader: models:/NAME/1, NAME being the loader's."""
    folder = tmp_path_factory.mktemp("record")
    model = save_untrained(folder / "model", UNetConfig((1, 8, 8), 2, (8,)), ("a", "b"))
    write_json(model / SAMPLER, {"default": 3, "samplers": {"3": asdict(Solver("ode", "ei-noise", "karras", 3))}})
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", put_database(folder))
        mlflow = tracking.connect()
        with mlflow.start_run(experiment_id=tracking.get_experiment(mlflow, "levy-digits")):
            for loader in LOADERS:
                mlflow.pyfunc.log_model(
                    name="model", loader_module=loader, data_path=str(model), registered_model_name=loader, pip_requirements=[]
                )  # fmt: skip
    return f"sqlite:///{folder}/mlflow.db"


def run_plainly(record: str, folder: Path, *arguments: str) -> str:
    """What a Python that somebody starts in a folder prints, with none of the variables that programs of this project set."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(TOOLS)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True,
        env={**environment, "MLFLOW_TRACKING_URI": record, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def draw(record: str, folder: Path, loader: str) -> tuple[np.ndarray, dict]:
    """Images of a model that MLflow loads in a folder, and what that changed in the process."""
    changes = json.loads(run_plainly(record, folder, "-c", DRAW, f"models:/{loader}/1").splitlines()[-1])
    return np.load(folder / "drawn.npy"), changes


@pytest.fixture(scope="module")
def drawn(record, tmp_path_factory):
    """The same with the loader of now, where the user's own tasks.py lies in the folder."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "tasks.py").write_text("raise SystemExit('the tasks of a user, which are not for levy')")
    return draw(record, folder, NOW)


def test_a_model_opens_beside_a_users_own_tasks_and_sets_no_variable_of_their_process(drawn):
    images, changes = drawn
    assert images.shape == (3, 8, 8, 1)
    assert [name for name in changes["changed"] if name.startswith(TOOLS)] == []
    assert changes["loaded"] == []


def test_a_model_of_before_opens_by_its_old_loader_with_the_same_images_and_sets_no_variable(record, drawn, tmp_path):
    images, changes = draw(record, tmp_path, BEFORE)
    assert BEFORE == "tasks.pyfunc"  # what stands in the models that are registered already
    assert np.array_equal(images, drawn[0])
    assert [name for name in changes["changed"] if name.startswith(TOOLS)] == []


@pytest.mark.parametrize("loader", LOADERS)
def test_levy_sample_draws_what_predict_gives(record, drawn, tmp_path, loader):
    options = ("--model", f"models:/{loader}/1", "--n", "3", "--class", "b", "--seed", "4")
    assert run_plainly(record, tmp_path, "-m", "flows.cli", "sample", "pictures", *options).startswith("3 images in")
    pictures = [np.asarray(Image.open(path)) for path in sorted((tmp_path / "pictures").glob("*.png"))]
    assert np.array_equal(np.stack(pictures)[..., None], drawn[0])
