"""Small requests under way at once share batches: the answers stay their own, and so do their mistakes."""

import contextvars
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from levy_core.base.errors import LevyError, NotFiniteError
from levy_core.nets.unet import UNetConfig
from levy_core.sampling.solver import Solver
from levy_core.serving.draw import draw_samples, draw_together
from levy_core.serving.registered import RegisteredModel
from levy_core.serving.workload import CLIENT_LEFT
from levy_core.training.checkpoint import load_model
from tests.conftest import save_untrained, wait_until
from tests.support.served import save_sampler

CPU = torch.device("cpu")
FIRST = {"n": 1, "seed": 9}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = save_untrained(tmp_path_factory.mktemp("model"), UNetConfig((1, 8, 8), 2, (8,)), ("a", "b"))
    save_sampler(folder)
    return folder


class Server:
    """A model that answers in threads, as a server does, whose first evaluation waits until ``go_on``."""

    def __init__(self, folder):
        self.model, self.sizes = RegisteredModel(folder), []
        self._begun, self._go = threading.Event(), threading.Event()
        self._threads = ThreadPoolExecutor(16)
        self.model._model.predictor.register_forward_pre_hook(self._hold)

    def _hold(self, _, inputs):
        self.sizes.append(len(inputs[0]))
        self._begun.set()
        assert self._go.wait(60)

    def ask(self, request, left=None):
        """The future of an answer; ``left`` is set when its client leaves."""
        context = contextvars.copy_context()
        context.run(CLIENT_LEFT.set, left)
        return self._threads.submit(context.run, self.model.predict, [request])

    def begin(self, left=None):
        """The future of a first request, which is under way."""
        first = self.ask(FIRST, left)
        assert self._begun.wait(60)
        return first

    def join(self, *requests, left=None):
        """The futures of further requests, once all wait."""
        before = len(self.model._batches._waiting)
        futures = [self.ask(request, left) for request in requests]
        assert wait_until(lambda: len(self.model._batches._waiting) == before + len(requests), 60, 0.01)
        return futures

    def go_on(self):
        self._go.set()


@pytest.fixture
def server(folder, monkeypatch):
    monkeypatch.setenv("LEVY_BATCH", "6")
    server = Server(folder)
    yield server
    server.go_on()
    server._threads.shutdown()


@pytest.fixture
def alone(folder, monkeypatch):
    """What a model without batches answers."""
    model = RegisteredModel(folder)

    def ask(request):
        with monkeypatch.context() as without:
            without.delenv("LEVY_BATCH", raising=False)
            return model.predict([request])

    return ask


def assert_same_images(images, expected):
    """Up to a last bit before rounding to pixels."""
    assert images.shape == expected.shape
    assert np.abs(images.astype(int) - expected).max() <= 1


def test_what_waits_for_one_sampler_is_drawn_in_one_batch(server, alone):
    requests = [{"n": 2, "class": "b", "seed": 3}, {"n": 1, "class": "a", "seed": 4}, {"n": 3, "seed": 3}]
    asked = [server.begin(), *server.join(*requests)]
    server.go_on()
    for future, request in zip(asked, [FIRST, *requests], strict=True):
        assert_same_images(future.result(60), alone(request))
    assert server.sizes == [1] * 3 + [6] * 3


def test_a_batch_holds_no_more_than_the_limit_and_larger_requests_are_drawn_alone(server):
    first, small = server.begin(), server.join(*[{"n": 2, "seed": seed} for seed in range(5)])
    large = server.ask({"n": 7})
    server.go_on()
    for future, n in zip([first, *small, large], [1, *[2] * 5, 7], strict=True):
        assert len(future.result(60)) == n
    assert sorted(set(server.sizes)) in ([1, 4, 6, 7], [1, 2, 4, 6, 7])
    assert server.sizes.count(7) == 3


def test_requests_for_other_samplers_are_neither_joined_nor_waited_for(server, alone):
    first, (same,) = server.begin(), server.join({"n": 1, "seed": 1})
    other = {"n": 1, "steps": 2, "seed": 1}
    drawn = server.ask(other)
    assert wait_until(lambda: len(server.sizes) == 2, 60, 0.01)  # beside the one that is under way
    server.go_on()
    assert np.array_equal(drawn.result(60), alone(other))
    assert np.array_equal(same.result(60), alone({"n": 1, "seed": 1}))
    assert len(first.result(60)) == 1
    assert set(server.sizes) == {1}


def test_an_idle_server_answers_bit_for_bit_as_without_batches(server, alone):
    server.go_on()
    for request in ({"n": 5, "seed": 2}, {"n": 1, "class": "b", "solver": "sde-e", "eta": 0.5, "steps": 4}):
        assert np.array_equal(server.ask(request).result(60), alone(request))


def test_who_leaves_a_batch_does_not_take_it_along(server, alone):
    left = threading.Event()
    first, (staying,) = server.begin(), server.join({"n": 1, "seed": 1})
    (leaving,) = server.join({"n": 1, "seed": 2}, left=left)
    server.model._model.predictor.register_forward_hook(lambda *_: left.set() if 2 in server.sizes else None)
    server.go_on()
    with pytest.raises(LevyError, match="the client has left"):
        leaving.result(60)
    assert_same_images(staying.result(60), alone({"n": 1, "seed": 1}))
    assert len(first.result(60)) == 1
    assert server.sizes == [1] * 3 + [2] * 3


def test_who_leaves_while_it_waits_is_not_drawn_and_the_first_one_s_leaving_does_not_harm_those_who_wait(server, alone):
    left, first_left = threading.Event(), threading.Event()
    first, (staying,) = server.begin(first_left), server.join({"n": 1, "seed": 1})
    (leaving,) = server.join({"n": 1, "seed": 2}, left=left)
    left.set()
    with pytest.raises(LevyError, match="the client has left"):
        leaving.result(60)
    first_left.set()
    server.go_on()
    with pytest.raises(LevyError, match="the client has left"):
        first.result(60)
    assert np.array_equal(staying.result(60), alone({"n": 1, "seed": 1}))
    assert server.sizes == [1] + [1] * 3  # the first one ended after one evaluation


def test_whose_time_is_over_is_given_up_and_the_others_are_answered(server, alone, monkeypatch):
    first, (staying,) = server.begin(), server.join({"n": 1, "seed": 1})
    monkeypatch.setenv("LEVY_MAX_SECONDS", "1")
    (late,) = server.join({"n": 1, "seed": 2})
    with pytest.raises(LevyError, match="given up after 1 s, the limit"):
        late.result(60)
    server.go_on()
    assert len(first.result(60)) == 1
    assert np.array_equal(staying.result(60), alone({"n": 1, "seed": 1}))


def test_what_fails_together_is_drawn_alone_so_that_only_the_wrong_one_fails(server, alone):
    def fail(_, inputs, eps_hat):
        wrong = inputs[2]["label"] == 1
        return torch.where(wrong[:, None, None, None], torch.nan, eps_hat)

    _, (right, wrong) = server.begin(), server.join({"n": 2, "class": "a"}, {"n": 1, "class": "b"})
    server.model._model.predictor.register_forward_hook(fail)
    server.go_on()
    with pytest.raises(NotFiniteError, match="1 of 1 samples, the first with index 0"):
        wrong.result(60)
    assert np.array_equal(right.result(60), alone({"n": 2, "class": "a"}))


def test_a_guide_without_a_class_is_refused_before_it_joins(server):
    first, guided = server.begin(), {"n": 1, "guide": "classifier-free", "strength": 2}
    with pytest.raises(LevyError, match="moves samples towards a class, but these are drawn without one"):
        server.ask(guided).result(60)
    server.go_on()
    assert len(first.result(60)) == 1


ODE, POSTERIOR = Solver("ode", "2m-data", "karras", 4), Solver("posterior", "ei-noise", "karras", 4)
SDE = Solver("sde-e", "ei-noise", "karras", 4, 0.5)
GUIDED = Solver("ode", "heun", "karras", 4, guide="classifier-free", strength=1.5)
DESIGNS = {"lim": (ODE, SDE, POSTERIOR, GUIDED), "dlpm": (SDE, POSTERIOR), "tedm": (ODE, SDE), "edm": (ODE, GUIDED)}


@pytest.mark.parametrize(
    ("preset", "solver"),
    [(preset, solver) for preset, solvers in DESIGNS.items() for solver in solvers],
    ids=lambda part: part if isinstance(part, str) else f"{part.family}-{part.guide}",
)
def test_samples_of_a_batch_are_those_of_each_request_alone(tmp_path, preset, solver):
    folder = save_untrained(tmp_path / "model", UNetConfig((1, 8, 8), 2, (8,)), ("a", "b"), preset=preset)
    model = load_model(folder)
    model = replace(model, samples=replace(model.samples, dtype="float32"))  # as fields are kept
    requests = [(3, np.array([1, 1])), (4, np.array([0])), (2**63 - 1, np.array([0, 1, 0]))]
    together = draw_together(model, solver, requests, CPU, lambda k, x0: None)
    for samples, (seed, labels) in zip(together, requests, strict=True):
        expected = draw_samples(model, solver, seed, labels, len(labels), CPU)
        near = 1e-4 if preset == "tedm" else 1e-5  # untrained, it makes more of the last bits
        assert np.abs(samples - expected).max() <= near * max(1, np.abs(expected).max())
    others = [requests[0], (7, np.array([1])), (8, np.array([1, 1, 1]))]  # as many
    assert np.array_equal(draw_together(model, solver, others, CPU, lambda k, x0: None)[0], together[0])
