"""Small drawings that are under way at once with one sampler, joined into batches, so that they share the network's evaluations.

A network's outputs depend on the size of the batch in the last bits, so whoever serves the model has to ask for it: LEVY_BATCH.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from levy_core.base.errors import LevyError
from levy_core.sampling.loop import Watch
from levy_core.sampling.solver import Solver

Seeded = tuple[int, np.ndarray]  # a seed and the labels [n] of its samples
DrawTogether = Callable[[Solver, Sequence[Seeded], Watch], list[np.ndarray]]
PATIENCE = 0.05  # seconds between two looks of a request that waits whether it may go on waiting


@dataclass(eq=False)
class _Request:
    solver: Solver
    seed: int
    labels: np.ndarray
    check: Callable[[], None]
    is_settled: bool = False
    outcome: np.ndarray | LevyError | None = None  # None of a settled one: it has to be drawn alone

    def settle(self, outcome: np.ndarray | LevyError | None) -> None:
        self.outcome, self.is_settled = outcome, True


class Batches:
    """Joins requests: while a batch of a sampler is drawn, further requests for that sampler wait, and are the next batch together.

    Whoever finds no batch of the sampler under way draws at once. Samplers do not wait for each other.
    """

    def __init__(self, draw: DrawTogether) -> None:
        self._draw = draw
        self._changed = threading.Condition()
        self._waiting: list[_Request] = []
        self._busy: set[Solver] = set()  # of which a batch is under way

    def draw(self, solver: Solver, seed: int, labels: np.ndarray, rows: int, check: Callable[[], None]) -> np.ndarray:
        """Samples [n, C, H, W] of a request, drawn with others where some wait for the same sampler.

        Args:
            rows: the most samples of a batch.
            check: raises where the request may not go on; the others of its batch do.

        Raises:
            LevyError: as ``check``, or as drawing this request alone.
        """
        request = _Request(solver, seed, labels, check)
        if joined := self._join(request, rows):
            self._draw_batch(joined)
        if isinstance(request.outcome, LevyError):
            raise request.outcome
        if request.outcome is None:
            return self._draw(solver, [(seed, labels)], lambda k, x0: check())[0]
        return request.outcome

    def _join(self, request: _Request, rows: int) -> list[_Request]:
        """The batch that the thread of this request has to draw; nothing where another one has done so.

        A request is checked by one thread at a time: its own while it waits, then the one that draws it.
        """
        with self._changed:
            self._waiting.append(request)
            try:
                while request.solver in self._busy and not request.is_settled:
                    if request in self._waiting:
                        request.check()
                    self._changed.wait(PATIENCE)
                if request.is_settled:
                    return []
                self._busy.add(request.solver)
                return self._take(request, rows)
            finally:
                if request in self._waiting:
                    self._waiting.remove(request)

    def _take(self, first: _Request, rows: int) -> list[_Request]:
        """A request and those that fit beside it, in the order in which they came; they wait no longer."""
        joined, taken = [first], len(first.labels)
        for other in self._waiting:
            if other is not first and other.solver == first.solver and taken + len(other.labels) <= rows:
                joined.append(other)
                taken += len(other.labels)
        self._waiting = [request for request in self._waiting if request not in joined]
        return joined

    def _draw_batch(self, joined: list[_Request]) -> None:
        """Settles every request of a batch."""
        solver, outcomes = joined[0].solver, list[np.ndarray | LevyError | None]([None] * len(joined))
        try:
            outcomes[:] = self._draw(solver, [(r.seed, r.labels) for r in joined], lambda k, x0: self._give_up(joined))
        except LevyError as error:
            if len(joined) == 1:
                outcomes[0] = error
        finally:
            with self._changed:
                for request, outcome in zip(joined, outcomes, strict=True):
                    if not request.is_settled:
                        request.settle(outcome)
                self._busy.discard(solver)
                self._changed.notify_all()

    def _give_up(self, joined: list[_Request]) -> None:
        """Settles those requests of a batch that may not go on.

        Raises:
            LevyError: none may.
        """
        for request in joined:
            if request.is_settled:
                continue
            try:
                request.check()
            except LevyError as error:
                with self._changed:
                    request.settle(error)
                    self._changed.notify_all()
        if all(request.is_settled for request in joined):
            raise LevyError("no request of this batch may go on")
