"""What a person is told of where a run is to be seen leads there, and holds no password."""

import json
import shlex
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

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


def test_a_folder_is_shown_by_a_command_that_mlflow_understands(run, monkeypatch, tmp_path):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my runs"
    for uri in (folder.as_uri(), str(folder), "my runs"):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        mlflow = tracking.connect()
        experiment = tracking.get_experiment(mlflow, "levy-digits")
        kept = mlflow.MlflowClient().create_run(experiment).info
        command, page = pages.run_page(kept.run_id).split(", then ")
        assert shlex.split(command) == [
            "MLFLOW_ALLOW_FILE_STORE=true",
            "mlflow",
            "ui",
            "--backend-store-uri",
            str(folder),
        ]
        assert page.endswith(f"/#/experiments/{experiment}/runs/{kept.run_id}")


def test_what_mlflows_own_server_cannot_show_is_named_and_no_command_for_it(run, monkeypatch):
    for name in ("DATABRICKS_HOST", "DATABRICKS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", "/nowhere")
    for uri in (
        "databricks",
        "databricks://nobody",
        "arn:aws:sagemaker:eu-west-1:1:mlflow-tracking-server/x",
    ):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        assert pages.run_page(run.run_id) == f"run {run.run_id} in the store that MLFLOW_TRACKING_URI names"


class Workspace(BaseHTTPRequestHandler):
    """What Databricks answers to who asks for a run, and nothing else."""

    def do_GET(self):
        asked = urlsplit(self.path)
        if not asked.path.endswith("/mlflow/runs/get"):
            self.send_error(404)
            return
        run_id = parse_qs(asked.query)["run_id"][0]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"run": {"info": {"run_id": run_id, "experiment_id": "7"}}}).encode())

    def log_message(self, *arguments):
        pass


def test_a_run_in_databricks_is_shown_in_its_workspace(run, monkeypatch):
    """At the address that MLflow's client prints."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Workspace) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("DATABRICKS_HOST", host := f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("DATABRICKS_TOKEN", "hunter2")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "databricks")
        assert pages.run_page(run.run_id) == f"{host}/ml/experiments/7/runs/{run.run_id}"
        server.shutdown()


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
