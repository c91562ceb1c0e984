"""A registered model in a registry of its own, as a run registers one, in a second."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import pytest
from securesystemslib.signer import CryptoSigner

from levy_core.base.files import write_json
from levy_core.base.manifest import MANIFEST, write_manifest
from levy_core.nets.unet import UNetConfig
from levy_core.sampling.solver import Solver
from levy_core.serving.requests import SAMPLER
from tasks.registry import integrity, provenance, tracking
from tasks.registry.download import LOADERS
from tests.conftest import save_untrained
from tests.support.databases import put_database

NAME = "levy-digits"


@contextmanager
def registry_in(folder: Path) -> Iterator[None]:
    """MLflow works in a folder, on its mlflow.db; afterwards it does as before, and not for good as MLflow would have it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", put_database(folder))
        yield


def save_images(folder: Path) -> Path:
    """An untrained model of 8 x 8 images."""
    return save_untrained(folder, UNetConfig((1, 8, 8), 2, (8,)), ("a", "b"))


def register(folder: Path, sealed: bool = True, save: Callable[[Path], Path] = save_images, name: str = NAME) -> Path:
    """Makes version 1 of a model, champion, in ``folder``/mlflow.db, which MLflow has to be pointed at.

    Args:
        sealed: with the hashes of its files; earlier versions of levy kept none.
        save: writes the model into a folder. name: of the registered model.

    Returns:
        The folder of its artifact.
    """
    mlflow = tracking.connect()
    trained = save(folder / "trained")
    if sealed:
        write_manifest(trained)
    model = Path(shutil.copytree(trained, folder / "model"))
    sampler = {"default": 3, "samplers": {"3": asdict(Solver("ode", "ei-noise", "karras", 3))}}
    write_json(model / SAMPLER, sampler | ({"manifest": MANIFEST} if sealed else {}))
    (model / "lineage").mkdir()
    (model / "lineage" / "params.yaml").write_text("datasets: [digits]\n")
    if sealed:
        write_manifest(model)
    with mlflow.start_run(experiment_id=tracking.get_experiment(mlflow, name)) as run:
        logged = mlflow.pyfunc.log_model(
            name="model", loader_module=LOADERS[0], data_path=str(model), pip_requirements=["levy"],
            input_example=pd.DataFrame([{"n": 2, "seed": 0}]),
        )  # fmt: skip
        files = {integrity.TAG: integrity.seal(mlflow, run.info.run_id, logged.model_uri, trained)} if sealed else {}
    version = mlflow.register_model(logged.model_uri, name, tags={"levy.run": run.info.run_id, **files})
    mlflow.MlflowClient().set_registered_model_alias(name, "champion", version.version)
    return Path(integrity.open_store(version).artifact_dir)


def sign(number: str, signer: CryptoSigner) -> Path:
    """Signs a version that ``register`` made as a run does, with outputs that its number names; returns the file of the statement."""
    mlflow = tracking.connect()
    client, lock = mlflow.MlflowClient(), f"outputs {number}"
    version = client.get_model_version(NAME, number)
    run = version.tags[provenance.RUN]
    tags = {"levy.lock": lock, "git.commit": "c" * 40, "levy.params": "p", "levy.winner": "w", provenance.RUN: run}
    tags |= {"levy.environment": "e", "levy.machine": "m"}
    for tag, value in tags.items():
        client.set_model_version_tag(NAME, number, tag, value)
    statement = provenance.describe(version.source, version.tags[integrity.TAG], "digits", "ddpm", tags)
    provenance.keep_draft(client, statement, signer)
    version = client.get_model_version(NAME, number)
    provenance.complete(mlflow, version, lock, signer)
    return Path(integrity.open_store(version).artifact_dir) / provenance.FILE
