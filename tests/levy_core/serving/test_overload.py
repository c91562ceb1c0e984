"""MLflow's own server of a registered model under more requests than it can meet."""

import re
import resource
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from tests.support.served import LEVY, MLFLOW, answers, serving_model

pytestmark = pytest.mark.long

SMALL = {"dataframe_records": [{"n": 1}]}
HOSTILE = {"dataframe_records": [{"n": 1_000, "steps": 1_000}]}  # a million network evaluations: minutes

JOINED = {"dataframe_records": [{"n": 8, "steps": 1_000, "solver": "ode"}]}  # as long, in batches where there are some


def processor_seconds(server):
    """Used by the processes of a server so far."""
    return sum(sum(p.cpu_times()[:2]) for p in [server.process, *server.process.children(recursive=True)])


def is_idle(server):
    """Whether its processes use less than a tenth of a processor."""
    before = processor_seconds(server)
    time.sleep(2)
    return processor_seconds(server) - before < 0.2


def test_twelve_requests_of_minutes_leave_the_server_answering_and_end_in_time(tmp_path):
    with serving_model(tmp_path, LEVY_MAX_SECONDS="40") as server, ThreadPoolExecutor(12) as clients:
        hostile = [clients.submit(server.ask, HOSTILE) for _ in range(12)]
        time.sleep(1)
        assert server.ask(SMALL)[0] == 200
        assert sum(not request.done() for request in hostile) >= 3  # they go on beside it
        answers_ = [request.result() for request in hostile]
        assert {status for status, _ in answers_} == {400}
        assert sum("given up after 40 s, the limit" in answer for _, answer in answers_) == 3
        assert sum("and 3 others do so already" in answer for _, answer in answers_) == 9
        assert is_idle(server)


def test_what_runs_out_of_the_servers_time_is_not_computed_on(tmp_path):
    with serving_model(tmp_path, MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT="5") as server:
        status, answer = server.ask(HOSTILE)
        assert (status, "given up after 4.5 s" in answer) in {(400, True), (504, False)}  # 504 on a busy machine
        time.sleep(2)
        assert is_idle(server)
        assert server.ask(SMALL)[0] == 200


@pytest.mark.parametrize("command", [MLFLOW, LEVY], ids=lambda command: command[0])
def test_sigterm_ends_a_server_that_draws_for_many(tmp_path, command):
    with (
        serving_model(tmp_path, command, LEVY_MAX_LONG="12", LEVY_BATCH="8") as server,
        ThreadPoolExecutor(12) as clients,
    ):
        hostile = [clients.submit(server.ask, request) for request in (HOSTILE, JOINED) * 6]
        time.sleep(4)
        processes = [server.process, *server.process.children(recursive=True)]
        assert answers(server.url)
        server.process.send_signal(signal.SIGTERM)
        begun = time.monotonic()
        _, alive = psutil.wait_procs(processes, timeout=60)
        assert alive == []
        assert time.monotonic() - begun < 3  # the drawings would go on for minutes
        assert all("the server is ending" in request.result()[1] for request in hostile)


def test_the_memory_of_an_answer_is_bounded_and_free_again_after_it(tmp_path):
    with serving_model(tmp_path, LEVY_MAX_BYTES="100000") as server:  # 12 images
        for _ in range(3):
            assert server.ask({"dataframe_records": [{"n": 10}]})[0] == 200
        status, answer = server.ask({"dataframe_records": [{"n": 20}]})
        assert (status, "but 100,000 is the limit" in answer) == (400, True)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process are Linux's")
def test_activations_that_do_not_fit_are_a_400_with_what_would_and_the_server_lives_on(tmp_path):
    large = {"dataframe_records": [{"n": 250, "steps": 2}]}
    with serving_model(tmp_path, LEVY) as server:
        assert server.ask(SMALL)[0] == 200  # the thread that draws is there
        soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_AS)
        left = server.process.memory_info().vms + 12 * 2**20
        resource.prlimit(server.process.pid, resource.RLIMIT_AS, (left, hard))
        status, answer = server.ask(large)
        assert status == 400
        fitting = re.search(
            r"n is 250, but the memory that is free holds (\d+) samples: ask for fewer at a time", answer
        )
        assert 0 < int(fitting[1]) < 250
        assert server.ask(SMALL)[0] == 200
        resource.prlimit(server.process.pid, resource.RLIMIT_AS, (soft, hard))
        assert server.ask(large)[0] == 200
