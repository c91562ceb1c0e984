"""The database of MLflow, where it is a file."""

from pathlib import Path

import mlflow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

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
    made = client.get_experiment(tracking.get_experiment(mlflow, "levy-digits"))
    assert made.artifact_location == f"file://{database.parent}/mlartifacts"


def test_the_slower_of_two_that_make_it_takes_the_others(database):
    tracking.connect().MlflowClient().create_experiment("theirs")
    before = database.read_bytes()
    tracking._make_database(database)
    assert database.read_bytes() == before


def test_a_server_has_no_file(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://levy@127.0.0.1/mlflow")
    assert tracking.database_file() is None


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="?\0\n\r"), min_size=1)


@given(
    NAMES.filter(lambda name: name != ":memory:" and not name.startswith("file:")), st.sampled_from(["", "?timeout=9"])
)
def test_the_file_of_an_address_is_sqlalchemys(name, options):
    address = f"sqlite:///{name}{options}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracking, "address", lambda: address)
        found = tracking.database_file()
    assert found is not None
    assert str(found) == str(Path(make_url(address).database).resolve())
