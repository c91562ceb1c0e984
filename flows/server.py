"""The Prefect API that a run talks to: the one a person configured, or a private server that ends with the run."""

import atexit
import os
import socket
import subprocess
import sys
import time
from http.client import HTTPException
from pathlib import Path

from levy_core.errors import LevyError
from tasks import health, leash

START_SECONDS = 90


def _answers(api: str, timeout: float) -> bool:
    try:
        return health.status(api, timeout) == 200
    except (OSError, ValueError, HTTPException):
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


class PrivateServer:
    """A Prefect server on loopback, without a scheduler, that dies with this process.

    Prefect's own ephemeral server would outlive a killed run. Start this one before Prefect is imported, which reads the
    address then; it starts while the caller does other things, until ``wait``. It is stopped at exit, after Prefect has
    sent its last logs.
    """

    def __init__(self) -> None:
        home = Path(os.environ["PREFECT_HOME"])
        home.mkdir(parents=True, exist_ok=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.api = f"http://127.0.0.1:{port}/api"
        self._log = home / "server.log"
        server = [sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"]
        server += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error", "--timeout-keep-alive", "60"]
        with self._log.open("w") as stream:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, leash.__file__, str(os.getpid()), *server],
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                env={**os.environ, "PREFECT_UI_ENABLED": "false", "PREFECT_API_SERVICES_SCHEDULER_ENABLED": "false"},
            )
        os.environ["PREFECT_API_URL"] = self.api
        atexit.register(self._stop)  # before Prefect registers its own, so that it runs after them

    def wait(self) -> None:
        """Returns when the server answers.

        Raises:
            LevyError: it ended, or did not answer in time; names its log.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if _answers(self.api, 2):
                return
            time.sleep(0.1)
        raise LevyError(f"the run's own Prefect server did not start within {START_SECONDS} s: see {self._log}")

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def configured() -> bool:
    """Whether a person named a Prefect server in PREFECT_API_URL."""
    return bool(os.environ.get("PREFECT_API_URL"))


def start_unless_configured() -> PrivateServer | None:
    """The private server, or None where a person named another."""
    return None if configured() else PrivateServer()
