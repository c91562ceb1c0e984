"""A registered model is found in MLflow's sqlite file as MLflow finds it."""

import sqlite3
from pathlib import Path

import mlflow
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from levy_core.base.errors import LevyError
from tasks.registry import tracking
from tasks.registry.download import LOADERS, fetch, find

NAME = "levy-digits"
CHAMPION = f"models:/{NAME}@champion"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder whose mlflow.db holds two versions and an alias of the first; their contents are what matters here."""
    folder = tmp_path_factory.mktemp("a record, 100 % of it")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlflow.db")  # MLflow would set it for good
        client = tracking.connect().MlflowClient()
        experiment = tracking.experiment(mlflow, NAME)
        for number in "1", "2":
            (folder / "model").mkdir(exist_ok=True)
            (folder / "model" / "weights").write_text(number)
            with mlflow.start_run(experiment_id=experiment):
                mlflow.pyfunc.log_model(
                    name="model",
                    loader_module=LOADERS[0],
                    data_path="model",
                    registered_model_name=NAME,
                    pip_requirements=[],
                )
        client.set_registered_model_alias(NAME, "champion", "1")
    return folder


@pytest.fixture
def record(made, monkeypatch):
    """MLflow's client of that record, whose files are as before afterwards."""
    kept = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    monkeypatch.chdir(made)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{made}/mlflow.db")
    yield tracking.connect().MlflowClient()
    for path, content in kept.items():
        path.write_bytes(content)


def files_of(folder):
    """Names and contents, but for what MLflow adds to a download."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "registered_model_meta"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("uri", [CHAMPION, f"models:/{NAME}/1", f"models:/{NAME}/2"])
def test_it_is_what_mlflow_downloads(record, tmp_path, uri):
    found, fetched = find(uri), fetch(uri, tmp_path / "copy")
    assert (found / "weights").read_text() == ("2" if uri.endswith("2") else "1")
    assert files_of(found.parent.parent) == files_of(fetched.parent.parent)


def test_a_moved_alias_is_followed(record):
    record.set_registered_model_alias(NAME, "champion", "2")
    assert (find(CHAMPION) / "weights").read_text() == "2"
    record.delete_registered_model_alias(NAME, "champion")
    assert find(CHAMPION) is None


def test_a_deleted_version_is_not_found(record):
    record.delete_model_version(NAME, "2")
    assert find(f"models:/{NAME}/2") is None
    assert find(f"models:/{NAME}/1") is not None


@pytest.mark.parametrize(
    "uri",
    ["models:/none@champion", f"models:/{NAME}@none", f"models:/{NAME}/3", f"models:/{NAME}/latest", "runs:/1/model"],
)
def test_what_it_does_not_know_is_left_to_mlflow(record, uri):
    assert find(uri) is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE model_versions SET storage_location = replace(storage_location, 'file://', 's3://')",
        "UPDATE model_versions SET storage_location = replace(storage_location, 'file://', 'mlflow-artifacts:')",
        "UPDATE model_versions SET storage_location = storage_location || '/none'",
        "UPDATE model_versions SET storage_location = NULL",
        "UPDATE model_versions SET status = 'PENDING_REGISTRATION'",
        "UPDATE model_versions SET current_stage = 'Archived'",
        "ALTER TABLE model_versions RENAME storage_location TO place",
        "DROP TABLE registered_model_aliases",
    ],
)
def test_tables_that_are_not_as_expected_are_left_to_mlflow(record, statement):
    assert find(CHAMPION)
    with sqlite3.connect("mlflow.db") as database:
        database.execute(statement)
    assert find(CHAMPION) is None


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:9", "sqlite:///none.db", "sqlite:///:memory:", "sqlite:///file:mlflow.db?uri=true"]
)
def test_other_records_are_left_to_mlflow_and_none_is_made(record, monkeypatch, address):
    before = sorted(path.name for path in Path().iterdir())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    assert find(CHAMPION) is None
    assert sorted(path.name for path in Path().iterdir()) == before


@pytest.mark.parametrize("text", ["{", "- 1", "flavors: 1", "flavors: {python_function: {data: [1]}}"])
def test_a_damaged_description_is_named(record, text):
    (find(CHAMPION).parent.parent / "MLmodel").write_text(text)
    with pytest.raises(LevyError, match=f"{CHAMPION} is damaged"):
        find(CHAMPION)


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
