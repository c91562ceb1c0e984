"""A registered model behind REST, by MLflow's own server: what Python gives, and bad requests that do it no harm."""

import json

import numpy as np
import pytest

from tests.support.served import URI, answers, serving_model

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    with serving_model(tmp_path_factory.mktemp("served")) as server:
        yield server


def test_rest_gives_what_python_gives(served):
    import mlflow

    mlflow.set_tracking_uri(served.database)
    model = mlflow.pyfunc.load_model(URI)
    rows = [{"n": 2, "class": "b", "seed": 3}, {"n": 1, "class": None, "seed": 4}]
    status, answer = served.ask({"dataframe_records": rows})
    images = np.array(json.loads(answer)["predictions"], dtype=np.uint8)
    assert status == 200
    assert images.shape == (3, 8, 8, 1)
    assert np.array_equal(images, np.concatenate([model.predict(row) for row in rows]))
    status, answer = served.ask({"inputs": {"n": 2, "solver": "ode", "steps": 2}})
    assert np.array_equal(json.loads(answer)["predictions"], model.predict({"n": 2, "solver": "ode", "steps": 2}))
    status, answer = served.ask({"dataframe_records": [{"classes": "b=1,a=2"}]})  # no n
    assert np.array_equal(json.loads(answer)["predictions"], model.predict({"n": 3, "classes": "b=1,a=2"}))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"dataframe_records": [{"n": 1, "class": "c"}]}, "unknown class 'c': the model knows a, b"),
        ({"dataframe_records": [{"n": 0}]}, "n is 0, but a request asks for at least 1 sample"),
        ({"dataframe_records": [{"n": 1, "solver": "magic"}]}, "unknown solver 'magic'"),
        ({"dataframe_records": [{"seed": 0}]}, "n is missing: say how many samples"),
        ({"dataframe_records": [{"n": "many"}]}, "Failed to convert column n"),
        ({"dataframe_records": [{"n": 1, "steps": 10_000_000}]}, "asks for 10,000,000 steps, but 1,000 is the limit"),
        ({"dataframe_records": [{"n": 400_000}]}, "asks for 1,200,000 network evaluations"),
        (b"no json", "Ensure that input is a valid JSON"),
    ],
)
def test_a_bad_request_is_a_400_that_says_what_is_wrong_and_the_server_lives_on(served, body, message):
    status, answer = served.ask(body)
    assert status == 400
    assert message in answer.replace("\\'", "'").replace('\\"', '"')
    assert answers(served.url)
    assert served.ask({"dataframe_records": [{"n": 1}]})[0] == 200
