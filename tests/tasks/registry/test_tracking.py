"""The database of MLflow, where it is a file."""

import mlflow
import pytest

from tasks.registry import tracking


@pytest.fixture
def database(tmp_path, monkeypatch):
    path = tmp_path / "new" / "record.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{path}")
    return path


def test_a_new_database_is_there_whole_with_nothing_beside_it(database):
    client = tracking.connect().MlflowClient()
    assert [path.name for path in database.parent.iterdir()] == [database.name]
    assert [found.name for found in client.search_experiments()] == ["Default"]
    made = client.get_experiment(tracking.experiment(mlflow, "levy-digits"))
    assert made.artifact_location == f"file://{database.parent}/mlartifacts"


def test_the_slower_of_two_that_make_it_takes_the_others(database):
    tracking.connect().MlflowClient().create_experiment("theirs")
    before = database.read_bytes()
    tracking._make(database)
    assert database.read_bytes() == before


def test_a_server_has_no_file(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://levy@127.0.0.1/mlflow")
    assert tracking.database_file() is None
