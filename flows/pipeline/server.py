"""The Prefect API that a run talks to: the one a person configured, or a private server that ends with the run."""

import atexit
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from flows.pipeline.dvc import GRACE_SECONDS
from levy_core.base.errors import LevyError
from tasks.runtime import health, leash

ADDRESS = "PREFECT_API_URL"
START_SECONDS = 300  # 3 to 10 on a machine that does nothing else; one that died is not waited for


def _answers(api: str, timeout: float) -> bool:
    try:
        return health.status(api, timeout) == 200
    except OSError:
        return False


def check_server() -> None:
    """Refuses a configured Prefect server that does not answer within five seconds.

    Raises:
        LevyError: names the address.
    """
    api = os.environ.get(ADDRESS)
    if api and not _answers(api, 5):
        raise LevyError(
            f"the Prefect server {api} does not answer: start it, or unset PREFECT_API_URL to let the run start its own"
        )


class PrivateServer:
    """A Prefect server on loopback, without a scheduler, that dies with this process.

    If it ends after ``wait``, this process ends too, with its children: Prefect would try for a minute at every call, for many calls.
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
        os.environ[ADDRESS] = self.api
        self._stopped = False
        atexit.register(self.stop)  # before Prefect registers its own, so that it runs after them

    def wait(self) -> None:
        """Returns when the server answers.

        Raises:
            LevyError: it ended, or did not answer in time; names its log.
        """
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            if _answers(self.api, 2):
                threading.Thread(target=self._watch, daemon=True).start()
                return
            time.sleep(0.1)
        status = self._process.poll()
        self.stop()
        what = (
            f"did not answer within {START_SECONDS} s" if status is None else f"ended with status {status} at its start"
        )
        raise LevyError(f"the run's own Prefect server {what}: see {self._log}")

    def _watch(self) -> None:
        status = self._process.wait()
        time.sleep(GRACE_SECONDS + 2)  # whoever ended it may be ending this process too, which stops its stages first
        if not self._stopped:
            sys.stdout.flush()
            message = f"error: the run's own Prefect server ended with status {status}: see {self._log}"
            print(f"{message}. Run the same command again: it goes on from here", file=sys.stderr, flush=True)
            os._exit(1)

    def stop(self) -> None:
        """Ends the server, if it has not ended; what follows in this process finds no address of it."""
        atexit.unregister(self.stop)
        self._stopped = True
        if os.environ.get(ADDRESS) == self.api:
            del os.environ[ADDRESS]
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def leave_if_lost(end: BaseException) -> None:
    """Ends this process at once, as ``end`` would, if the server of its flow is gone; for a program's last line.

    Else Prefect would keep it for minutes: for each event that it could not deliver it tries ten times to connect.
    """
    api = os.environ.get(ADDRESS)
    if not api or "prefect" not in sys.modules or _answers(api, 5):
        return
    status = end.code if isinstance(end, SystemExit) else f"error: {type(end).__name__}: {end}"
    if isinstance(status, str):
        print(status, file=sys.stderr)
    if status:
        again = "start it and run the same command again, which goes on from here"
        print(f"error: the Prefect server {api} does not answer any more: {again}", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if isinstance(status, str) else status or 0)


def start_unless_configured() -> PrivateServer | None:
    """The private server, or None where a person named another in PREFECT_API_URL."""
    return None if os.environ.get(ADDRESS) else PrivateServer()
