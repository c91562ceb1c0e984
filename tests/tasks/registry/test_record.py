"""A record ends the runs that it left half made itself, and no others of the same outputs."""

import sqlite3
from contextlib import closing

import pytest

from tasks.params import loading
from tasks.registry import tracking
from tasks.registry.record import HOST, model_name, record
from tests.conftest import wait_until
from tests.support import victims
from tests.support.outputs import finished_checkout

pytestmark = pytest.mark.pipeline


@pytest.fixture
def here(tmp_path_factory, monkeypatch):
    """A finished checkout as working directory, recorded in its mlflow.db by nobody yet."""
    checkout = finished_checkout(tmp_path_factory, "recorded")
    monkeypatch.chdir(checkout.root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{checkout.root}/mlflow.db")  # MLflow would set it for good
    return checkout.root


def kill_in_mid_record(root):
    """Kills a record when its first run has begun; returns that run's number."""
    tracking.connect()  # makes the database
    process = victims.start(root, "record")

    def begun():
        with closing(sqlite3.connect(root / "mlflow.db")) as database:
            return database.execute("select run_uuid from runs where status = 'RUNNING'").fetchall()

    assert wait_until(begun, 60)
    process.kill()
    process.join()
    return begun()[0][0]


def test_only_runs_that_this_checkout_left_running_are_marked_as_killed(here):
    settings = loading.load()
    interrupted = kill_in_mid_record(here)
    first = record(settings, "digits")
    client = tracking.connect().MlflowClient()
    assert (first.fresh, client.get_run(interrupted).info.status) == (True, "KILLED")
    ended = client.get_run(first.run_id)
    colleague = client.create_run(ended.info.experiment_id, tags={**ended.data.tags, HOST: "another 0"}).info.run_id
    client.delete_registered_model(model_name("digits"))
    second = record(settings, "digits")
    assert second.fresh
    runs = client.search_runs([ended.info.experiment_id])
    statuses = {run.info.run_id: run.info.status for run in runs}
    assert (statuses.pop(interrupted), statuses.pop(colleague)) == ("KILLED", "RUNNING")
    assert statuses.pop(first.run_id) == statuses.pop(second.run_id) == "FINISHED"
    designs = [status for run, status in statuses.items() if client.get_run(run).data.tags.get("levy.design")]
    assert designs.count("FINISHED") == 2
    assert "RUNNING" not in designs
