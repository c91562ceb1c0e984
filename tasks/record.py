"""MLflow: the record of a finished pipeline run, and its winner in the registry.

Everything is read from the stages' output files, so a lost server never costs a training, `dvc repro` can be recorded
afterwards, and recording the same outputs twice adds nothing.
"""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pandas as pd

from levy_core.errors import LevyError
from levy_core.files import write_json
from tasks import health, lineage, paths
from tasks.grid import cell_label, thrifty
from tasks.params import Params
from tasks.request import COLUMNS, SAMPLER

ALIAS = "champion"


@dataclass(frozen=True)
class Recorded:
    """What a run left in MLflow."""

    run_id: str
    name: str
    version: str
    fresh: bool

    @property
    def look_up(self) -> str:
        """The line of Python that gives samples."""
        return f'mlflow.pyfunc.load_model("models:/{self.name}@{ALIAS}").predict({{"n": 16}})'


@dataclass(frozen=True)
class _Result:
    """What the runs of one record have in common, read once."""

    dataset: str
    kind: str
    experiment: str
    tags: dict[str, str]
    winner: dict[str, Any]
    grid: pd.DataFrame
    eta: dict[str, Any]


def tracking_uri() -> str:
    """MLFLOW_TRACKING_URI, else a sqlite file in the root of the repository (MLflow's own default there, made absolute)."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{Path('mlflow.db').resolve()}"


def check_server(uri: str) -> None:
    """Refuses an MLflow server that does not answer within five seconds; a file or database needs no answer.

    Raises:
        LevyError: names the address.
    """
    if uri.startswith(("http://", "https://")):
        try:
            health.status(uri, 5)
        except (OSError, ValueError, HTTPException) as error:
            raise LevyError(
                f"the MLflow server {uri} does not answer ({error}): start it, or unset MLFLOW_TRACKING_URI to use mlflow.db"
            ) from error


def connect() -> Any:
    """The mlflow module, pointed at the tracking server."""
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")
    import mlflow

    mlflow.set_tracking_uri(tracking_uri())
    return mlflow


def model_name(dataset: str) -> str:
    """The registered model of a data set."""
    return f"levy-{dataset}"


def record(params: Params, dataset: str) -> Recorded:
    """Logs the outputs of ``dataset`` and registers the winner as champion, unless that is done already."""
    mlflow = connect()
    client, name, tags = mlflow.MlflowClient(), model_name(dataset), lineage.tags(dataset)
    known = _registered(client, name, tags["levy.lock"])
    if known:
        client.set_registered_model_alias(name, ALIAS, known.version)
        return Recorded(known.tags["levy.run"], name, known.version, fresh=False)
    winner = json.loads(paths.winner(dataset).read_text())
    experiment = _experiment(mlflow, f"levy-{dataset}")
    eta = json.loads(paths.eta(dataset).read_text())
    result = _Result(
        dataset, params.data[dataset].kind, experiment, tags, winner, pd.read_csv(paths.grid(dataset)), eta
    )
    run_name = f"{dataset} {tags['levy.lock'][:7]}"
    with mlflow.start_run(experiment_id=experiment, run_name=run_name, tags=tags) as parent:
        mlflow.log_params(
            {
                "designs": ",".join(params.designs),
                "winner": cell_label(winner),
                **_flat("data", params.data[dataset].model_dump()),
            }
        )
        mlflow.log_metrics(_finite(winner))
        mlflow.log_table(result.grid, "grid.json")
        for path in (Path("params.yaml"), lineage.LOCK, paths.eta(dataset)):
            mlflow.log_artifact(str(path))
        mlflow.log_artifacts(str(paths.report(dataset)), "report")
        models = {design: _record_design(mlflow, params, result, design) for design in eta}
    version = mlflow.register_model(
        models[winner["design"]],
        name,
        tags={**tags, "levy.run": parent.info.run_id, "levy.winner": cell_label(winner)},
    )
    client.set_registered_model_alias(name, ALIAS, version.version)  # last: the alias never points at half a model
    return Recorded(parent.info.run_id, name, version.version, fresh=True)


def _record_design(mlflow: Any, params: Params, result: _Result, design: str) -> str | None:
    """A child run; returns the URI of the logged model for the winner's design."""
    grid = result.grid[result.grid.design == design]
    cell = thrifty(grid, params.metric(result.dataset)).to_dict()
    with mlflow.start_run(
        experiment_id=result.experiment,
        run_name=f"{result.dataset} {design}",
        nested=True,
        tags={**result.tags, "levy.design": design},
    ) as run:
        described = json.loads((paths.model(result.dataset, design) / "design.json").read_text())
        mlflow.log_params(
            {
                **_flat("design", described["design"]),
                **_flat("train", params.train.model_dump()),
                **_flat("net", params.net.model_dump()),
                "best": cell_label(cell),
            }
        )
        mlflow.log_metrics(_finite(cell))
        for nfe, found in result.eta[design]["budgets"].items():  # a curve over evaluations
            mlflow.log_metric(f"best {params.metric(result.dataset)}", found["mean"], step=int(nfe))
        _log_curve(mlflow, run.info.run_id, pd.read_csv(paths.curve(result.dataset, design)))
        mlflow.log_table(grid, "grid.json")
        mlflow.log_artifact(str(paths.report(result.dataset) / f"samples-{design}.png"))
        return _log_model(mlflow, result, described["about"]) if design == result.winner["design"] else None


def _log_curve(mlflow: Any, run_id: str, curve: pd.DataFrame) -> None:
    metrics = [
        mlflow.entities.Metric(f"train_{name}", float(row[name]), timestamp=0, step=int(row["step"]))
        for row in curve.to_dict("records")
        for name in ("loss", "grad_norm")
    ]
    for start in range(0, len(metrics), 1000):
        mlflow.MlflowClient().log_batch(run_id, metrics=metrics[start : start + 1000])


def _log_model(mlflow: Any, result: _Result, about: dict) -> str:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec
    from numpy import dtype

    found = result.eta[result.winner["design"]]
    samplers = {nfe: entry["sampler"] for nfe, entry in found["budgets"].items()}
    sampler = {"default": found["default"], "samplers": samplers}
    channels, *sides = json.loads((paths.prepared(result.dataset) / "statistics.json").read_text())["shape"]
    # Images with channels last, fields as they are stored.
    tensor = {"images": ("uint8", (-1, *sides, channels)), "fields": ("float32", (-1, channels, *sides))}[result.kind]
    signature = ModelSignature(
        inputs=Schema([ColSpec(kind, name, required=required) for name, (kind, required) in COLUMNS.items()]),
        outputs=Schema([TensorSpec(dtype(tensor[0]), tensor[1])]),
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        shutil.copytree(paths.model(result.dataset, result.winner["design"]), folder)
        write_json(folder / SAMPLER, sampler)
        logged = mlflow.pyfunc.log_model(
            name="model",
            loader_module="tasks.pyfunc",
            data_path=str(folder),
            signature=signature,
            input_example=pd.DataFrame([{"n": 2, "seed": 0}]),
            pip_requirements=[f"levy=={about['levy']}"],
            metadata={"sampler": sampler, **result.tags},
        )
    return logged.model_uri


def _registered(client: Any, name: str, lock: str) -> Any:
    """The version of ``name`` made from these outputs, or None."""
    versions = client.search_model_versions(f"name = '{name}'")
    return next((v for v in versions if v.tags.get("levy.lock") == lock), None)


def _experiment(mlflow: Any, name: str) -> str:
    found = mlflow.get_experiment_by_name(name)
    if found:
        return found.experiment_id
    local = tracking_uri().startswith("sqlite:")  # a server has its own place for artifacts
    return mlflow.create_experiment(name, artifact_location=Path("mlartifacts").resolve().as_uri() if local else None)


def _flat(prefix: str, mapping: dict) -> dict[str, str]:
    return {f"{prefix}.{key}": str(value) for key, value in mapping.items()}


def _finite(cell: dict) -> dict[str, float]:
    return {
        k: float(v) for k, v in cell.items() if isinstance(v, int | float) and not isinstance(v, bool) and pd.notna(v)
    }
