"""The application of `levy serve`: what MLflow would leave out of a request is refused."""

import pytest
from starlette.testclient import TestClient

from levy_core.base.errors import LevyError
from tasks.registry.server import application
from tests.support.served import URI, register

UNKNOWN = "unknown request key 'clas': allowed are n, class, classes, seed"


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    import mlflow

    folder = tmp_path_factory.mktemp("application")
    register(folder, f"sqlite:///{folder / 'mlflow.db'}")
    with TestClient(application(mlflow.pyfunc.load_model(URI))) as client:
        yield client


def ask(client, body):
    """(status, predictions or levy's line)."""
    answer = client.post("/invocations", json=body)
    said = answer.json()
    return answer.status_code, said.get("predictions") or said["stack_trace"].strip().splitlines()[-1]


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": [{"n": 1}, {"n": 1, "clas": "b"}]},
        {"dataframe_split": {"columns": ["n", "clas"], "data": [[1, "b"]]}},
        {"instances": [{"n": 1, "clas": "b"}]},
        {"inputs": {"n": 1, "clas": "b"}},
        {"inputs": [{"n": 1}, {"n": 1, "clas": "b"}]},
    ],
)
def test_a_misspelt_key_is_refused_in_every_form_of_a_request(client, body):
    status, said = ask(client, body)
    assert status == 400
    assert UNKNOWN in said


def test_csv_is_refused(client):
    """MLflow reads it only by the types of a signature."""
    answer = client.post("/invocations", content="n,class\n1,b\n", headers={"Content-Type": "text/csv"})
    assert answer.status_code == 400


def test_params_are_refused(client):
    status, said = ask(client, {"dataframe_records": [{"n": 1}], "params": {"class": "b"}})
    assert status == 400
    assert "the request has params {'class': 'b'}: write its keys into the rows" in said


def test_known_keys_are_answered(client):
    status, images = ask(client, {"dataframe_records": [{"n": 2, "class": "b", "seed": 3}], "params": {}})
    assert status == 200
    assert len(images) == 2
    assert ask(client, {"inputs": {"n": 2, "class": "b", "seed": 3}}) == (200, images)


def test_mlflow_itself_leaves_unknown_keys_out_and_the_model_behind_it_refuses_them(client):
    """Which docs/registry.md says of `predict` and of `mlflow models serve`."""
    import mlflow

    model, request = mlflow.pyfunc.load_model(URI), {"n": 1, "clas": "b"}
    assert (model.predict(request) == model.predict({"n": 1})).all()
    beside = {"inputs": {"n": 1, "seed": 3}, "class": "of no model"}
    assert ask(client, beside) == ask(client, {"inputs": {"n": 1, "seed": 3}})
    with pytest.raises(LevyError, match=UNKNOWN):
        model.get_raw_model().predict(request)
