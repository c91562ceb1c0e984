"""Cancelled and killed runs leave no process and lose nothing; `dvc repro` gives what the flow gives."""

import errno
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing

import pytest
import yaml

from flows.pipeline import flow
from flows.pipeline.lockfile import KEPT
from tests.conftest import TINY, between_workers, make_checkout, wait_until
from tests.support.kills import live
from tests.support.outputs import finished_checkout, flip
from tests.support.servers import free_port
from tests.support.service import prefect_server

pytestmark = pytest.mark.pipeline


@pytest.fixture
def lock_of_the_flow(request, tmp_path_factory):
    """dvc.lock of the checkout ``ran``, which another worker may be making."""
    shared = between_workers(tmp_path_factory)
    if not (shared / "flow-started").exists():
        request.getfixturevalue("ran")
    assert wait_until((shared / "flow.lock").exists, 1200)
    return yaml.safe_load((shared / "flow.lock").read_text())


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A checkout whose runs were cancelled and killed in mid-training, or lost their server, then completed by plain `dvc repro`."""
    checkout = make_checkout(tmp_path_factory.mktemp("killed"), TINY)
    leftovers = {}
    for kind, number in (("flow", signal.SIGTERM), ("flow", signal.SIGKILL), ("server", signal.SIGKILL)):
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "run"],
            cwd=checkout.root, env=checkout.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        assert wait_until(lambda: any("tasks train" in line for line in checkout.processes()))
        time.sleep(1)
        (victim,) = (pid for pid, what in live(checkout).items() if what == kind)
        os.kill(victim, number)
        assert process.wait(600)
        wait_until(lambda: not checkout.processes(), 15)
        leftovers[f"{number.name} of the {kind}"] = checkout.processes()
    checkout.levy("doctor", "--mend", check=False)  # mends what a kill in mid-write can leave of DVC's files
    checkout.run(sys.executable, "-m", "dvc", "repro", "-q")
    return checkout, leftovers


def test_a_run_that_is_killed_or_cancelled_leaves_no_process(killed):
    _, leftovers = killed
    assert leftovers == {"SIGTERM of the flow": [], "SIGKILL of the flow": [], "SIGKILL of the server": []}


@pytest.mark.long
def test_a_run_whose_configured_server_is_lost_says_so_and_the_next_goes_on(tmp_path):
    checkout, port = make_checkout(tmp_path / "checkout", TINY), free_port()
    (home := tmp_path / "server").mkdir()
    environment = {**checkout.environment, "PREFECT_HOME": str(home), "DO_NOT_TRACK": "true"}
    address = f"http://127.0.0.1:{port}/api"
    with prefect_server(port, home, cwd=home, env=environment) as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "run"], cwd=checkout.root, env={**checkout.environment, "PREFECT_API_URL": address},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert wait_until(lambda: any("tasks train" in line for line in checkout.processes()))
        os.killpg(server.pid, signal.SIGKILL)
        _, said = process.communicate(timeout=600)
    assert process.returncode == 1
    assert f"error: the Prefect server {address} does not answer any more" in said.splitlines()[-1]
    assert wait_until(lambda: not checkout.processes(), 15)
    # It may have gone on to its end without the server; what is recorded, every stage has run for.
    stale = json.loads(checkout.run(sys.executable, "-m", "dvc", "status", "--json").stdout)
    assert not (stale and checkout.levy("lookup", check=False).stdout)
    assert "registry   levy-digits version 1, alias champion" in checkout.levy("run").stdout


def test_dvc_repro_gives_the_lock_of_the_flow_also_after_kills(killed, lock_of_the_flow):
    assert killed[0].lock() == lock_of_the_flow
    stages = list(lock_of_the_flow["stages"])
    assert stages == sorted(stages)


def test_a_recorded_dvc_repro_is_the_same_result(killed):
    checkout, _ = killed
    output = checkout.levy("run").stdout
    assert "0 of 14 stages ran." in output
    assert re.search(r"registry   levy-digits version 1, alias champion$", output, re.MULTILINE)


@pytest.fixture
def finished(tmp_path_factory):
    """A checkout in which every stage has run, and nothing is recorded."""
    return finished_checkout(tmp_path_factory, "finished")


def registered(checkout):
    """How many versions the registry of a checkout holds, read from its database."""
    if not (checkout.root / "mlflow.db").exists():
        return 0
    with closing(sqlite3.connect(checkout.root / "mlflow.db")) as database:
        return database.execute("select count(*) from model_versions").fetchone()[0]


def test_what_fails_beside_a_stage_fails_the_run_and_nothing_is_recorded(finished):
    (finished.root / KEPT).mkdir()  # so that no copy of dvc.lock can be kept when a stage has run
    finished.set_params({"train": {"steps": 11}})
    done = finished.levy("run", check=False)
    assert done.returncode == 1
    assert re.search(r"^error: stage train@digits-ddpm failed: IsADirectoryError: ", done.stderr, re.MULTILINE)
    assert registered(finished) == 0
    with closing(sqlite3.connect(finished.root / "mlflow.db")) as database:  # the training was watched, and no more
        assert database.execute("select count(*) from tags where key = 'levy.lock'").fetchone() == (0,)
        assert database.execute("select name, status from runs").fetchall() == [("digits ddpm", "FINISHED")]
    assert finished.lock()["stages"]["train@digits-ddpm"]["params"]["params.yaml"]["train"]["steps"] == 11
    (finished.root / KEPT).rmdir()
    assert "6 of 9 stages to run" in finished.levy("check").stdout  # the training is not lost


def test_a_stage_whose_end_is_not_kept_for_a_full_disk_says_so():
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "stage train@a-b failed: the disk is full: free some space" in flow._explain_failure("train@a-b", full)


@pytest.mark.long
def test_a_run_goes_on_from_what_a_kill_leaves_of_dvcs_files(finished):
    lock, rwlock = finished.root / "dvc.lock", finished.root / ".dvc/tmp/rwlock"
    assert "0 of 9 stages ran." in finished.levy("run", "--no-record").stdout
    whole = lock.read_bytes()
    for remains in (b"", whole[: whole.index(b" md5: ", len(whole) // 2) + 3]):
        lock.write_bytes(remains)
        rwlock.write_text('{"write": {"half')
        done = finished.levy("run", "--no-record")
        assert "0 of 9 stages ran." in done.stdout
        assert "dvc.lock was damaged" in done.stderr
        assert ".dvc/tmp/rwlock was half written" in done.stderr
        assert lock.read_bytes() == whole
    # Cut off between two stages it can be read, and is left alone: the stages that it does not name run again.
    lock.write_bytes(whole[: whole.index(b"  train@")])
    done = finished.levy("run", "--no-record")
    assert "0 of 9 stages ran." not in done.stdout
    assert finished.lock() == yaml.safe_load(whole)


def test_a_damaged_model_is_neither_registered_nor_promoted(finished):
    weights = finished.root / "outputs/digits/models/ddpm/model.safetensors"
    whole = weights.read_bytes()
    finished.run(sys.executable, "-m", "dvc", "status")  # DVC has seen the outputs: it reads no bytes again
    flip(weights)
    for command in (["run"], ["gate", "digits"]):
        done = finished.levy(*command, check=False)
        assert done.returncode == 1
        assert "error: the model in outputs/digits/models/ddpm is not the one that dvc.lock names" in done.stderr
        assert "`levy doctor --mend`" in done.stderr
        assert registered(finished) == 0
    mended = finished.levy("doctor", "--mend", check=False).stderr
    assert "mended   1 damaged files" in mended
    assert str(weights.relative_to(finished.root)) in mended
    assert weights.read_bytes() == whole
    output = finished.levy("run").stdout
    assert "0 of 9 stages ran." in output
    assert "levy-digits version 1, alias champion" in output
