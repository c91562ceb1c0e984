"""What a person is told of where a run is to be seen leads there, and holds no password."""

import shlex
import sys
import urllib.request
from pathlib import Path

import pytest

from tasks.registry import pages, tracking
from tests.support.servers import answers, free_port, running


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run in a database whose folder has a space."""
    folder = tmp_path_factory.mktemp("a checkout", numbered=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        mlflow = tracking.connect()
        experiment = tracking.get_experiment(mlflow, "levy-digits")
        return folder, mlflow.MlflowClient().create_run(experiment).info


@pytest.fixture
def run(made, monkeypatch):
    """That run, in the folder of its database."""
    folder, run = made
    monkeypatch.chdir(folder)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return run


def test_a_file_is_shown_by_a_command_and_a_page_of_the_run(run):
    command, page = pages.run_page(run.run_id).split(", then ")
    store = f"sqlite:///{Path.cwd()}/mlflow.db"
    assert shlex.split(command) == ["mlflow", "ui", "--backend-store-uri", store]
    assert page == f"http://127.0.0.1:5000/#/experiments/{run.experiment_id}/runs/{run.run_id}"


def test_a_run_that_is_not_there_any_more_leads_to_all_experiments(run):
    assert pages.run_page("0" * 32).endswith("then http://127.0.0.1:5000/#/experiments")


def test_no_line_holds_a_password(run, monkeypatch):
    monkeypatch.setattr(pages, "_place", lambda run_id: "/experiments")  # neither server is there
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://levy:hunter2@example.org/mlflow/")
    assert pages.run_page(run.run_id) == "https://example.org/mlflow/#/experiments"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://levy:hunter2@127.0.0.1/mlflow")
    assert pages.run_page(run.run_id).startswith('mlflow ui --backend-store-uri "$MLFLOW_TRACKING_URI", then http')


def test_a_server_that_is_lost_meanwhile_is_no_reason_to_fail(run, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address := f"http://127.0.0.1:{free_port()}")
    assert pages.run_page(run.run_id) == f"{address}/#/experiments"


@pytest.mark.long
def test_the_command_shows_the_run_and_with_its_address_the_page_is_on_the_server(run, tmp_path, monkeypatch):
    command, page = pages.run_page(run.run_id).split(", then ")
    address = f"http://127.0.0.1:{(port := free_port())}"
    shown = [sys.executable, "-m", *shlex.split(command), "--port", str(port)]
    with running(shown, tmp_path / "log", lambda: answers(port)):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        assert pages.run_page(run.run_id) == page.replace(pages.LOCAL, address)
        with urllib.request.urlopen(page.replace(pages.LOCAL, address)) as answer:
            assert answer.status == 200
