"""The Prefect API that a run talks to: the one a person configured, or a private server that ends with the run."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from levy_core.errors import LevyError
from tasks import leash

START_SECONDS = 90


def _answers(api: str, timeout: float) -> bool:
    try:
        with urllib.request.urlopen(f"{api.rstrip('/')}/health", timeout=timeout) as reply:  # noqa: S310
            return reply.status == 200
    except (urllib.error.URLError, OSError, ValueError):
        return False


def check_server() -> None:
    """Refuses a configured Prefect server that does not answer within five seconds.

    Raises:
        LevyError: names the address.
    """
    api = os.environ.get("PREFECT_API_URL")
    if api and not _answers(api, 5):
        raise LevyError(
            f"the Prefect server {api} does not answer: start it, or unset PREFECT_API_URL to let the run start its own"
        )


@contextmanager
def prefect_api() -> Iterator[str]:
    """Yields the API's URL. The private server listens on loopback, has no scheduler and dies with this process.

    Prefect's own ephemeral server would outlive a killed run; this one is leashed to it.
    """
    configured = os.environ.get("PREFECT_API_URL")
    if configured:
        yield configured
        return
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    api = f"http://127.0.0.1:{port}/api"
    server = [sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"]
    server += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error", "--timeout-keep-alive", "60"]
    log = Path(os.environ["PREFECT_HOME"]) / "server.log"
    with log.open("w") as stream:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, leash.__file__, str(os.getpid()), *server],
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            env={**os.environ, "PREFECT_SERVER_EPHEMERAL_ENABLED": "false", "PREFECT_UI_ENABLED": "false"},
        )
    try:
        _wait(process, api, log)
        os.environ["PREFECT_API_URL"] = api
        yield api
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: "subprocess.Popen[bytes]", api: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if _answers(api, 2):
            return
        time.sleep(0.1)
    raise LevyError(f"the private Prefect server did not start within {START_SECONDS} s: see {log}")
