"""A registered model behind REST, by MLflow's own server: what Python gives, and bad requests that do it no harm."""

import json
import os
import sys
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pytest

from levy_core.base.files import write_json
from levy_core.nets.unet import UNetConfig
from levy_core.sampling.solver import Solver
from levy_core.serving.requests import COLUMNS, SAMPLER
from tests.conftest import ROOT, save_untrained
from tests.support.servers import free_port, running

pytestmark = pytest.mark.long
URI = "models:/levy-digits@champion"


@dataclass(frozen=True)
class Served:
    """A server and the database of its registry."""

    url: str
    database: str

    def ask(self, body):
        """(status, answer as text) of a request."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/invocations", data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


def register(folder: Path, database: str):
    """An untrained model of 8 x 8 images as a run registers one."""
    import mlflow
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    mlflow.set_tracking_uri(database)
    model = save_untrained(folder / "model", UNetConfig((1, 8, 8), 2, (8,)), ("a", "b"))
    write_json(model / SAMPLER, {"default": 3, "samplers": {"3": asdict(Solver("ode", "ei-noise", "karras", 3))}})
    columns = [ColSpec(kind, name, required=False) for name, kind in COLUMNS.items()]
    experiment = mlflow.create_experiment("served", artifact_location=(folder / "mlartifacts").as_uri())
    with mlflow.start_run(experiment_id=experiment):
        mlflow.pyfunc.log_model(
            name="model", loader_module="levy_core.serving.registered", data_path=str(model), signature=ModelSignature(Schema(columns)),
            pip_requirements=["levy"], registered_model_name="levy-digits",
        )  # fmt: skip
    mlflow.MlflowClient().set_registered_model_alias("levy-digits", "champion", "1")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    database = f"sqlite:///{folder / 'mlflow.db'}"
    register(folder, database)
    port = free_port()
    where = ("--host", "127.0.0.1", "--port", str(port))
    log = folder / "server.log"
    bin_ = Path(sys.executable).parent
    own = {"MLFLOW_TRACKING_URI": database, "PYTHONPATH": str(ROOT), "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}"}
    command = [str(bin_ / "mlflow"), "models", "serve", "-m", URI, "--env-manager", "local", *where]
    server = Served(f"http://127.0.0.1:{port}", database)
    with running(command, log, lambda: answers(server.url), cwd=folder, env={**os.environ, **own}):
        yield server


def answers(url):
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


def test_rest_gives_what_python_gives(served):
    import mlflow

    mlflow.set_tracking_uri(served.database)
    model = mlflow.pyfunc.load_model(URI)
    rows = [{"n": 2, "class": "b", "seed": 3}, {"n": 1, "class": None, "seed": 4}]
    status, answer = served.ask({"dataframe_records": rows})
    images = np.array(json.loads(answer)["predictions"], dtype=np.uint8)
    assert status == 200
    assert images.shape == (3, 8, 8, 1)
    assert np.array_equal(images, np.concatenate([model.predict(row) for row in rows]))
    status, answer = served.ask({"inputs": {"n": 2, "solver": "ode", "steps": 2}})
    assert np.array_equal(json.loads(answer)["predictions"], model.predict({"n": 2, "solver": "ode", "steps": 2}))
    status, answer = served.ask({"dataframe_records": [{"classes": "b=1,a=2"}]})  # no n
    assert np.array_equal(json.loads(answer)["predictions"], model.predict({"n": 3, "classes": "b=1,a=2"}))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"dataframe_records": [{"n": 1, "class": "c"}]}, "unknown class 'c': the model knows a, b"),
        ({"dataframe_records": [{"n": 0}]}, "n is 0, but a request asks for at least 1 sample"),
        ({"dataframe_records": [{"n": 1, "solver": "magic"}]}, "unknown solver 'magic'"),
        ({"dataframe_records": [{"seed": 0}]}, "n is missing: say how many samples"),
        ({"dataframe_records": [{"n": "many"}]}, "Failed to convert column n"),
        ({"dataframe_records": [{"n": 1, "steps": 10_000_000}]}, "asks for 10,000,000 steps, but 10,000 is the limit"),
        ({"dataframe_records": [{"n": 400_000}]}, "asks for 1,200,000 network evaluations"),
        (b"no json", "Ensure that input is a valid JSON"),
    ],
)
def test_a_bad_request_is_a_400_that_says_what_is_wrong_and_the_server_lives_on(served, body, message):
    status, answer = served.ask(body)
    assert status == 400
    assert message in answer.replace("\\'", "'").replace('\\"', '"')
    assert answers(served.url)
    assert served.ask({"dataframe_records": [{"n": 1}]})[0] == 200
