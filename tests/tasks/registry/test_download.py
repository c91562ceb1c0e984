"""A registered model is fetched as MLflow has it, and what cannot be opened is named."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import mlflow
import pytest

from levy_core.base.errors import LevyError
from tasks.registry import tracking
from tasks.registry.download import LOADERS, fetch, resolve
from tests.support.registered import registry_in

NAME = "levy-digits"
CHAMPION = f"models:/{NAME}@champion"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder whose mlflow.db holds two versions and an alias of the first; their contents are what matters here."""
    folder = tmp_path_factory.mktemp("a record, 100 % of it")
    with registry_in(folder):
        client = tracking.connect().MlflowClient()
        experiment = tracking.get_experiment(mlflow, NAME)
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


@pytest.mark.parametrize("uri", [CHAMPION, f"models:/{NAME}/1", f"models:/{NAME}/2"])
def test_a_version_and_an_alias_give_the_files_of_that_version(record, tmp_path, uri):
    assert (fetch(uri, tmp_path / "copy") / "weights").read_text() == ("2" if uri.endswith("2") else "1")


def test_a_moved_alias_is_followed_and_one_that_is_gone_is_refused(record, tmp_path):
    record.set_registered_model_alias(NAME, "champion", "2")
    assert (fetch(CHAMPION, tmp_path / "moved") / "weights").read_text() == "2"
    record.delete_registered_model_alias(NAME, "champion")
    with pytest.raises(LevyError, match=f"{CHAMPION} cannot be read"):
        fetch(CHAMPION, tmp_path / "gone")


def test_what_is_written_into_files_is_the_version_and_not_the_alias(record):
    assert resolve(CHAMPION) == f"models:/{NAME}/1"
    assert resolve(f"models:/{NAME}/2") == f"models:/{NAME}/2"
    for unknown in (f"models:/{NAME}@nobody", "models:/other@champion", "runs:/abc/model", "folder"):
        assert resolve(unknown) == unknown


def test_a_deleted_version_is_refused_and_the_others_stay(record, tmp_path):
    record.delete_model_version(NAME, "2")
    with pytest.raises(LevyError, match=f"models:/{NAME}/2 cannot be read"):
        fetch(f"models:/{NAME}/2", tmp_path / "gone")
    assert (fetch(f"models:/{NAME}/1", tmp_path / "kept") / "weights").read_text() == "1"


@pytest.mark.parametrize("uri", ["models:/none@champion", f"models:/{NAME}@none", f"models:/{NAME}/3", "runs:/1/model"])
def test_what_is_not_there_is_refused_with_where_to_look(record, tmp_path, uri):
    with pytest.raises(LevyError, match=f"{uri} cannot be read from sqlite:///.*`levy lookup` lists what is there"):
        fetch(uri, tmp_path / "copy")


@pytest.mark.parametrize("text", ["{", "- 1", "flavors: 1", "flavors: {python_function: {data: [1]}}"])
def test_a_damaged_description_is_named(record, tmp_path, text):
    model = record.get_model_version(NAME, "1").source  # models:/ID of the logged model
    place = record.get_logged_model(model.removeprefix("models:/")).artifact_location
    (Path(unquote(urlsplit(place).path)) / "MLmodel").write_text(text)
    with pytest.raises(LevyError, match=f"{CHAMPION} is damaged"):
        fetch(CHAMPION, tmp_path / "copy")
