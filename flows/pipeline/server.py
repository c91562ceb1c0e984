"""The Prefect API that a run talks to: the one a person configured, or a private server that ends with the run."""

import atexit
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil

from flows.pipeline.dvc import GRACE_SECONDS, describe_end, last_lines
from levy_core.base.errors import LevyError
from tasks.runtime import garbage, health, leash

ADDRESS = "PREFECT_API_URL"
# It starts in 3 to 10 s on a machine that does nothing else. On a busy one it may take any time, as long as it gets on.
IDLE_SECONDS = 120.0  # without any CPU time and any line in its log
START_SECONDS = 3600.0  # in all


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
        server = [sys.executable, garbage.__file__, "uvicorn", "--factory", "prefect.server.api.server:create_app"]
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
            LevyError: it ended, or it did nothing for long and did not answer; with the last lines of its log.
        """
        begun = moved = time.monotonic()
        progress = self._progress()
        while (status := self._process.poll()) is None and not _answers(self.api, 2):
            now, before = time.monotonic(), progress
            progress = self._progress()
            moved = now if progress != before else moved
            if now - moved > IDLE_SECONDS or now - begun > START_SECONDS:
                break
            time.sleep(0.1)
        else:
            if status is None:
                threading.Thread(target=self._watch, daemon=True).start()
                return
        self.stop()
        if status is None:
            what = f"did not answer within {now - begun:.0f} s ({now - moved:.0f} s of them without any work)"
        else:
            what = f"{describe_end(status)} at its start"
        raise LevyError(f"the run's own Prefect server {what}: {self._last_words()}")

    def _progress(self) -> tuple[float, int]:
        """What grows while the server gets on: its CPU time in seconds, and the bytes of its log."""
        try:
            used = psutil.Process(self._process.pid).cpu_times()
        except psutil.NoSuchProcess:
            return 0.0, 0
        return used.user + used.system, self._log.stat().st_size

    def _last_words(self) -> str:
        return f"see {self._log}, which ends with: {last_lines(self._log.read_text(errors='replace').splitlines(), 3)}"

    def _watch(self) -> None:
        status = self._process.wait()
        time.sleep(GRACE_SECONDS + 2)  # whoever ended it may be ending this process too, which stops its stages first
        if not self._stopped:
            sys.stdout.flush()
            message = f"error: the run's own Prefect server {describe_end(status)}; run the same command again: it goes on from here"
            print(f"{message}; {self._last_words()}", file=sys.stderr, flush=True)
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


def is_named() -> bool:
    """Whether PREFECT_API_URL names a server: one of a person, or the private one."""
    return bool(os.environ.get(ADDRESS))


def start_unless_configured() -> PrivateServer | None:
    """The private server, or None where a person named another in PREFECT_API_URL."""
    return None if is_named() else PrivateServer()
