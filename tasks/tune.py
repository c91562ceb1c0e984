"""Stage tune: the best sampler of one model at each number of steps, found with a fixed budget of samples.

It draws with noise of its own (a seed apart from the grid's), so that the grid's seeds judge what it finds as new samples.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import torch

import levy_core.metrics.classifier
import levy_core.metrics.images
import levy_core.tune
from levy_core.checkpoint import Model, load_model
from levy_core.errors import LevyError, NotFiniteError
from levy_core.files import hash_code, hash_files
from levy_core.metrics import images as metrics
from levy_core.seeds import seed_of
from levy_core.solver import Solver
from levy_core.tune import Found, Space, search
from tasks import paths, stage
from tasks.draw import cost, draw_images, hash_model, no_class
from tasks.grid import sampler_of, write_rows
from tasks.params import Params
from tasks.reference import GROUPS, feature_space, fidelity, read_references
from tasks.tuned import write_tuned

# Code that decides a score.
DECIDES = (levy_core.metrics.classifier, levy_core.metrics.images, levy_core.tune)


def tune(params: Params, dataset: str, design: str) -> None:
    """Searches each number of steps of ``tune.steps``; interrupted, it goes on from the scores it has."""
    stage.reproducible(params.compute.threads)
    device, settings = stage.device(params.compute.device), params.tune
    folder = paths.model(dataset, design)
    model = load_model(folder, device)
    space = affordable(settings.space(), model)
    embed, score = feature_space(params, dataset), _score(params, dataset)
    memo = Memo(paths.judged(dataset, design), _fingerprint(params, dataset, folder))
    seed = seed_of("tune", settings.seed) % 2**31  # not one of the grid's
    found: dict[int, Found] = {}
    budget = sum(steps * settings.samples for steps in settings.steps)
    with stage.bar(None, f"tune {design}", total=budget, unit="eval", unit_scale=True) as progress:
        for steps in settings.steps:
            judge = Judge(model, embed, score, seed, params.sample.batch, device, memo)
            found[steps] = search(
                judge, model.design.schedule, space, steps, settings.samples, settings.counts(), settings.seed, progress.update
            )  # fmt: skip
            best = found[steps].best
            print(f"{design} on {dataset}, {steps} evaluations: {best.solver.label}: {best.score:.3f}", flush=True)
    write_tuned(
        paths.tuned(dataset, design),
        {
            steps: {
                "sampler": sampler_of(asdict(result.best.solver)),
                "score": float(f"{result.best.score:.6g}"),
                "samples": result.samples,
                "trials": len(result.trials),
            }
            for steps, result in found.items()
        },
    )
    rows = [{**asdict(t.solver), "n": t.n, "score": t.score} for result in found.values() for t in result.trials]
    write_rows(paths.trials(dataset, design), pd.DataFrame(rows), digits=6)
    memo.clear()


def affordable(space: Space, model: Model) -> Space:
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
            f"of tune.solvers, {', '.join(space.solvers)}, each evaluates the network twice a step with noise of "
            f"{model.design.noise}: add ode"
        )
    return replace(space, solvers=tuple(dict.fromkeys(kept)))


def _score(params: Params, dataset: str) -> Callable[[torch.Tensor], float]:
    """``compare.metric`` of features."""
    kind, name = params.compare.metric.split("/")
    real, config = read_references(paths.reference(dataset))[0][name], fidelity(params.evaluate)
    if kind == "fid":
        return lambda features: metrics.frechet(metrics.statistics(features), real.statistics())
    return lambda features: metrics.kid(features, real.features, config)


def _fingerprint(params: Params, dataset: str, model: Path) -> str:
    """Hash of what decides a score, but for the solver and the number of samples."""
    real = hash_files(*(paths.reference(dataset) / f"{name}.safetensors" for name in GROUPS))
    decided_by = [hash_model(model), real, hash_code(*DECIDES), params.compare.metric, params.tune.seed]
    decided_by += [params.evaluate.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(decided_by, sort_keys=True).encode()).hexdigest()


class Memo:
    """Scores on disk, one a line; those of another model, metric or code are not used."""

    def __init__(self, path: Path, fingerprint: str):
        self._path, self._fingerprint = path, fingerprint
        self._scores: dict[str, float] = {}
        written = path.read_text() if path.exists() else ""
        for line in written.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # the end of a line was lost in a kill
                continue
            if entry["made_by"] == fingerprint:
                self._scores[entry["of"]] = entry["score"]
        if written and not written.endswith("\n"):
            with path.open("a") as stream:
                stream.write("\n")  # so that the next score does not join the remains

    def get(self, solver: Solver, n: int) -> float | None:
        """The score of the first n samples, if it is known."""
        return self._scores.get(self._key(solver, n))

    def put(self, solver: Solver, n: int, score: float) -> None:
        """Remembers a score."""
        entry = {"made_by": self._fingerprint, "of": self._key(solver, n), "score": score}
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("a") as stream:
            stream.write(json.dumps(entry) + "\n")

    def clear(self) -> None:
        """Forgets a finished search."""
        self._path.unlink(missing_ok=True)

    @staticmethod
    def _key(solver: Solver, n: int) -> str:
        return json.dumps([asdict(solver), n], sort_keys=True)


class Judge:
    """Scores the first n samples of a solver; the samples of its smaller counts are drawn once."""

    def __init__(
        self, model: Model, embed: Callable, score: Callable, seed: int, batch: int, device: torch.device, memo: Memo
    ):
        self._model, self._embed, self._score = model, embed, score
        self._seed, self._batch, self._device, self._memo = seed, batch, device, memo
        self._solver: Solver | None = None
        self._features = torch.empty(0)

    def __call__(self, solver: Solver, n: int) -> float:
        """The score, NaN where the solver leaves the finite numbers."""
        known = self._memo.get(solver, n)
        if known is not None:
            return known
        try:
            score = self._score(self._first(solver, n))
        except NotFiniteError:
            score = float("nan")
        self._memo.put(solver, n, score)
        return score

    def _first(self, solver: Solver, n: int) -> torch.Tensor:
        if solver != self._solver:
            self._solver, self._features = solver, self._features[:0]
        have = len(self._features)
        labels = no_class(self._model, n - have)
        images = draw_images(self._model, solver, self._seed, labels, self._batch, self._device, first=have)
        drawn = self._embed(images)
        self._features = torch.cat([self._features, drawn]) if have else drawn
        return self._features


if __name__ == "__main__":
    stage.main(tune, "dataset", "design")
