"""MLflow: the record of a finished pipeline run, and its winner in the registry.

Everything is read from the stages' output files, so a lost server never costs a training, `dvc repro` can be recorded
afterwards, and recording the same outputs twice adds nothing.
"""

import json
import shutil
import tempfile
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import pandas as pd

from levy_core.base.errors import LevyError
from levy_core.base.files import write_json
from levy_core.base.manifest import MANIFEST, write_manifest
from levy_core.base.samples import CORRECTION
from levy_core.serving.requests import MEASURED_BY, SAMPLER
from tasks.cells.comparison import read_eta, read_winner
from tasks.cells.observed import WAY, read_scores
from tasks.cells.selection import cell_label, select_default
from tasks.cells.tables import read_rows
from tasks.cells.tuned import read_correction
from tasks.kinds.kind import Kind
from tasks.kinds.statistics import Statistics, read_statistics
from tasks.params.schema import Params
from tasks.registry import describe, integrity, keys, lineage, live, promotions, provenance, signature, tracking
from tasks.registry.download import LOADERS
from tasks.registry.environment import Environment
from tasks.registry.tracking import HOST
from tasks.runtime import finished, paths

WHY = "levy run"  # in the history of the alias
CURVE = {"loss": "train_loss", "grad_norm": "train_grad_norm", "held_out_loss": "held_out_loss"}  # metrics of columns


@dataclass(frozen=True)
class RecordedRun:
    """What a run left in MLflow; ``aliases`` of the registered version, and whether this run made it."""

    run_id: str
    name: str
    version: str
    aliases: tuple[str, ...]
    fresh: bool

    @property
    def uri(self) -> str:
        """The registered version, by an alias if it has one."""
        return f"models:/{self.name}" + (f"@{self.aliases[0]}" if self.aliases else f"/{self.version}")

    @property
    def look_up(self) -> str:
        """The line of Python that gives samples."""
        return f'mlflow.pyfunc.load_model("{self.uri}").predict({{"n": 16}})'


@dataclass(frozen=True)
class _Result:
    """What the runs of one record have in common, read once."""

    dataset: str
    kind: Kind
    experiment: str
    tags: dict[str, str]
    winner: dict[str, Any]
    grid: pd.DataFrame
    eta: dict[str, Any]
    environment: Environment


def model_name(dataset: str) -> str:
    """The registered model of a data set."""
    return f"levy-{dataset}"


def record(params: Params, dataset: str, alias: str | None = promotions.CHAMPION) -> RecordedRun:
    """Logs the outputs of ``dataset``, registers the winner and points ``alias`` at it, unless that is done already.

    Outputs that are known already move no alias: a champion that was rolled back, or a challenger that was not promoted,
    stays so until somebody says otherwise. Runs of a record that was interrupted in this checkout are marked as killed, and
    made again; those of the same outputs that ended, or that are of another checkout, are left alone.

    Raises:
        LevyError: MLflow cannot be reached or written; the outputs stay, and the next call completes the record. Or the
            winner's model is not the one that dvc.lock names, or the registered one is damaged.
    """
    mlflow = tracking.connect()
    try:
        return _record(mlflow, params, dataset, alias)
    except LevyError:
        raise
    except Exception as error:
        known = tracking.explain(error)
        if not known and not isinstance(error, mlflow.exceptions.MlflowException | OSError):  # requests' are OSErrors
            raise
        raise LevyError(
            f"the record of {dataset} in {tracking.address()} could not be completed: {' '.join(str(known or error).split())[:500]}. "
            "No result is lost: mend that, and `levy run` records what is there"
        ) from error


def _record(mlflow: Any, params: Params, dataset: str, alias: str | None) -> RecordedRun:
    client, name, tags = mlflow.MlflowClient(), model_name(dataset), lineage.tags(dataset)
    signer = keys.find_signer()
    lock = tags[lineage.RECORDED]
    known = _find_version(client, name, lock)
    if known:
        version = str(known.version)
        integrity.check_store(known)
        if signer:
            provenance.complete(mlflow, known, lock, signer)
        promotions.settle(client, name)
        if alias and version not in {move.after for move in promotions.history(client, name)}:  # interrupted before it
            lineage.check_model(dataset, read_winner(paths.winner(dataset))["design"])
            promotions.move(client, name, alias, version, WHY)
        return _read_run(client, name, version, fresh=False)
    winner = read_winner(paths.winner(dataset), params.metric(dataset))
    lineage.check_model(dataset, winner["design"])
    experiment = tracking.get_experiment(mlflow, f"levy-{dataset}")
    interrupted = f"attributes.status = 'RUNNING' and tags.`{lineage.RECORDED}` = '{lock}' and tags.`{HOST}` = '{tracking.host()}'"
    for run in client.search_runs([experiment], interrupted):
        client.set_terminated(run.info.run_id, "KILLED")
    eta = read_eta(paths.eta(dataset), winner, params.designs)
    environment = Environment.here(params.compute.threads)
    grid = read_rows(paths.grid(dataset))
    result = _Result(dataset, params.kind(dataset), experiment, tags, winner, grid, eta, environment)
    with mlflow.start_run(
        experiment_id=experiment, run_name=f"{dataset} {lock[:7]}", tags={**tags, HOST: tracking.host()}
    ) as parent:
        told = describe.describe_result(dataset, params.metric(dataset), winner, tags, parent.info.run_id)
        mlflow.set_tag("mlflow.note.content", told)
        describe.log_data(mlflow, dataset, tags)
        mlflow.log_params(
            {
                "designs": ",".join(params.designs),
                "winner": cell_label(winner),
                **_flatten("data", params.data[dataset].model_dump()),
            }
        )
        mlflow.log_metrics(_finite_metrics(winner))
        mlflow.log_table(result.grid, "grid.json")
        for path in (Path("params.yaml"), paths.LOCK, paths.eta(dataset)):
            mlflow.log_artifact(str(path))
        mlflow.log_artifacts(str(paths.report(dataset)), "report")
        (model,) = filter(None, [_record_design(mlflow, params, result, design, parent.info.run_id) for design in eta])
        files = integrity.seal(mlflow, parent.info.run_id, model, paths.model(dataset, winner["design"]))
        tags = {**tags, **_winner_tags(result, params.metric(dataset)), provenance.RUN: parent.info.run_id}
        if signer:
            statement = provenance.describe(model, files, dataset, winner["design"], tags)
            provenance.keep_draft(client, statement, signer)
    version = mlflow.register_model(model, name, tags={**tags, integrity.TAG: files})
    client.update_model_version(name, version.version, description=told)
    if signer:
        provenance.complete(mlflow, version, lock, signer)
    if alias:  # last: it never points at half a model
        promotions.move(client, name, alias, str(version.version), WHY)
    return _read_run(client, name, str(version.version), fresh=True)


def _read_run(client: Any, name: str, version: str, fresh: bool) -> RecordedRun:
    registered = client.get_model_version(name, version)
    aliases = tuple(sorted(registered.aliases, key=lambda alias: (alias != promotions.CHAMPION, alias)))
    return RecordedRun(registered.tags[provenance.RUN], name, version, aliases, fresh)


def _record_design(mlflow: Any, params: Params, result: _Result, design: str, parent: str) -> str | None:
    """A child run, that of the training where it was watched; returns the URI of the logged model for the winner's design."""
    grid = result.grid[result.grid.design == design]
    cell = select_default(grid, params.metric(result.dataset)).to_dict()
    training = finished.fingerprint_of(paths.finished_training(result.dataset, design))
    watched = live.find_run(mlflow.MlflowClient(), result.experiment, training)
    tags = {**result.tags, HOST: tracking.host(), lineage.DESIGN: design}
    with mlflow.start_run(
        run_id=watched,
        experiment_id=None if watched else result.experiment,
        run_name=f"{result.dataset} {design}",
        nested=True,
        tags={**tags, "mlflow.parentRunId": parent},
    ) as run:
        describe.log_data(mlflow, result.dataset, result.tags)
        design_json = json.loads((paths.model(result.dataset, design) / "design.json").read_text())
        mlflow.log_params(
            {
                **_flatten("design", design_json["design"]),
                **_flatten("train", params.train.model_dump()),
                **_flatten("net", params.net.described),
                **({"ema_length": length} if (length := design_json["about"].get("ema_length")) else {}),
                "best": cell_label(cell),
            }
        )
        mlflow.log_metrics(_finite_metrics(cell))
        for nfe, budget in result.eta[design]["budgets"].items():  # a curve over evaluations
            mlflow.log_metric(f"best {params.metric(result.dataset)}", budget["mean"], step=int(nfe))
        _log_observed(mlflow, run.info.run_id, read_scores(paths.observed(result.dataset, design)))
        _complete_curve(mlflow, run.info.run_id, pd.read_csv(paths.curve(result.dataset, design)))
        mlflow.log_table(grid, "grid.json")
        mlflow.log_artifact(str(paths.report(result.dataset) / f"samples-{design}.png"))
        return _log_model(mlflow, result, design_json["about"]) if design == result.winner["design"] else None


def _log_observed(mlflow: Any, run_id: str, scores: pd.DataFrame) -> None:
    """Scores of experiments as ``observe/EXPERIMENT/WAY/SCORE``, of a guide as a curve over steps; and the table."""
    metrics = [
        mlflow.entities.Metric(
            f"observe/{row['experiment']}/{row['rival'] if pd.notna(row['rival']) else row['guide']}/{name}", value, timestamp=0,
            step=0 if pd.isna(row["steps"]) else int(row["steps"]),
        )
        for row in scores.to_dict("records")
        for name, value in _finite_metrics({k: v for k, v in row.items() if k not in WAY}).items()
    ]  # fmt: skip
    if metrics:
        _log_metrics(mlflow, run_id, metrics)
        mlflow.log_table(scores, "observed.json")


def _complete_curve(mlflow: Any, run_id: str, curve: pd.DataFrame) -> None:
    """The points of a curve that did not reach its run while the training went on: all where nobody watched."""
    known = {point.step for point in mlflow.MlflowClient().get_metric_history(run_id, CURVE["loss"])}
    metrics = [
        mlflow.entities.Metric(name, float(row[column]), timestamp=0, step=int(row["step"]))
        for row in curve[~curve.step.isin(known)].to_dict("records")
        for column, name in CURVE.items()
        if column in row and pd.notna(row[column])
    ]
    _log_metrics(mlflow, run_id, metrics)


def _log_metrics(mlflow: Any, run_id: str, metrics: list[Any]) -> None:
    for start in range(0, len(metrics), 1000):
        mlflow.MlflowClient().log_batch(run_id, metrics=metrics[start : start + 1000])


def _winner_tags(result: _Result, metric: str) -> dict[str, str]:
    """Tags of the registered version, for people who look it up."""
    spread = result.winner[f"{metric}_std"]  # None with one seed
    return {
        "levy.winner": cell_label(result.winner),
        "levy.metric": metric,
        "levy.mean": f"{result.winner[metric]:.6g}",
        **({} if spread is None else {"levy.spread": f"{spread:.3g}"}),
        "levy.seeds": str(result.winner["seeds"]),
        "levy.environment": result.environment.hash,
        "levy.machine": str(result.environment),
    }


def _log_model(mlflow: Any, result: _Result, about: dict) -> str:
    """The winner's design with its lineage; MLflow gives the model the metrics and params of the run that it is logged in."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec
    from numpy import dtype

    eta = result.eta[result.winner["design"]]
    samplers = {nfe: entry["sampler"] for nfe, entry in eta["budgets"].items()}
    sampler = {"default": eta["default"], "samplers": samplers, "manifest": MANIFEST}
    shape = read_statistics(paths.prepared(result.dataset), Statistics).shape
    described = ModelSignature(
        inputs=signature.inputs(),
        outputs=Schema([TensorSpec(dtype(result.kind.dtype), (-1, *result.kind.output_shape(shape)))]),
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        shutil.copytree(paths.model(result.dataset, result.winner["design"]), folder)
        for name in result.kind.keeps:
            shutil.copytree(paths.reference(result.dataset) / name, folder / MEASURED_BY / name)
        if correction := read_correction(paths.tuned(result.dataset, result.winner["design"])):
            write_json(folder / CORRECTION, correction)
        write_json(folder / SAMPLER, sampler)
        lineage.Lineage.here(result.dataset, result.environment).write(folder / lineage.FOLDER)
        write_manifest(folder)
        logged = mlflow.pyfunc.log_model(
            name="model",
            loader_module=LOADERS[0],
            data_path=str(folder),
            signature=described,
            input_example=pd.DataFrame([{"n": 2, "seed": 0}]),
            pip_requirements=[f"levy=={about['levy']}"],
            metadata={"sampler": sampler, **result.tags},
        )
    return logged.model_uri


def _find_version(client: Any, name: str, lock: str) -> Any:
    """The version of ``name`` made from these outputs, or None."""
    return next((v for v in promotions.versions(client, name).values() if v.tags.get(lineage.RECORDED) == lock), None)


def _flatten(prefix: str, mapping: dict) -> dict[str, str]:
    return {f"{prefix}.{key}": str(value) for key, value in mapping.items()}


def _finite_metrics(cell: dict) -> dict[str, float]:
    """Without infinities, which MLflow would keep as the largest number."""
    numbers = {k: float(v) for k, v in cell.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    return {k: v for k, v in numbers.items() if isfinite(v)}
