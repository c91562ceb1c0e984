"""Silence is noticed: people get a message when no retraining finishes, and none while they do, whatever else is dead."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.retrain.alarm import alarm
from levy_core.base.errors import LevyError
from tests.conftest import TINY, make_checkout, wait_until
from tests.support.inbox import inbox
from tests.support.service import documented, serving

PATIENCE = 20  # seconds of silence that are too many; Prefect takes no fewer than 10
FINISH = """
import time
from pathlib import Path
from prefect.events import emit_event
while True:
    emit_event("levy.retrain.finished", resource={"prefect.resource.id": "levy.data.digits"})
    time.sleep(1)
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """prefect.yaml as it is, but for the patience of its alarm; and what people were told."""
    checkout = make_checkout(tmp_path_factory.mktemp("home"), TINY)
    path = checkout.root / "prefect.yaml"
    text = path.read_text()
    assert "within: 93600" in text
    path.write_text(text.replace("within: 93600", f"within: {PATIENCE}"))
    with inbox() as (address, told), serving(checkout, tmp_path_factory.mktemp("prefect"), LEVY_NOTIFY=address) as it:
        yield it, told


@contextlib.contextmanager
def finishing(service):
    """A retraining finishes every second."""
    with subprocess.Popen([sys.executable, "-c", FINISH], env=service.environment) as process:
        try:
            yield
        finally:
            process.kill()


def alarms(service):
    """States of the runs that a trigger started."""
    return [run["state"] for run in service.runs() if run["by"] == "AUTOMATION"]


def titles(told):
    return [message["title"] for message in told]


def titles_of_runs(told):
    return [title for title in titles(told) if title.startswith("levy: retraining of digits ")]


def kill_retraining(server):
    """A retraining of the deployment, killed once it is at work."""
    lock = server.checkout.root / ".levy/retrain-digits.lock"
    lock.unlink(missing_ok=True)
    (ask,) = documented("deployment run levy-retrain/")
    server.prefect(*ask)
    assert wait_until(lambda: lock.exists() and lock.read_text())
    os.kill(int(lock.read_text()), signal.SIGKILL)


def has_left(server):
    """Whether the worker of retraining is done with a run that was killed, its hooks included."""
    log = Path(server.environment["PREFECT_HOME"], "levy.log").read_text()
    return "prefect.flow_runs.worker - Check whether the flow run exceeded its memory" in log


@pytest.mark.long
def test_the_message_that_the_docs_ask_for_comes(service):
    server, told = service
    (ask,) = documented("deployment run levy-alarm/")
    server.prefect(*ask)
    asked = lambda: [run["state"] for run in server.runs() if run["by"] not in ("AUTOMATION", "SCHEDULE")]
    assert wait_until(lambda: asked() == ["Completed"]), server.runs()
    assert "levy: no retraining of digits has finished for too long" in titles(told)


@pytest.mark.long
def test_people_are_told_where_nothing_has_ever_finished_and_again(service):
    _, told = service
    assert wait_until(lambda: titles(told).count("levy: no retraining of digits has finished for too long") > 1), told


@pytest.mark.long
def test_while_retrainings_finish_nobody_is_told_and_then_they_stop(service):
    server, told = service
    with finishing(server):
        time.sleep(PATIENCE)  # alarms that were due before
        assert wait_until(lambda: set(alarms(server)) == {"Completed"})
        before = len(alarms(server))
        time.sleep(3 * PATIENCE)
        assert len(alarms(server)) == before
    assert wait_until(lambda: len(alarms(server)) > before), told


@pytest.mark.long
def test_people_are_told_of_drift_with_its_numbers(service):
    server, told = service
    event = ("event", "emit", "levy.data.drifted", "--resource-id", "levy.data.digits", "--payload")
    server.prefect(*event, json.dumps({"text": "class 3: 40 % of the new images, 10 % before"}))
    assert wait_until(lambda: "levy: new data of digits are unlike those before" in titles(told)), told
    (message,) = [m["message"] for m in told if "unlike" in m["title"]]
    assert message.startswith("class 3: 40 % of the new images, 10 % before\n")


@pytest.mark.long
def test_people_are_told_once_of_a_retraining_that_was_killed(service):
    server, told = service
    kill_retraining(server)
    assert wait_until(lambda: "levy: retraining of digits crashed" in titles(told)), told
    assert wait_until(lambda: has_left(server))
    assert titles_of_runs(told) == ["levy: retraining of digits crashed"]


@pytest.mark.long
def test_where_the_alarm_is_not_deployed_the_worker_tells_of_a_retraining_that_was_killed(service):
    server, told = service
    server.prefect("automation", "delete", "digits-crashed")
    before = titles_of_runs(told)
    kill_retraining(server)
    assert wait_until(lambda: titles_of_runs(told) == [*before, "levy: retraining of digits failed"]), told


@pytest.mark.parametrize("address", ["", "json://127.0.0.1:9"])
def test_an_alarm_that_nobody_gets_fails(monkeypatch, address):
    monkeypatch.setenv("LEVY_NOTIFY", address)
    with pytest.raises(LevyError, match="LEVY_NOTIFY"):
        alarm.fn("digits", "silent")
