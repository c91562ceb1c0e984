"""Retraining as a Prefect flow: new data in, only what depends on them rerun, the new model judged, the better one champion.

Everything happens in a workspace of its own (``flows.pipeline.workspace``) with committed code. What a run computed stands in a commit
on the branch ``retrain/DATASET``: the code it was based on, data.dvc and dvc.lock.
"""

import json
import re
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.states import Completed, State

from flows.pipeline.dvc import LockHeldError, hold_lock
from flows.pipeline.workspace import FOLDER, Workspace
from flows.retrain import arrivals
from flows.retrain.arrivals import Arrival
from flows.retrain.branch import Branch
from flows.retrain.notify import notify
from levy_core.base.errors import LevyError
from tasks.params import plain_yaml
from tasks.runtime import paths
from tasks.runtime.paths import DATA_VERSION

WAYS: dict[str, Any] = {"log_prints": False, "cache_policy": NO_CACHE, "persist_result": False}


@task(task_run_name="data-{dataset}", **WAYS)
def bring_data(
    workspace: Workspace, dataset: str, source: Path, mirror: bool, quiet: float, most_lost: float
) -> Arrival:
    """New data, validated and versioned."""
    arrival = arrivals.take(workspace, dataset, source, mirror, quiet, most_lost)
    get_run_logger().info("%s: %s", dataset, arrival.text)
    return arrival


@task(task_run_name="drift-{dataset}", **WAYS)
def tell_drift(workspace: Workspace, dataset: str, arrival: Arrival) -> str:
    """How the new data are unlike those before, in one line; told, and no reason to stop."""
    logger = get_run_logger()
    try:
        found = arrivals.find_drift(workspace, dataset, arrival)
    except LevyError as error:
        logger.warning("%s: new data could not be held against those before: %s", dataset, error)
        return "not known"
    if not found:
        return "none found"
    text = "; ".join(each["text"] for each in found)
    logger.warning("%s: new data are unlike those before: %s", dataset, text)
    emit_event("levy.data.drifted", resource=_resource(dataset), payload={"text": text, "found": found})
    return text


@task(task_run_name="stages-{dataset}", **WAYS)
def run_stages(workspace: Workspace, dataset: str, workers: int) -> None:
    """`levy run` in the workspace, as a flow run of its own; then everything to the default remote, if there is one."""
    workspace.watch("-m", "flows.cli", "run", dataset, "--no-record", "--workers", str(workers))
    if workspace.remote():
        workspace.watch("-m", "dvc", "push", "--quiet", "--with-deps", str(DATA_VERSION), f"report@{dataset}")
    else:
        get_run_logger().warning(
            "no default DVC remote: this version is kept on this machine alone (docs/retraining.md)"
        )


@task(task_run_name="gate-{dataset}", **WAYS)
def pass_gate(workspace: Workspace, dataset: str) -> dict[str, Any]:
    """`levy gate` in the workspace."""
    return json.loads(workspace.watch("-m", "flows.cli", "gate", dataset, "--json")[-1])


def _notify_of_failure(flow: Any, flow_run: Any, state: State) -> None:
    notify(
        f"levy: retraining of {flow_run.parameters.get('dataset')} failed", state.message or state.name or "no message"
    )


def _notify_of_crash(flow: Any, flow_run: Any, state: State) -> None:
    """Of a deployment's run the alarm `NAME-crashed` of prefect.yaml tells, where the server has it."""
    if not (flow_run.deployment_id and _has_alarm(f"{flow_run.parameters.get('dataset')}-crashed")):
        _notify_of_failure(flow, flow_run, state)


def _has_alarm(name: str) -> bool:
    try:
        with get_client(sync_client=True) as client:
            return any(automation.enabled for automation in client.read_automations_by_name(name))
    except Exception:  # no such alarm, or a server that does not answer: told twice is better than never
        return False


@flow(
    name="levy-retrain",
    flow_run_name="retrain-{dataset}",
    on_failure=[_notify_of_failure],
    on_crashed=[_notify_of_crash],
    persist_result=False,
)
def retrain(
    dataset: str, source: str | None = None, quiet: float = 60.0, most_lost: float = 0.1, workers: int = 2
) -> State:
    """Retrains on new data, unattended. At most one run per data set: a second one ends at once, as skipped.

    Args:
        dataset: a name in `datasets` of the committed params.yaml.
        source: a folder with new files, which are added to the last version; without it, what is in data/DATASET of this
            checkout is the new version.
        quiet: seconds in which nothing may have been written there.
        most_lost: share of a class's images, or of the fields, that may be fewer than in the last version.
        workers: stages at a time.

    Returns:
        A completed state with the outcome in its message.
    """
    try:
        with hold_lock(FOLDER / f"retrain-{dataset}.lock", "retraining", f"the data set {dataset}"):
            state = _retrain(dataset, source, quiet, most_lost, workers)
    except LockHeldError as error:
        get_run_logger().warning("skipped: %s", error)
        return Completed(name="Skipped", message=str(error))
    # The sign of life that the trigger `silent` in prefect.yaml waits for.
    emit_event(
        "levy.retrain.finished", resource=_resource(dataset), payload={"state": state.name, "text": state.message}
    )
    return state


def _retrain(dataset: str, source: str | None, quiet: float, most_lost: float, workers: int) -> State:
    logger = get_run_logger()
    home = Path.cwd()
    branch = Branch.of(f"retrain/{dataset}", home)
    workspace = Workspace.at(f"retrain-{dataset}", branch.base)
    branch.restore(workspace)
    _check_dataset(workspace, dataset)
    folder = Path(source).resolve() if source else home / paths.raw(dataset)
    arrival = bring_data(workspace, dataset, folder, source is None, quiet, most_lost)
    drift = tell_drift(workspace, dataset, arrival)
    workspace.bring_outputs(dataset)
    if not (branch.holds(workspace) and (workspace.root / paths.winner(dataset)).exists()):
        run_stages(workspace, dataset, workers)
    commit = branch.commit(workspace, f"Retrain {dataset}: {arrival.text}")
    decision = pass_gate(workspace, dataset)
    text = decision["text"]
    if not decision["judged"]:
        return Completed(name="Unchanged", message=f"nothing new since {text}")
    text = f"{text}; {arrival.text}; commit {commit[:10]}"
    logger.info(text)
    create_markdown_artifact(
        key=re.sub(r"[^a-z0-9]+", "-", f"levy-retrain-{dataset}".lower()),
        markdown=_to_markdown(dataset, arrival, drift, decision, commit),
        description="What a retraining came to",
    )
    promoted = decision["champion"] == decision["version"]
    if promoted:
        doubt = ", with margins that the data cannot decide" if decision["undecided"] else ""
        notify(f"levy: {decision['name']} version {decision['version']} is champion{doubt}", text)
    emit_event(
        "levy.model.promoted" if promoted else "levy.model.kept",
        resource={"prefect.resource.id": f"levy.model.{decision['name']}"},
        payload={**decision, "commit": commit},
    )
    return Completed(name="Promoted" if promoted else "Kept", message=text)


def _resource(dataset: str) -> dict[str, str]:
    return {"prefect.resource.id": f"levy.data.{dataset}"}


def _check_dataset(workspace: Workspace, dataset: str) -> None:
    names = plain_yaml.read((workspace.root / paths.PARAMS).read_text())["datasets"]
    if dataset not in names:
        raise LevyError(
            f"{dataset} is not among `datasets` of the committed params.yaml ({', '.join(names)}): commit it there"
        )


def _to_markdown(dataset: str, arrival: Arrival, drift: str, decision: dict[str, Any], commit: str) -> str:
    rows = [
        ("data", arrival.text),
        ("drift", drift),
        ("commit", f"`{commit}` on `retrain/{dataset}`"),
        ("version", f"`models:/{decision['name']}/{decision['version']}`"),
        ("verdict", decision["verdict"]),
        ("reason", decision["reason"]),
        ("margins that the data cannot decide", decision["undecided"] or "none"),
        ("champion", f"version {decision['champion']}"),
    ]
    return "\n".join([f"# Retraining of {dataset}", "", "| | |", "|---|---|", *(f"| {a} | {b} |" for a, b in rows)])
