"""The drawings that are under way in the threads of one process: how long one may take, how many may be long, and when all end."""

import logging
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf

import numpy as np
import torch

from levy_core.base.errors import LevyError
from levy_core.base.memory import free_memory, give_back
from levy_core.serving.memory import Need
from levy_core.serving.requests import check_limit, limit_of

TIMEOUT = "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT"  # seconds, in the environment of MLflow's server
SHARE = 0.9  # of it, so that the answer still comes and says what was too much
BYTES = 128  # memory per value at the peak, while MLflow's server makes an answer's text; measured: docs/registry.md
LONG = 5.0  # seconds after which a drawing counts as long
# Set in the context of a request once nobody waits for its answer, where the server tells (`levy_core.serving.connection`).
CLIENT_LEFT: ContextVar[threading.Event | None] = ContextVar("CLIENT_LEFT", default=None)


class Drawing:
    """The drawing of one request, which asks between network evaluations whether it may go on."""

    def __init__(self, workload: "Workload") -> None:
        self._workload, self._seconds, self._most_long = workload, seconds_allowed(), limit_of("LEVY_MAX_LONG")
        self.is_long = False
        self._client_left = CLIENT_LEFT.get()
        self._began = time.monotonic()

    def check(self) -> None:
        """Does nothing where the drawing may go on.

        Raises:
            LevyError: its time is over, its client has left, the server is ending, or as many others as may be are long, too.
        """
        if self._client_left is not None and self._client_left.is_set():
            logging.getLogger("levy").warning("a client has left: its drawing was given up")
            raise LevyError("the client has left: its drawing was given up")
        if is_server_ending():
            raise LevyError("the server is ending, and every drawing with it: ask again when it runs")
        taken = time.monotonic() - self._began
        if taken > self._seconds:
            raise LevyError(
                f"the drawing was given up after {self._seconds:g} s, the limit: ask for fewer samples or steps at a time, or set "
                "LEVY_MAX_SECONDS where the model is loaded"
            )
        if not self.is_long and taken > LONG:
            self._workload.begin_long(self._most_long)
            self.is_long = True


class Workload:
    """All drawings of a process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # an answer may be let go of by the thread that holds it
        self._long = self._values = 0
        self._taken = self._free = 0  # bytes: of the drawings under way, and what was free before the first of them

    @contextmanager
    def drawing(self) -> Iterator[Drawing]:
        """A request's drawing."""
        drawing = Drawing(self)
        try:
            yield drawing
        finally:
            with self._lock:
                self._long -= drawing.is_long

    @contextmanager
    def memory(self, need: Need, asked: str, device: torch.device) -> Iterator[None]:
        """Counts what a drawing takes until it ends; ``asked`` begins the message.

        Raises:
            LevyError: it does not fit into what is free, beside what the drawings under way may still take; says how many samples do.
        """
        with self._lock:
            if need.bytes > self._left(device):
                give_back()
            if need.bytes > (left := self._left(device)):
                raise LevyError(_refusal(need, asked, left, bool(self._taken)))
            self._taken += need.bytes
        try:
            yield
        finally:
            with self._lock:
                self._taken -= need.bytes

    def _left(self, device: torch.device) -> int:
        """Bytes that no drawing under way may still take."""
        free = free_memory(device)
        if not self._taken:
            self._free = free
        return min(free, self._free - self._taken)

    def answer(self, values: int, draw: Callable[[], np.ndarray]) -> np.ndarray:
        """What ``draw`` gives. Where a server makes a text of it, its memory counts from here until the array is let go of.

        Raises:
            LevyError: with the answers under way it would be more than the limit.
        """
        if TIMEOUT not in os.environ:
            return draw()
        self._hold(values)
        try:
            drawn = draw()
        except BaseException:
            self._hold(-values)
            raise
        weakref.finalize(drawn, self._hold, -values)
        return drawn

    def _hold(self, values: int) -> None:
        with self._lock:
            if values > 0:
                check_limit("LEVY_MAX_BYTES", BYTES * (self._values + values))
            self._values += values

    def begin_long(self, most: int) -> None:
        """One drawing more is long, of ``most`` that may be: some of a server's threads must stay free for short ones.

        Raises:
            LevyError: there are as many as may be.
        """
        with self._lock:
            if self._long >= most:
                raise LevyError(
                    f"drawing takes longer than {LONG:g} s, and {self._long} others do so already, where {most} is the limit: ask "
                    "again later or for less, or set LEVY_MAX_LONG where the model is loaded"
                )
            self._long += 1


def _refusal(need: Need, asked: str, left: int, is_shared: bool) -> str:
    fitting, later = need.fitting(left), "again later, or " if is_shared else ""
    if fitting > 0:
        return f"{asked}, but the memory that is free holds {fitting:,} samples: ask {later}for fewer at a time"
    return (
        f"{asked}, but drawing even one takes about {(need.kept + need.each + need.once) / 2**20:,.0f} MiB, and {max(left, 0) / 2**20:,.0f} MiB of memory "
        f"are free: {'ask again later, or ' if is_shared else ''}free memory, or load the model where there is more"
    )


def seconds_allowed() -> float:
    """What a drawing may take: as the environment says, else a little less than what MLflow's server waits, else any time."""
    if "LEVY_MAX_SECONDS" in os.environ:
        return limit_of("LEVY_MAX_SECONDS")
    return SHARE * float(os.environ[TIMEOUT]) if TIMEOUT in os.environ else inf


def is_server_ending() -> bool:
    """Whether uvicorn, which MLflow's server runs in, was told to end: it then waits for the requests that its threads compute."""
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)  # its handler is a method of the server
    return bool(getattr(server, "should_exit", False))
