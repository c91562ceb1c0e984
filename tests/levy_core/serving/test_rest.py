"""A registered model behind REST, by MLflow's own server and by `levy serve`: what Python gives, and bad requests that do no harm."""

import json

import numpy as np
import pandas as pd
import pytest

from tests.support.served import LEVY, MLFLOW, URI, answers, serving_model

pytestmark = pytest.mark.long


@pytest.fixture(scope="module", params=[MLFLOW, LEVY], ids=lambda command: command[0])
def served(request, tmp_path_factory):
    with serving_model(tmp_path_factory.mktemp("served"), request.param) as server:
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


HALF = [[30.0 * row] * 8 if row < 4 else [None] * 8 for row in range(8)]


def test_rest_takes_observations(served):
    import mlflow

    mlflow.set_tracking_uri(served.database)
    model = mlflow.pyfunc.load_model(URI)
    rows = [{"n": 2, "seed": 3, "steps": 4, "observed": {"pixels": HALF, "guide": "jacobian"}}, {"n": 1, "seed": 4}]
    status, answer = served.ask({"dataframe_records": rows})
    images = np.array(json.loads(answer)["predictions"], dtype=np.uint8)
    assert status == 200
    assert np.array_equal(images, model.predict(pd.DataFrame(rows)))
    assert np.abs(images[:2, :4, :, 0].astype(int) - np.array(HALF[:4])).max() <= 1
    assert not np.array_equal(images[0, 4:], images[1, 4:])


def test_rest_takes_events(served):
    import mlflow

    mlflow.set_tracking_uri(served.database)
    row = {"n": 2, "seed": 3, "steps": 4, "event": {"where": "brightness mean > 100 levels", "particles": 200}}
    status, answer = served.ask({"dataframe_records": [row]})
    assert status == 200
    found, expected = json.loads(answer)["predictions"], mlflow.pyfunc.load_model(URI).predict(pd.DataFrame([row]))
    assert np.array_equal(np.array(found.pop("samples"), dtype=np.uint8), expected.pop("samples"))
    assert found == json.loads(json.dumps(expected))
    assert found["event"] == "brightness mean > 100 levels"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"dataframe_records": [{"n": 1, "event": {"where": "class a"}}]}, "the model keeps no classifier"),
        *(
            ({"dataframe_records": [{"n": 1, "observed": observed}]}, message)
            for observed, message in (
                ({"pixels": HALF}, "keeps no covariance of its training data"),
                ({"pixels": HALF, "guide": "magic"}, "unknown guide towards observations 'magic'"),
                ({"pixels": HALF[1:]}, "observed.pixels are [7, 8], but the model draws [8, 8, 1]"),
                ({"pixels": [["1"] * 8] * 8}, "observed.pixels has the entry '1', but numbers are expected"),
                ({"stations": []}, "observed has the unknown key 'stations'"),
                ([HALF], "but an object is expected"),
            )
        ),
        ({"inputs": {"n": 1, "observed": {"pixels": HALF}}}, "but an object is expected"),
        ({"dataframe_records": [{"n": 1, "class": "c"}]}, "unknown class 'c': the model knows a, b"),
        ({"dataframe_records": [{"n": 0}]}, "n is 0, but a request asks for at least 1 sample"),
        ({"dataframe_records": [{"n": 1, "solver": "magic"}]}, "unknown solver 'magic'"),
        ({"dataframe_records": [{"seed": 0}]}, "n is missing: say how many samples"),
        ({"dataframe_records": [{"n": "many"}]}, "n is 'many', but a whole number is expected"),
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


WHOLE = "but a whole number is expected"
BAD_VALUES = [  # JSON of a value, and what each key says of it
    ("1.5", {"n": WHOLE, "seed": WHOLE, "steps": WHOLE}),
    ('"3"', {"n": WHOLE, "seed": WHOLE, "steps": WHOLE, "eta": "but a finite number is expected"}),
    ("1e308", {"n": WHOLE, "seed": WHOLE, "steps": WHOLE}),
    (
        "true",
        {"n": WHOLE, "seed": WHOLE, "steps": WHOLE, "eta": "but a finite number is expected", "class": "but text"},
    ),
    ("null", {"n": "n is missing"}),
    (
        "[1, 2]",
        {"n": WHOLE, "seed": WHOLE, "steps": WHOLE, "eta": "but a finite number", "class": "but text is expected"},
    ),
    ("-1", {"n": "n is -1", "seed": "from 0 to 2**63 - 1 is expected", "steps": "steps is -1", "eta": "eta is -1.0"}),
    (str(10**30), {"n": "ask for fewer", "seed": "from 0 to 2**63 - 1 is expected", "steps": "is the limit"}),
    ("Infinity", {"n": WHOLE, "seed": WHOLE, "steps": WHOLE, "eta": "but a finite number is expected"}),
    ("9", {"class": "class is 9, but text is expected", "solver": "solver is 9, but text is expected"}),
]


@pytest.mark.parametrize(("value", "messages"), BAD_VALUES, ids=[value for value, _ in BAD_VALUES])
def test_values_of_other_types_are_refused_and_none_is_converted(served, value, messages):
    for key, message in messages.items():
        row = f'{{"n": 1, "solver": "sde-e", "{key}": {value}}}'
        forms = [f'{{"dataframe_records": [{row}]}}']
        if not value.startswith("["):  # which is a column of values there
            forms += [f'{{"instances": [{row}]}}', f'{{"inputs": {row}}}']
        for body in forms:
            status, answer = served.ask(body.encode())
            assert status == 400, (key, body, answer)
            last = json.loads(answer)["stack_trace"].strip().splitlines()[-1]
            assert message in last, (key, body, last)
