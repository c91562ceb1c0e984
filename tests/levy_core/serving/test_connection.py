"""What nobody waits for is not drawn on: `levy serve` tells a drawing that its client has left."""

import asyncio
import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlparse

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response

from levy_core.serving.connection import WatchedConnections
from levy_core.serving.workload import CLIENT_LEFT
from tests.conftest import wait_until
from tests.support.served import LEVY, serving_model
from tests.support.servers import listeners

HOSTILE = {"dataframe_records": [{"n": 1_000, "steps": 1_000}]}  # a million network evaluations: minutes
GIVEN_UP = "a client has left: its drawing was given up"


def leave(url, body):
    """Sends a request and closes the connection once the server computes."""
    address, data = urlparse(url), json.dumps(body).encode()
    head = f"POST /invocations HTTP/1.1\r\nHost: levy\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(head.encode() + data)
        connection.settimeout(1)
        with pytest.raises(TimeoutError):
            connection.recv(1)


class Computing:
    """An application that computes in a thread, behind the same middleware and time-out as MLflow's; ``seen`` says what the threads saw."""

    def __init__(self):
        self.seen, self.begun, self.go_on = [], threading.Event(), threading.Event()
        self.app = FastAPI()
        self.app.middleware("http")(lambda request, call_next: asyncio.wait_for(call_next(request), timeout=60))
        self.app.post("/invocations")(self.compute)

    async def compute(self, request: Request):
        body = await request.body()
        return Response(await asyncio.to_thread(self.answer, body))

    def answer(self, body):
        self.begun.set()
        left = CLIENT_LEFT.get()
        while not (left.wait(0.01) or self.go_on.is_set()):
            pass
        self.seen.append(left.is_set())
        return body


@pytest.fixture
def computing():
    """(application, address) of one that uvicorn serves."""
    application = Computing()
    config = uvicorn.Config(WatchedConnections(application.app), host="127.0.0.1", port=0, log_level="warning")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    assert wait_until(lambda: server.started, 60, 0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield application, f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join()


def test_a_thread_that_computes_learns_that_its_client_has_left(computing):
    application, url = computing
    leave(url, HOSTILE)
    assert wait_until(lambda: application.seen, 60, 0.01)
    assert application.seen == [True]


def test_who_waits_gets_the_answer_of_each_request_of_a_connection(computing):
    application, url = computing
    application.go_on.set()
    with httpx.Client(base_url=url) as client:
        for body in (b"", b"small", bytes(3_000_000)):  # the last comes in many messages
            assert client.post("/invocations", content=body).content == body
    assert application.seen == [False] * 3


def test_one_client_s_leaving_is_not_another_s(computing):
    application, url = computing
    with ThreadPoolExecutor(1) as clients:
        staying = clients.submit(httpx.post, f"{url}/invocations", content=b"staying", timeout=60)
        assert application.begun.wait(60)
        leave(url, HOSTILE)
        assert wait_until(lambda: application.seen == [True], 60, 0.01)
        application.go_on.set()
        assert staying.result(60).content == b"staying"
    assert application.seen == [True, False]


def test_who_leaves_in_the_middle_of_a_body_is_not_computed_for(computing):
    application, url = computing
    address = urlparse(url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(b"POST /invocations HTTP/1.1\r\nHost: levy\r\nContent-Length: 100\r\n\r\nhalf")
    application.go_on.set()
    assert httpx.post(f"{url}/invocations", content=b"other").content == b"other"
    assert application.seen == [False]


@pytest.mark.long
def test_drawings_whose_clients_have_left_are_given_up_and_others_go_on(tmp_path):
    with serving_model(tmp_path, LEVY, LEVY_BATCH="8") as server:
        bodies = [{"dataframe_records": [{"n": 1, "class": "b", "seed": seed}]} for seed in range(16)]
        alone = [server.ask(body) for body in bodies]
        for hostile in (HOSTILE, {"dataframe_records": [{"n": 8, "steps": 1_000, "solver": "ode"}]}):
            before = server.log.read_text().count(GIVEN_UP)
            leave(server.url, hostile)
            assert wait_until(lambda before=before: server.log.read_text().count(GIVEN_UP) == before + 1)
        with ThreadPoolExecutor(8) as clients:
            for (status, answer), (_, expected) in zip(clients.map(server.ask, bodies), alone, strict=True):
                assert status == 200
                images, others = (np.array(json.loads(text)["predictions"]) for text in (answer, expected))
                assert np.abs(images - others).max() <= 1  # of 255: a last bit before rounding
        assert listeners(server.process) == {"127.0.0.1"}
