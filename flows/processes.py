"""DVC as subprocesses that cannot outlive the flow."""

import contextlib
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from levy_core.errors import LevyError
from tasks import leash

BUSY = re.compile(r"is busy|acquire lock|Unable to acquire", re.IGNORECASE)
GRACE_SECONDS = 5
LOCK_FILE = Path(".dvc/tmp/levy.lock")


class DvcBusyError(Exception):
    """Another DVC process holds a lock; the same command may go through a little later."""


class StageFailedError(LevyError):
    """A stage ended with an error; the message holds its last lines."""


class Dvc:
    """Runs DVC commands of this environment in the working directory.

    Stages started here are killed by ``stop_all``, and by the kernel when this process dies.
    """

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = False
        # `python` in dvc.yaml is this interpreter, whether or not its environment is activated.
        self._environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def output(self, *arguments: str) -> str:
        """Standard output of a short command.

        Raises:
            DvcBusyError: a lock is held.
            LevyError: anything else that DVC calls an error.
        """
        command = [sys.executable, "-m", "dvc", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=self._environment, check=False)  # noqa: S603
        if done.returncode:
            message = _last_lines(done.stderr.splitlines() or done.stdout.splitlines())
            raise (DvcBusyError if BUSY.search(message) else LevyError)(
                f"`dvc {' '.join(arguments)}` failed: {message}"
            )
        return done.stdout

    def reproduce(self, stage: str, log: Callable[[str], None]) -> str:
        """Runs one stage, passing its lines to ``log``; returns "ran", "restored" (from the run-cache) or "skipped".

        Raises:
            DvcBusyError: DVC gave up on a lock.
            StageFailedError: the stage failed.
        """
        command = [sys.executable, leash.__file__, str(os.getpid()), sys.executable, "-m", "dvc"]
        command += ["--wait-for-lock", "repro", "--single-item", stage]
        with self._lock:
            if self._stopped:
                raise StageFailedError(f"{stage} was not started: the run is being stopped")
            process = subprocess.Popen(  # noqa: S603  (a list of arguments; no shell)
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,  # universal newlines: a progress bar's carriage returns become lines
                env=self._environment,
                start_new_session=True,
            )
            self._running.add(process)
        lines: deque[str] = deque(maxlen=40)
        try:
            for line in process.stdout or ():
                if line.strip():
                    lines.append(line.rstrip())
                    log(line.rstrip())
            code = process.wait()
        finally:
            with self._lock:
                self._running.discard(process)
        text = "\n".join(lines)
        if code:
            raise (DvcBusyError if BUSY.search(text) else StageFailedError)(
                f"stage {stage} failed: {_last_lines(list(lines))}"
            )
        if "didn't change, skipping" in text:
            return "skipped"
        return "restored" if "is cached - skipping run" in text else "ran"

    def stop_all(self) -> None:
        """Interrupts every running stage, and kills what has not ended a few seconds later."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            _signal_group(process, signal.SIGINT)
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(GRACE_SECONDS)
            _signal_group(process, signal.SIGKILL)  # also what DVC left of its group


def _signal_group(process: subprocess.Popen[str], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


def _last_lines(lines: list[str], count: int = 12) -> str:
    errors = [line for line in lines if line.strip() and not line.startswith("Traceback")]
    explained = [line for line in errors if line.startswith("error: ")]  # what a stage says of bad input
    return (explained[-1].removeprefix("error: ") if explained else "\n".join(errors[-count:])) or "no output"


@contextlib.contextmanager
def one_run_at_a_time() -> Iterator[None]:
    """Refuses a second run in the same checkout; the lock goes with the process that holds it.

    Raises:
        LevyError: names the process that holds the lock.
    """
    LOCK_FILE.parent.mkdir(parents=True, exist_ok=True)
    with LOCK_FILE.open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise LevyError(
                f"another `levy run` (process {stream.read().strip() or 'unknown'}) is using this checkout: wait for it or stop it"
            ) from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield


def mend_rwlock() -> None:
    """Removes DVC's ``rwlock`` if a killed process left it half written: DVC refuses to work with such a file for ever.

    Done only under the lock that DVC itself takes to write it, so a DVC at work is never disturbed.
    """
    path = Path(".dvc/tmp/rwlock")
    if not path.exists():
        return
    with path.with_name("rwlock.lock").open("a") as guard:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        try:
            json.loads(path.read_text())
        except ValueError:
            path.unlink()
