"""Scores of the samplers of one model: drawn once, kept on disk."""

import json
from dataclasses import asdict
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import torch

from levy_core.base.errors import NotFiniteError
from levy_core.base.files import replacing
from levy_core.base.memory import free_memory
from levy_core.base.rows import Converted, Joined
from levy_core.base.samples import Classes
from levy_core.sampling.solver import Solver
from levy_core.serving.memory import Footprint, check_batch
from levy_core.training.checkpoint import Model
from tasks.kinds.kind import Correct, Metrics
from tasks.tuning.kept import draw_kept


class Memo:
    """Scores on disk, one per line; those of another model, metric or code are not used."""

    def __init__(self, path: Path, fingerprint: str):
        self._path, self._fingerprint = path, fingerprint
        self._scores: dict[str, float] = {}
        self._watched: dict[str, dict[str, float]] = {}
        written = path.read_text() if path.exists() else ""
        for line in written.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # the end of a line was lost in a kill
                continue
            if entry["made_by"] == fingerprint:
                self._scores[entry["of"]], self._watched[entry["of"]] = entry["score"], entry.get("watched", {})
        if written and not written.endswith("\n"):
            with path.open("a") as stream:
                stream.write("\n")  # so that the next score does not join the remains

    @property
    def folder(self) -> Path:
        """Where the file lies."""
        return self._path.parent

    def get(self, solver: Solver, n: int, seed: int) -> float | None:
        """The score of the first n samples of a seed, if it is known."""
        return self._scores.get(self._key(solver, n, seed))

    def watched(self, solver: Solver, n: int, seed: int) -> dict[str, float]:
        """What ``put`` was told beside the score."""
        return self._watched.get(self._key(solver, n, seed), {})

    def put(self, solver: Solver, n: int, seed: int, score: float, watched: dict[str, float]) -> None:
        """Remembers a score, and of what was watched beside it six digits of what is finite."""
        key = self._key(solver, n, seed)
        self._scores[key] = score
        self._watched[key] = {name: float(f"{value:.6g}") for name, value in watched.items() if isfinite(value)}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as stream:
            stream.write(self._line(key))

    def _line(self, of: str) -> str:
        entry = {"made_by": self._fingerprint, "of": of, "score": self._scores[of], "watched": self._watched[of]}
        return json.dumps(entry) + "\n"

    def forget_stale(self) -> None:
        """Keeps on disk the scores of this model, metric and code only."""
        lines = [self._line(of) for of in self._scores]
        with replacing(self._path) as temporary:
            temporary.write_text("".join(lines))

    @staticmethod
    def _key(solver: Solver, n: int, seed: int) -> str:
        return json.dumps([asdict(solver), n, seed], sort_keys=True)


class Scorer:
    """Scores the first n samples of a solver, corrected where something does; the samples of its smaller counts are drawn once."""

    def __init__(
        self,
        model: Model,
        metrics: Metrics,
        metric: str,
        classes: Classes,
        seed: int,
        batch: int,
        device: torch.device,
        memo: Memo,
        footprint: Footprint,
        correct: Correct | None = None,
    ):
        self._model, self._metrics, self._metric, self._classes = model, metrics, metric, classes
        self._seed, self._batch, self._device, self._memo = seed, batch, device, memo
        self._footprint, self._correct = footprint, correct
        self._solver: Solver | None = None
        self._drawn: list[Any] = []  # embedded, or where something corrects them as they are
        self._have = 0

    def __call__(self, solver: Solver, n: int) -> float:
        """The score, NaN where the solver leaves the finite numbers."""
        known = self._memo.get(solver, n, self._seed)
        if known is not None:
            return known
        watched: dict[str, float] = {}
        try:
            self._draw(solver, n)
            embedded, labels = self._drawn, self._model.samples.labels(self._classes, 0, n)
            if self._correct:
                correct, shape = partial(_correct, self._correct, labels), (n, *self._drawn[0].shape[1:])
                embedded = [self._metrics.embed(Converted(Joined(self._drawn), shape, correct))]
            score = self._metrics.score(embedded, labels, self._metric)
            watched = self._metrics.watch(embedded, labels)
        except NotFiniteError:
            score = float("nan")
        self._memo.put(solver, n, self._seed, score, watched)
        return score

    def _draw(self, solver: Solver, n: int) -> None:
        if solver != self._solver:
            self._solver, self._drawn, self._have = solver, [], 0
        missing = n - self._have
        check_batch("sample.batch", self._batch, self._footprint, solver, missing, free_memory(self._device))
        labels = self._model.samples.labels(self._classes, self._have, missing)
        model, batch, folder = self._model, self._batch, self._memo.folder
        for samples in draw_kept(model, solver, self._seed, labels, batch, self._device, folder, self._have):
            self._drawn.append(samples if self._correct else self._metrics.embed(samples))
            self._have += len(samples)


def _correct(correct: Correct, labels: np.ndarray, read: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return correct(read, labels, rows)
