"""Checks of `levy doctor` on the servers: MLflow, Prefect and what is scheduled."""

import os
import shlex
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from flows.doctor.findings import Finding, ok, warning, wrong
from tasks.params import plain_yaml
from tasks.registry import database as database_files
from tasks.registry import tracking
from tasks.runtime import health

TIMEOUT = 10.0
RESTORE = "levy restore mlflow.db"


def mlflow_server() -> Iterator[Finding]:
    """The record answers, lets this account in, and its versions and database fit."""
    uri = tracking.address()
    if uri.startswith(("http://", "https://")):
        yield from _mlflow_over_http(uri.rstrip("/"))
        return
    database = tracking.database_file()
    copies = database_files.backups(database) if database else []
    if database and not database.exists():
        if copies:
            yield wrong(f"{database} is gone", RESTORE)
        else:
            yield ok(f"{database} is made by the first `levy run`")
        return
    if database:
        try:
            database_files.check(database, writing=True, whole=True)
        except database_files.DamagedDatabaseError as error:
            anew = f"mv {shlex.quote(str(database))} mlflow.db.damaged && levy run"
            yield wrong(f"{database} cannot be used: {error}", RESTORE if copies else anew)
            return
    try:
        tracking.connect().MlflowClient().search_experiments(max_results=1)
    except Exception as error:  # MLflow's or the database's
        upgrade = f"mlflow db upgrade {shlex.quote(uri)}" + (f"  # copies: {database}.backups" if database else "")
        yield wrong(f"{uri} cannot be used: {error}", upgrade if "schema" in str(error) else "restore it from a backup")
        return
    for place in (database, database.parent / "mlartifacts") if database else ():
        if place.exists() and not os.access(place, os.R_OK | os.W_OK):
            mine = place.stat().st_uid == os.getuid()
            mend = "chmod -R u+rwX" if mine else 'sudo chown -R "$(id -un)"'
            yield wrong(f"{place} cannot be read and written", f"{mend} {shlex.quote(str(place))}")
            return
    kept = f"; {len(copies)} backups, the last {copies[0].name}" if copies else ""
    yield ok(f"mlflow {version('mlflow')}, {uri}{kept}")


def _mlflow_over_http(uri: str) -> Iterator[Finding]:
    search = f"{uri}/api/2.0/mlflow/experiments/search?max_results=100"
    try:
        experiments = health.ask(search, TIMEOUT, login=tracking.login()).get("experiments", [])
        served = health.ask(f"{uri}/version", TIMEOUT, login=tracking.login())
    except health.StatusError as error:
        if error.code not in (401, 403):
            raise
        account = os.environ.get("MLFLOW_TRACKING_USERNAME")
        yield wrong(
            f"{uri} does not let {account or 'somebody without an account'} in ({error.code})",
            "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD; the admin makes accounts with docs/servers/accounts.py",
        )
        return
    except OSError as error:
        yield wrong(
            f"{uri} does not answer ({error})", "systemctl status mlflow, or unset MLFLOW_TRACKING_URI to use mlflow.db"
        )
        return
    fits = served.split(".")[:2] == version("mlflow").split(".")[:2]
    if not fits:
        yield warning(
            f"versions of MLflow differ: {uri} runs {served}, this environment {version('mlflow')}",
            "install requirements.lock on both",
        )
    local = [
        e["name"] for e in experiments if e["name"] != "Default" and e["artifact_location"].startswith(("/", "file:"))
    ]
    if local:
        yield warning(
            f"artifacts of {len(local)} experiments lie in a folder of the server that clients cannot reach: {', '.join(local)}",
            "start the server with --artifacts-destination and make new experiments",
        )
    elif fits:
        yield ok(f"mlflow {served} at {uri}, as {os.environ.get('MLFLOW_TRACKING_USERNAME', 'nobody')}")


def prefect_server() -> Iterator[Finding]:
    """The Prefect server answers, lets this client in and is of its version."""
    api = os.environ.get("PREFECT_API_URL")
    if not api:
        yield ok("no server named: each `levy run` starts its own, and nothing is scheduled")
        return
    try:
        served = query_prefect("admin/version")
    except health.StatusError as error:
        if error.code != 401:
            raise
        yield wrong(
            f"{api} does not let this client in (401)",
            "set PREFECT_API_AUTH_STRING to the server's PREFECT_SERVER_API_AUTH_STRING",
        )
        return
    except OSError as error:
        yield wrong(
            f"{api} does not answer ({error})",
            "systemctl status prefect, or unset PREFECT_API_URL to let each run start its own",
        )
        return
    if served == version("prefect"):
        yield ok(f"prefect {served} at {api}")
    else:
        yield wrong(
            f"versions of Prefect differ: {api} runs {served}, this environment {version('prefect')}",
            "install requirements.lock on both",
        )


def schedule() -> Iterator[Finding]:
    """Every deployment has a schedule that is on and a worker that would run it, and no run is late."""
    if not os.environ.get("PREFECT_API_URL"):
        yield ok("nothing is scheduled without a server")
        return
    deployments = query_prefect("deployments/filter", {})
    faults = 0
    declared = _read_declared()
    if missing := declared.keys() - {d["name"] for d in deployments}:
        faults += 1
        served = {pool["name"] for pool in query_prefect("work_pools/filter", {})}
        made = [
            f"prefect work-pool create {p} --type process && "
            for p in sorted({declared[m] for m in missing} - served - {""})
        ]
        yield warning(
            f"the server does not know {len(missing)} deployments of prefect.yaml: {', '.join(sorted(missing))}",
            f"{''.join(made)}prefect --no-prompt deploy --all",
        )
    pools = {d["work_pool_name"] for d in deployments if d["work_pool_name"]}
    for pool in sorted(pools):
        workers = query_prefect(f"work_pools/{quote(pool)}/workers/filter", {})
        if query_prefect(f"work_pools/{quote(pool)}")["is_paused"]:
            faults += 1
            yield warning(f"the work pool {pool} is paused", f"prefect work-pool resume {pool}")
        if not any(worker["status"] == "ONLINE" for worker in workers):
            faults += 1
            yield wrong(
                f"no worker serves the work pool {pool}",
                f"systemctl start prefect-worker, or prefect worker start --pool {pool}",
            )
    for d in deployments:
        name = d["name"]
        if d["paused"] or (d["schedules"] and not any(s["active"] for s in d["schedules"])):
            faults += 1
            resume = [f"prefect api POST /deployments/{d['id']}/resume_deployment"]
            active = shlex.quote('{"active": true}')
            resume += [
                f"prefect api PATCH /deployments/{d['id']}/schedules/{s['id']} --data {active}" for s in d["schedules"]
            ]
            yield warning(f"the deployment {name} is paused", " && ".join(resume))
    late = query_prefect("flow_runs/count", {"flow_runs": {"state": {"name": {"any_": ["Late"]}}}})
    if late:
        faults += 1
        yield warning(
            f"{late} runs are late", "see whether a worker is online and free: prefect flow-run ls --state Late"
        )
    if not faults:
        scheduled = sum(bool(d["schedules"]) for d in deployments)
        yield ok(f"{len(deployments)} deployments, {scheduled} with a schedule; none late")


def _read_declared() -> dict[str, str]:
    """The work pool of each deployment in prefect.yaml."""
    path = Path("prefect.yaml")
    declared = plain_yaml.read(path.read_text()) if path.exists() else {}
    return {entry["name"]: entry.get("work_pool", {}).get("name", "") for entry in declared.get("deployments") or []}


def query_prefect(path: str, body: dict | None = None) -> Any:
    """The reply of the Prefect server to GET, or with a body to POST.

    Raises:
        OSError: no answer, or one other than success.
    """
    url = f"{os.environ['PREFECT_API_URL'].rstrip('/')}/{path}"
    return health.ask(url, TIMEOUT, body, os.environ.get("PREFECT_API_AUTH_STRING"))
