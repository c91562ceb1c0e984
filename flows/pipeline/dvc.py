"""DVC as subprocesses that cannot outlive the flow."""

import contextlib
import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil

from levy_core.base.errors import LevyError
from levy_core.base.files import replacing
from tasks.runtime import garbage, leash

FULL = re.compile(re.escape(os.strerror(errno.ENOSPC)) + r"|disk is full")  # the second of SQLite
BUSY = re.compile(r"is busy|acquire lock|Unable to acquire", re.IGNORECASE)
EXITED = re.compile(r"exited with (-?\d+)")  # DVC, of the process of a stage
GRACE_SECONDS = 5
LOCK_FILE = Path(".dvc/tmp/levy.lock")
RWLOCK = Path(".dvc/tmp/rwlock")
_NO_LOCKS: dict[str, Any] = {"write": {}, "read": {}}


class DvcBusyError(Exception):
    """Another DVC process holds a lock; the same command may go through a little later."""


class StageFailedError(LevyError):
    """A stage ended with an error; the message holds its last lines."""


class Dvc:
    """Runs DVC commands of this environment in a folder.

    What is started here is killed by ``stop_all``, and by the kernel when this process dies.
    """

    def __init__(self, folder: Path = Path(), environment: Mapping[str, str] = os.environ) -> None:
        self._folder = folder
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = False
        # `python` in dvc.yaml is this interpreter, whether or not its environment is activated.
        self._environment = {**environment, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"}

    def output(self, *arguments: str) -> str:
        """Standard output of a short command.

        Raises:
            DvcBusyError: a lock is held.
            LevyError: anything else that DVC calls an error.
        """
        with self._lock:
            process = self._leashed("dvc", *arguments, stderr=subprocess.PIPE)
            self._running.add(process)
        try:
            said, complained = process.communicate()
        finally:
            with self._lock:
                self._running.discard(process)
        if process.returncode:
            message = explain_end(process.returncode, complained.splitlines() or said.splitlines())
            raise (DvcBusyError if BUSY.search(message) else LevyError)(
                f"`dvc {' '.join(arguments)}` failed: {message}"
            )
        return said

    def reproduce(
        self,
        stage: str,
        log: Callable[[str], None],
        *options: str,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> str:
        """Runs one stage, passing its lines to ``log``; returns "ran" or "skipped".

        Args:
            stage: its name in DVC's graph. log: takes a line. options: of `dvc repro`. environment: variables of this stage.

        Raises:
            DvcBusyError: DVC gave up on a lock.
            StageFailedError: the stage failed.
        """
        arguments = ["--wait-for-lock", "repro", "--single-item", *options, stage]
        with self._lock:
            if self._stopped:
                raise StageFailedError(f"{stage} was not started: the run is being stopped")
            process = self._leashed("dvc", *arguments, stderr=subprocess.STDOUT, environment=environment)
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
            raise (DvcBusyError if code > 0 and BUSY.search(text) else StageFailedError)(
                f"stage {stage} failed: {explain_end(code, list(lines))}"
            )
        return "skipped" if "didn't change, skipping" in text else "ran"

    def _leashed(
        self, *arguments: str, stderr: int, environment: Mapping[str, str] = MappingProxyType({})
    ) -> "subprocess.Popen[str]":
        """A module as a program with arguments, in a session of its own, for as long as this process lives."""
        return subprocess.Popen(  # noqa: S603  (a list of arguments; no shell)
            [sys.executable, leash.__file__, str(os.getpid()), sys.executable, garbage.__file__, *arguments],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,  # universal newlines: a progress bar's carriage returns become lines
            env={**self._environment, **environment},
            start_new_session=True,
        )

    def stop_all(self) -> None:
        """Interrupts whatever runs, and kills what has not ended a few seconds later. No stage starts any more."""
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


def last_lines(lines: list[str], count: int = 12) -> str:
    """What a command that failed said at its end: the message for people if there is one."""
    errors = [line for line in lines if line.strip() and not line.startswith("Traceback")]
    explained = [line for line in errors if line.startswith("error: ")]  # what a stage says of bad input
    if not explained and FULL.search("\n".join(errors)):
        return f"the disk is full: free some space and run the same command again ({errors[-1]})"
    return (explained[-1].removeprefix("error: ") if explained else "\n".join(errors[-count:])) or "no output"


def explain_end(status: int, lines: list[str]) -> str:
    """Why a DVC process failed: a signal that it, or the stage that it ran, was killed by; else what it said at its end.

    Args:
        status: of the process, as ``subprocess`` gives it. lines: what it printed.
    """
    of_stage = EXITED.search("\n".join(lines))
    for who, end in (("DVC", status), ("its process", int(of_stage[1]) if of_stage else 0)):
        if _signal_of(end):
            said = f"; before that: {last_lines(lines, 3)}" if who == "DVC" and lines else ""
            return f"{who} {describe_end(end)}. The same command goes on from here{said}"
    return last_lines(lines)


def describe_end(status: int) -> str:
    """How a process ended, by its status; of one that was killed, by which signal and what may have sent it."""
    number = _signal_of(status)
    if not number:
        return f"ended with status {status}"
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    if number != signal.SIGKILL:
        return f"was killed by {name}"
    memory = psutil.virtual_memory()
    return (
        f"was killed by {name}, as the kernel does where memory runs out (`dmesg` says so; now {memory.available / 2**30:.1f} of "
        f"{memory.total / 2**30:.1f} GiB are free): where it was that, lower --workers, compute.processes or the batch in params.yaml"
    )


def _signal_of(status: int) -> int:
    """The signal that a process was killed by, from its status as ``subprocess`` (-9) or a shell (137) gives it; 0 for none."""
    number = -status if status < 0 else status - 128
    return number if 0 < number < signal.NSIG else 0


def check_root() -> None:
    """Refuses any folder but the root of a checkout.

    Raises:
        LevyError: it has no dvc.yaml.
    """
    if not Path("dvc.yaml").exists():
        raise LevyError(f"{Path.cwd()} has no dvc.yaml: run from the root of the repository")


def one_run_at_a_time() -> contextlib.AbstractContextManager[None]:
    """Refuses a second run in the same checkout; the lock goes with the process that holds it."""
    return hold_lock(LOCK_FILE, "`levy run`", "this checkout")


class LockHeldError(LevyError):
    """Another process holds the lock."""


@contextlib.contextmanager
def hold_lock(path: Path, what: str, where: str) -> Iterator[None]:
    """Holds the lock of a file, in which stands the process that holds it; the lock goes with that process.

    Raises:
        LockHeldError: names the process that holds the lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            raise LockHeldError(
                f"another {what} (process {stream.read().strip() or 'unknown'}) is using {where}: wait for it or stop it"
            ) from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield


def find_rwlock_damage(folder: Path = Path()) -> str:
    """What killed processes left in DVC's ``rwlock`` and `levy run` takes out of it; empty where there is nothing."""
    path = folder / RWLOCK
    if not path.exists():
        return ""
    text = path.read_text(errors="replace")
    locks = _living_locks(text)
    if locks is None:
        return f"{RWLOCK} is half written, and DVC refuses it: `levy run` removes it"
    if locks == _NO_LOCKS | json.loads(text):
        return ""
    return f"{RWLOCK} names processes that have ended: `levy run` takes them out"


def repair_rwlock(folder: Path = Path()) -> str:
    """Takes out of DVC's ``rwlock`` what killed processes left: a half-written file, and locks of processes that are no more.

    DVC refuses to work with a half-written file for ever, and takes any process that has the number of a dead one for the dead
    one. Done only under the lock that DVC itself takes to write the file, so that a DVC at work is never disturbed.

    Returns:
        What was done, for people; empty where nothing was.
    """
    path = folder / RWLOCK
    if not path.exists():
        return ""
    with path.with_name("rwlock.lock").open("a") as guard:
        try:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return ""
        text = path.read_text(errors="replace")
        locks = _living_locks(text)
        if locks is None:
            path.unlink()
            return f"{RWLOCK} was half written, and DVC refused it: removed"
        if locks == _NO_LOCKS | json.loads(text):
            return ""
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(locks))
        return f"{RWLOCK} named processes that have ended: taken out"


def _living_locks(text: str) -> dict[str, dict[str, Any]] | None:
    """The part of an ``rwlock`` that processes hold which still run; None where the text is not a whole ``rwlock``."""
    try:
        held = json.loads(text)
        writers = {name: holder for name, holder in held.get("write", {}).items() if _lives(holder)}
        readers = {name: list(filter(_lives, holders)) for name, holders in held.get("read", {}).items()}
    except (ValueError, AttributeError, KeyError, TypeError):
        return None
    return {"write": writers, "read": {name: holders for name, holders in readers.items() if holders}}


def _lives(holder: Mapping[str, Any]) -> bool:
    """Whether the process that wrote an entry still runs: its number may be another's by now, its arguments are not."""
    try:
        running = psutil.Process(holder["pid"]).cmdline()
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
    arguments = holder["cmd"].split()[1:]
    return " ".join(running).split()[-len(arguments) :] == arguments if arguments else bool(running)
