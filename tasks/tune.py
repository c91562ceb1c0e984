"""Stage tune: the best sampler of one model at each number of steps, found with a fixed budget of samples.

It draws with noise of its own (seeds apart from the grid's), so that the grid's seeds score what it finds on new samples.
"""

import json
from dataclasses import asdict, replace
from math import isfinite
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from levy_core.base.code import hash_code
from levy_core.base.conditions import LABEL
from levy_core.base.determinism import make_reproducible
from levy_core.base.errors import LevyError, NotFiniteError
from levy_core.base.files import hash_json, replacing
from levy_core.base.memory import free_memory
from levy_core.base.samples import Classes
from levy_core.base.seeds import seed_of
from levy_core.sampling.finalists import MOST_SEEDS
from levy_core.sampling.guidance import GUIDES
from levy_core.sampling.search import SearchResult, Space, search
from levy_core.sampling.solver import Solver
from levy_core.serving.draw import check_guide, cost, draw_samples, hash_model
from levy_core.serving.memory import Footprint, check_batch
from levy_core.training.checkpoint import Model, load_model
from tasks.cells.selection import SETTINGS, sampler_of
from tasks.cells.tables import write_rows
from tasks.cells.tuned import write_tuned
from tasks.kinds.kind import Metrics
from tasks.kinds.opening import open_metrics
from tasks.params.samplers import classes_of, space_of
from tasks.params.schema import Params
from tasks.runtime import paths, stage
from tasks.runtime.progress import bar

# Code that decides a score, beside that of the metrics.
CODE = ("levy_core.sampling.search",)
# Share of real samples' distance to the training samples, below which a guide is said to copy: far beyond the scatter of a median
# of some hundred distances, which is a few per cent.
NEAR = 0.8


def tune(params: Params, dataset: str, design: str) -> None:
    """Searches each number of steps of ``tune.steps``; scores that are known from an earlier search are not drawn again."""
    make_reproducible(params.compute.threads)
    device, settings = stage.device(params.compute.device), params.tune
    folder = paths.model(dataset, design)
    model = load_model(folder, device)
    classes = classes_of(params.sample, params.kind(dataset))
    space = filter_by_cost(space_of(params.tune, params.kind(dataset)), model)
    space = filter_guides(space, model, model.samples.labels(classes, 0, settings.counts()[-1]))
    print(
        f"{design} on {dataset}: scored on samples of {classes} classes, guides {', '.join(space.guides)}", flush=True
    )
    metrics = open_metrics(params, dataset)
    memo = Memo(paths.scores(dataset, design), _fingerprint(params, dataset, folder, metrics))

    footprint = Footprint(model, device)

    def scorer(seed: int) -> Scorer:
        return Scorer(
            model, metrics, params.metric(dataset), classes, seed, params.sample.batch, device, memo, footprint
        )

    seed = seed_of("tune", settings.seed) % 2**31  # not one of the grid's
    fresh = [seed_of("tune", settings.seed, "judge", k) % 2**31 for k in range(MOST_SEEDS)]

    results: dict[int, SearchResult] = {}
    watched: dict[int, dict[str, float]] = {}
    budget = sum(steps * settings.samples for steps in settings.steps)
    with bar(None, f"tune {design}", total=budget, unit="eval", unit_scale=True) as progress:
        for steps in settings.steps:
            results[steps] = search(
                scorer(seed), model.design.schedule, space, steps, settings.samples, settings.counts(), settings.seed, progress.update,
                lambda k: scorer(fresh[k]),
            )  # fmt: skip
            best, seeds = results[steps].best, results[steps].seeds
            watched[steps] = memo.watched(best.solver, best.n, fresh[0] if seeds else seed)
            judged = f" on {seeds} fresh seeds" if seeds else ""
            line = f"{design} on {dataset}, {steps} evaluations: {best.solver.label}: {best.score:.3f}{judged}"
            print(f"{line}{warn_of_copies(best.solver, watched[steps])}", flush=True)
    write_tuned(
        paths.tuned(dataset, design),
        {
            steps: {
                "sampler": sampler_of(asdict(result.best.solver)),
                "score": float(f"{result.best.score:.6g}"),
                "samples": result.samples,
                "trials": len(result.trials),
                "seeds": result.seeds,
                "watched": watched[steps],
            }
            for steps, result in results.items()
        },
    )
    rows = [
        {**asdict(t.solver), "n": t.n, "score": t.score, **memo.watched(t.solver, t.n, seed)}
        for result in results.values()
        for t in result.trials
    ]
    write_rows(paths.trials(dataset, design), pd.DataFrame(rows), digits=6, exact=SETTINGS)
    memo.forget_stale()


def filter_by_cost(space: Space, model: Model) -> Space:
    """Without solvers that would spend more than their steps: those that bring Student-t noise back evaluate twice.

    Raises:
        LevyError: none is left.
    """
    kept = [
        family
        for family, form in space.pairs().values()
        if cost(model, Solver(family, form, "karras", 4, space.eta[0])) == 4
    ]
    if not kept:
        raise LevyError(
            f"of tune.solvers, {', '.join(space.solvers)}, each evaluates the network twice per step with noise of "
            f"{model.design.noise}: add ode"
        )
    return replace(space, solvers=tuple(dict.fromkeys(kept)))


def filter_guides(space: Space, model: Model, labels: np.ndarray) -> Space:
    """Without guides towards a class where samples are drawn without one.

    Raises:
        LevyError: none is left, or the model knows nothing to guide away from.
    """
    without = bool((labels == model.samples.no_class).all())
    kept = tuple(guide for guide in space.guides if not (without and GUIDES[guide].follows == LABEL)) or space.guides
    for guide in kept:
        check_guide(model, Solver("ode", "ei-noise", "karras", 4, guide=guide), labels)
    return replace(space, guides=kept)


def warn_of_copies(solver: Solver, watched: dict[str, float]) -> str:
    """What follows the line of a search's best where a guide draws it much nearer to training samples than real ones lie."""
    near, real = watched.get("near_train", 1.0), watched.get("floor/near_train", 0.0)
    if solver.guide == "none" or near >= NEAR * real:
        return ""
    return (
        f"; it may copy: its distance to training samples is {near:.2f}, that of new real ones {real:.2f} (near_train); "
        "lower tune.strength, or take the guide out of tune.guides"
    )


def _fingerprint(params: Params, dataset: str, model: Path, metrics: Metrics) -> str:
    """Hash of what decides a score, but for the solver, the number of samples and their seed."""
    classes = classes_of(params.sample, params.kind(dataset))
    decided_by = [hash_model(model), metrics.hash, hash_code(*CODE), params.metric(dataset), classes]
    return hash_json(decided_by)


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
    """Scores the first n samples of a solver; the samples of its smaller counts are drawn once."""

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
    ):
        self._model, self._metrics, self._metric, self._classes = model, metrics, metric, classes
        self._seed, self._batch, self._device, self._memo = seed, batch, device, memo
        self._footprint = footprint
        self._solver: Solver | None = None
        self._embedded = torch.empty(0)

    def __call__(self, solver: Solver, n: int) -> float:
        """The score, NaN where the solver leaves the finite numbers."""
        known = self._memo.get(solver, n, self._seed)
        if known is not None:
            return known
        watched: dict[str, float] = {}
        try:
            embedded, labels = self._first(solver, n), self._model.samples.labels(self._classes, 0, n)
            score = self._metrics.score(embedded, labels, self._metric)
            watched = self._metrics.watch(embedded, labels)
        except NotFiniteError:
            score = float("nan")
        self._memo.put(solver, n, self._seed, score, watched)
        return score

    def _first(self, solver: Solver, n: int) -> torch.Tensor:
        if solver != self._solver:
            self._solver, self._embedded = solver, self._embedded[:0]
        have = len(self._embedded)
        labels = self._model.samples.labels(self._classes, have, n - have)
        free = free_memory(self._device)
        check_batch("sample.batch", self._batch, self._footprint, solver, n - have, free)
        samples = draw_samples(self._model, solver, self._seed, labels, self._batch, self._device, first=have)
        drawn = self._metrics.embed(samples)
        self._embedded = torch.cat([self._embedded, drawn]) if have else drawn
        return self._embedded
