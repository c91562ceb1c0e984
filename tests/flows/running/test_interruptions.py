"""Cancelled and killed runs leave no process and lose nothing; `dvc repro` gives what the flow gives."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
import yaml

from tests.conftest import TINY, between_workers, make_checkout, wait_until
from tests.support.kills import live
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
    checkout.levy("check")  # mends what a kill in mid-write can leave of DVC's rwlock
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
    assert "registry   levy-digits version 1, alias champion" in checkout.levy("run").stdout


def test_dvc_repro_gives_the_lock_of_the_flow_also_after_kills(killed, lock_of_the_flow):
    assert killed[0].lock() == lock_of_the_flow
    stages = list(lock_of_the_flow["stages"])
    assert stages == sorted(stages)


def test_a_recorded_dvc_repro_is_the_same_result(killed):
    checkout, _ = killed
    output = checkout.levy("run").stdout
    assert "0 of 12 stages ran." in output
    assert re.search(r"registry   levy-digits version 1, alias champion$", output, re.MULTILINE)
