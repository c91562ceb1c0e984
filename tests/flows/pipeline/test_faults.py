"""Fifty and more kills -9 of any process of a run, at random moments, and a lost server: afterwards everything is as if nothing had happened."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from levy_core.base.errors import LevyError
from tasks.params import loading
from tasks.registry import record, tracking
from tasks.runtime import health
from tests.conftest import TINY, Checkout, make_checkout, merged, wait_until
from tests.support import victims
from tests.support.kills import alias_is_whole, kill_any, live, start
from tests.support.servers import free_port

pytestmark = pytest.mark.long
SEED = 20_251
SMALL = merged(
    TINY,
    {
        "designs": [victims.DESIGN],
        "train": {"steps": 20, "save_every": 3},
        "evaluate": {"images": {"classifier": {"steps": 20}}},
        "tune": {"steps": [2], "samples": 24, "first": 8, "last": 8, "solvers": ["ode"], "eta_schedules": ["constant"]},
        "sample": {"grid": {"paper": {"discretisations": ["ei-noise"], "etas": [0.5]}}, "n": 8},
    },
)
# Kills of each kind. The stages' work takes tenths of a second to seconds; a run is killed from its first moment on.
OF_STAGES, OF_RECORD, OF_DVC, AT_LEAST = 32, 10, 8, 52  # what is missing then, of whole runs


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """A checkout whose stages ran in order, each once; with the seconds that each took."""
    checkout = make_checkout(tmp_path_factory.mktemp("uninterrupted"), SMALL)
    seconds = {}
    for stage in victims.STAGES:
        begun = time.monotonic()
        victims.finish(checkout.root, stage)
        seconds[stage] = time.monotonic() - begun
    seconds["prepare"] = min(seconds["prepare"], 1.0)  # the first starts the process that imports everything
    checkout.run(sys.executable, "-m", "dvc", "commit", "--force")
    return checkout, seconds


def kill_at_random(process, within: float, moments: random.Random) -> bool:
    """Kills a process at a random moment up to ``within`` seconds from now; whether it was still at work."""
    process.join(moments.uniform(0, within))
    alive = process.is_alive()
    process.kill()
    process.join()
    return alive


@pytest.fixture(scope="module")
def killed(uninterrupted, tmp_path_factory):
    """A checkout in which what runs was killed again and again; what was killed, and whether the aliases were whole each time."""
    checkout = make_checkout(tmp_path_factory.mktemp("killed"), SMALL)
    _, seconds = uninterrupted
    moments, hits, whole = random.Random(SEED), Counter(), []

    # The work of the stages, in order: each is killed and started again until its share of kills is done.
    shares = dict.fromkeys(victims.STAGES, OF_STAGES // len(victims.STAGES))
    for stage, share in shares.items():
        for _ in range(share):
            hits["stage"] += kill_at_random(victims.start(checkout.root, stage), seconds[stage] * 0.9, moments)
        victims.finish(checkout.root, stage)
    checkout.run(sys.executable, "-m", "dvc", "commit", "--force")

    # The record: into a fresh database, into one that has half a record, and at last after a whole one.
    for _ in range(OF_RECORD):
        hits["record"] += kill_at_random(victims.start(checkout.root, "record"), 6, moments)
        whole.append(alias_is_whole(checkout))
    victims.finish(checkout.root, "record")
    lock = (checkout.root / "dvc.lock").read_bytes()

    # DVC, while it writes dvc.lock, and while it brings lost outputs back.
    for number in range(OF_DVC):
        if number < OF_DVC // 2:
            (checkout.root / "dvc.lock").unlink(missing_ok=True)
            process = start(checkout, "dvc", "commit", "--force")
        else:
            (checkout.root / "dvc.lock").write_bytes(lock)
            shutil.rmtree(checkout.root / "outputs", ignore_errors=True)
            process = start(checkout, "dvc", "checkout")
        hits[kill_any(checkout, process, moments.uniform(0.3, 2.5), moments) or "nothing"] += 1
        checkout.levy("doctor", "--mend", check=False) if number % 3 == 2 else None  # mends what DVC would refuse
    checkout.levy("doctor", "--mend", check=False)
    checkout.run(sys.executable, "-m", "dvc", "checkout")
    whole.append(files(checkout) == files(uninterrupted[0]))

    # Whole runs, from nothing: no output, no dvc.lock, no cache.
    for path in ("outputs", ".dvc/cache/files", ".dvc/cache/runs"):
        shutil.rmtree(checkout.root / path, ignore_errors=True)
    (checkout.root / "dvc.lock").unlink(missing_ok=True)
    checkout.run(sys.executable, "-m", "dvc", "pull", "-q", "data.dvc")
    while hits.total() - hits["nothing"] < AT_LEAST or hits["flow"] + hits["server"] < 2:
        run = start(checkout, "flows.cli", "run", "--workers", "2")
        hits[kill_any(checkout, run, moments.uniform(1, 25), moments) or "nothing"] += 1
        whole.append(alias_is_whole(checkout))
    done = checkout.levy("run", "--workers", "2")
    return checkout, hits, whole, done.stdout


def test_at_least_fifty_kills_hit_stages_dvc_the_flow_or_its_server_and_the_record(killed):
    hits = {kind: count for kind, count in killed[1].items() if kind != "nothing" and count}
    print(hits)
    assert sum(hits.values()) >= 50
    assert {"stage", "record", "dvc"} <= set(hits)
    assert {"flow", "server"} & set(hits)


def test_afterwards_lock_and_outputs_are_those_of_an_uninterrupted_run(killed, uninterrupted):
    checkout, reference = killed[0], uninterrupted[0]
    assert checkout.lock()["stages"] == reference.lock()["stages"]
    assert files(checkout) == files(reference)


def files(checkout: Checkout) -> dict[str, bytes]:
    """Every file of the outputs, also the hidden ones; an unfinished stage's state is none."""
    folder = checkout.root / "outputs"
    found = {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
    return {name: content for name, content in found.items() if "/resume/" not in name}


def test_no_process_and_no_change_is_left(killed):
    checkout = killed[0]
    assert live(checkout) == {}
    assert checkout.run("git", "status", "--porcelain").stdout.split() == ["??", "dvc.lock"]
    assert "up to date" in checkout.run(sys.executable, "-m", "dvc", "status").stdout


def test_no_alias_ever_pointed_at_half_a_model_and_one_version_is_there(killed):
    checkout, _, whole, output = killed
    assert all(whole)
    assert "levy-digits version 1, alias champion" in output
    code = """
import mlflow
client = mlflow.MlflowClient()
print([v.version for v in client.search_model_versions("name = 'levy-digits'")])
print(mlflow.pyfunc.load_model("models:/levy-digits@champion").predict({"n": 2}).shape)
experiment = mlflow.get_experiment_by_name("levy-digits").experiment_id
made = client.get_model_version("levy-digits", "1").tags["levy.run"]
runs = [client.get_run(made), *client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{made}'")]
print([(run.data.tags.get("levy.design", "parent"), run.info.status) for run in runs])
print(len(client.search_runs([experiment], "attributes.status = 'RUNNING'")))
"""
    shown = checkout.run(sys.executable, "-c", code).stdout.splitlines()
    assert shown[-4:] == ["[1]", "(2, 8, 8, 1)", "[('parent', 'FINISHED'), ('lim', 'FINISHED')]", "0"]


class Server:
    """An MLflow server on loopback with a database and a place for artifacts of its own."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._port = free_port()
        self.address = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Returns when it answers."""
        options = [
            "--host",
            "127.0.0.1",
            "--port",
            str(self._port),
            "--workers",
            "1",
            "--backend-store-uri",
            "sqlite:///mlflow.db",
        ]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *options, "--artifacts-destination", "artifacts"],
            cwd=self._folder, env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        wait_until(lambda: self._process.poll() is not None or self._answers())
        assert self._process.poll() is None

    def _answers(self) -> bool:
        try:
            return health.status(self.address, 2) == 200
        except OSError:
            return False

    def kill(self) -> None:
        """It and its workers, at once."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def runs(self) -> int:
        """How many runs it has been told of."""
        with sqlite3.connect(self._folder / "mlflow.db") as database:
            return database.execute("select count(*) from runs").fetchone()[0]


def test_a_server_lost_in_mid_record_loses_nothing_and_the_next_record_is_made_once(
    uninterrupted, tmp_path, monkeypatch
):
    server = Server(tmp_path)
    monkeypatch.chdir(uninterrupted[0].root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    server.start()
    try:
        killer = threading.Thread(target=lambda: (wait_until(server.runs), server.kill()))
        killer.start()
        with pytest.raises(
            LevyError, match=r"could not be completed: .*No result is lost: mend that, and `levy run` records"
        ):
            record.record(loading.load(), victims.DATASET)
        killer.join()
        server.start()
        first, second = (record.record(loading.load(), victims.DATASET) for _ in range(2))
        assert (first.version, first.fresh, second.version, second.fresh) == ("1", True, "1", False)
        client = tracking.connect().MlflowClient()
        runs = client.search_runs([e.experiment_id for e in client.search_experiments()])
        statuses = Counter(run.info.status for run in runs)
        assert statuses["FINISHED"] == 2  # the parent and its design
        assert statuses["RUNNING"] == 0
    finally:
        server.kill()
