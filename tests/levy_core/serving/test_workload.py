"""Drawings end when their time is over, when too many are long, and with the server."""

import signal

import pytest
import uvicorn

from levy_core.base.errors import LevyError
from levy_core.nets.unet import UNetConfig
from levy_core.serving import workload
from levy_core.serving.registered import RegisteredModel
from tests.conftest import save_untrained
from tests.support.served import save_sampler

MINUTES = [{"n": 1_000, "steps": 1_000, "solver": "ode"}]  # what would take them


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = save_untrained(tmp_path_factory.mktemp("model"), UNetConfig((1, 8, 8), 2, (8,)), ("a", "b"))
    save_sampler(folder)
    return folder


@pytest.fixture
def evaluations(folder):
    """A model, and a list with one entry per network evaluation of it."""
    model, counted = RegisteredModel(folder), []
    model._model.predictor.register_forward_hook(lambda *_: counted.append(1))
    return model, counted


def test_a_drawing_is_given_up_after_the_evaluation_in_which_its_time_ends(evaluations, monkeypatch):
    model, counted = evaluations
    monkeypatch.setenv("LEVY_MAX_SECONDS", "0")
    with pytest.raises(LevyError, match=r"given up after 0 s, the limit: ask for fewer .* set LEVY_MAX_SECONDS"):
        model.predict(MINUTES)
    assert counted == []
    monkeypatch.setattr(workload.time, "monotonic", lambda: float(len(counted)))  # an evaluation takes a second
    monkeypatch.setenv("LEVY_MAX_SECONDS", "3")
    with pytest.raises(LevyError, match="given up after 3 s"):
        model.predict(MINUTES)
    assert len(counted) == 4


@pytest.mark.parametrize(
    ("environment", "seconds"),
    [
        ({}, float("inf")),  # in Python nobody waits for an answer
        ({workload.TIMEOUT: "60"}, 54.0),
        ({workload.TIMEOUT: "60", "LEVY_MAX_SECONDS": "7"}, 7),
    ],
)
def test_the_time_of_a_drawing_follows_the_time_out_of_the_server(monkeypatch, environment, seconds):
    for name in (workload.TIMEOUT, "LEVY_MAX_SECONDS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert workload.seconds_allowed() == pytest.approx(seconds)


def test_more_long_drawings_than_may_be_are_given_up_and_their_places_come_back(evaluations, monkeypatch):
    model, _ = evaluations
    monkeypatch.setattr(workload, "LONG", 0.0)
    monkeypatch.setenv("LEVY_MAX_LONG", "1")
    with model.workload.drawing() as other:
        other.check()
        with pytest.raises(LevyError, match=r"longer than 0 s, and 1 others do so already, where 1 is the limit"):
            model.predict(MINUTES)
    assert len(model.predict([{"n": 1}])) == 1


@pytest.mark.parametrize("name", ["LEVY_MAX_LONG", "LEVY_MAX_SECONDS"])
@pytest.mark.parametrize("value", ["abc", "-1", "nan", ""])
def test_a_limit_that_is_no_number_is_refused_before_anything_is_drawn(evaluations, monkeypatch, name, value):
    model, counted = evaluations
    monkeypatch.setenv(name, value)
    with pytest.raises(LevyError, match=f"{name} is '{value}' in the environment, but a whole number is expected"):
        model.predict([{"n": 1}])
    assert counted == []


def test_a_drawing_ends_with_the_uvicorn_that_it_runs_in(evaluations):
    model, counted = evaluations
    before = signal.getsignal(signal.SIGTERM)
    server = uvicorn.Server(uvicorn.Config(lambda: None))
    model._model.predictor.register_forward_hook(
        lambda *_: signal.raise_signal(signal.SIGTERM) if len(counted) == 3 else None
    )
    try:
        signal.signal(signal.SIGTERM, server.handle_exit)  # as it does where it serves
        with pytest.raises(LevyError, match="the server is ending, and every drawing with it"):
            model.predict(MINUTES)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(counted) == 3


def test_a_server_refuses_what_needs_too_much_memory_beside_the_answers_under_way(folder, monkeypatch):
    model = RegisteredModel(folder)
    monkeypatch.setenv("LEVY_MAX_BYTES", str(3 * 64 * workload.BYTES))  # three images of 8 x 8
    assert len(model.predict([{"n": 4}])) == 4  # Python makes no text
    monkeypatch.setenv(workload.TIMEOUT, "60")
    with pytest.raises(LevyError, match=r"32,768 bytes of memory.*, but 24,576 is the limit: .* set LEVY_MAX_BYTES"):
        model.predict([{"n": 4}])
    held = model.predict([{"n": 2}])
    with pytest.raises(LevyError, match="set LEVY_MAX_BYTES"):
        model.predict([{"n": 2}])

    def fail():
        raise LevyError("given up")

    with pytest.raises(LevyError, match="given up"):
        model.workload.answer(64, fail)  # which holds nothing from then on
    del held
    assert len(model.predict([{"n": 3}])) == 3
