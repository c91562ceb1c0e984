"""A registered model behind a server on loopback: MLflow's own, `mlflow models serve`, or `levy serve`."""

import json
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from levy_core.base.files import write_json
from levy_core.nets.unet import UNetConfig
from levy_core.sampling.solver import Solver
from levy_core.serving.requests import SAMPLER
from tasks.registry import signature
from tests.conftest import ROOT, save_untrained
from tests.support.servers import free_port, running

URI = "models:/levy-digits@champion"


@dataclass(frozen=True)
class Served:
    """A server, the database of its registry, and the process of the command."""

    url: str
    database: str
    process: psutil.Process
    log: Path

    def ask(self, body):
        """(status, answer as text) of a request."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/invocations", data, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()


def save_sampler(model: Path):
    """A default sampler of three evaluations beside a model."""
    write_json(model / SAMPLER, {"default": 3, "samplers": {"3": asdict(Solver("ode", "ei-noise", "karras", 3))}})


def register(folder: Path, database: str):
    """An untrained model of 8 x 8 images as a run registers one."""
    import mlflow
    from mlflow.models import ModelSignature

    mlflow.set_tracking_uri(database)
    model = save_untrained(folder / "model", UNetConfig((1, 8, 8), 2, (8,)), ("a", "b"))
    save_sampler(model)
    experiment = mlflow.create_experiment("served", artifact_location=(folder / "mlartifacts").as_uri())
    with mlflow.start_run(experiment_id=experiment):
        mlflow.pyfunc.log_model(
            name="model", loader_module="levy_core.serving.registered", data_path=str(model), signature=ModelSignature(signature.inputs()),
            pip_requirements=["levy"], registered_model_name="levy-digits",
        )  # fmt: skip
    mlflow.MlflowClient().set_registered_model_alias("levy-digits", "champion", "1")


MLFLOW = ("mlflow", "models", "serve", "-m", URI, "--env-manager", "local", "--host", "127.0.0.1")
LEVY = ("levy", "serve", URI)


@contextmanager
def serving_model(folder: Path, command: Sequence[str] = MLFLOW, **environment: str) -> Iterator[Served]:
    """The server of a registry of its own in a folder; variables are added to its environment."""
    database = f"sqlite:///{folder / 'mlflow.db'}"
    register(folder, database)
    port = free_port()
    log = folder / "server.log"
    bin_ = Path(sys.executable).parent
    own = {"MLFLOW_TRACKING_URI": database, "PYTHONPATH": str(ROOT), "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}"}
    program, *arguments = command
    line = [str(bin_ / program), *arguments, "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    with running(line, log, lambda: answers(url), cwd=folder, env={**os.environ, **own, **environment}) as process:
        yield Served(url, database, process, log)


def answers(url):
    try:
        with urllib.request.urlopen(f"{url}/ping", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False
