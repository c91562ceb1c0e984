"""The searches of one model: at each number of evaluations, the most first, with tables fitted to what they find."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from levy_core.base.errors import NotFiniteError
from levy_core.base.samples import Classes
from levy_core.base.seeds import seed_of
from levy_core.sampling.finalists import MOST_SEEDS
from levy_core.sampling.fitting import fit, fit_evaluations
from levy_core.sampling.search import SearchResult, search
from levy_core.sampling.solver import Solver, tabulate
from levy_core.sampling.space import Space
from levy_core.serving.draw import guide_predictor, hash_weights
from levy_core.serving.memory import Footprint
from levy_core.training.checkpoint import Model
from tasks.kinds.kind import Correct, Metrics
from tasks.params.sections import TuneParams
from tasks.tuning.scores import Memo, Scorer

FIT_TRIALS = 24  # levels that a fitted table tries
LEAST_STARTS, MOST_STARTS = 32, 512  # that it is fitted to
DEEPER = 5.0  # a table is fitted to the end of the solver that was found, and to one at a level so many times lower


@dataclass(frozen=True, eq=False)
class Searches:
    """Searches with the settings of ``tune``.

    Args:
        correct: samples before they are measured. folder: of the model. metric: what is to be small, of ``metrics``. classes: that are drawn, ``batch`` samples at a time.
    """

    model: Model
    folder: Path
    settings: TuneParams
    metrics: Metrics
    metric: str
    classes: Classes
    batch: int
    device: torch.device
    memo: Memo
    correct: Correct | None = None

    @property
    def seed(self) -> int:
        """Of the samples that are scored; not one of the grid's."""
        return seed_of("tune", self.settings.seed) % 2**31

    def judge(self, k: int) -> int:
        """The seed k = 0, 1, ... of those on which the best are judged."""
        assert k < MOST_SEEDS
        return seed_of("tune", self.settings.seed, "judge", k) % 2**31

    def scorer(self, seed: int) -> Scorer:
        return Scorer(
            self.model, self.metrics, self.metric, self.classes, seed, self.batch, self.device, self.memo, self._footprint,
            self.correct,
        )  # fmt: skip

    @cached_property
    def _weights(self) -> str:
        return hash_weights(self.folder)

    @cached_property
    def _footprint(self) -> Footprint:
        return Footprint(self.model, self.device)

    def evaluations(self, space: Space) -> int:
        """About how many, for one sample each, all searches take."""
        return sum(steps * self.settings.samples for steps in self.settings.steps) * (2 if space.fits else 1)

    def run(self, space: Space, progress: Callable[[int], Any]) -> Iterator[tuple[int, SearchResult, int]]:
        """(evaluations of a sample, what was found, evaluations that it took), the most first: shortened, what is found is tried with fewer, too."""
        settings, longer, spent = self.settings, dict[Solver, None](), 0

        def count(evaluations: int) -> None:
            nonlocal spent
            spent += evaluations
            progress(evaluations)

        for steps in sorted(settings.steps, reverse=True):
            spent = 0
            fitter = partial(self.fit, space=space, steps=steps, progress=count) if space.fits else None
            found = search(
                self.scorer(self.seed), self.model.design.schedule, space, steps, settings.samples, settings.counts(), settings.seed,
                count, lambda k: self.scorer(self.judge(k)), fitter, list(longer),
            )  # fmt: skip
            longer |= dict.fromkeys(found.flows())
            yield steps, found, spent

    def fit(self, solver: Solver, space: Space, steps: int, progress: Callable[[int], Any]) -> list[Solver]:
        """Tables fitted to a solver, for half the evaluations that the search of ``steps`` may take; none where the flow is lost.

        One ends where the solver does, one at a lower level of the space.
        """
        model = self.model
        lowest, _ = space.ends(model.design.schedule)["rho_min"]
        levels = tabulate(solver, model.design.schedule).rho
        last = levels[levels > 0][-1].item()
        ends = list(dict.fromkeys((last, max(min(last, lowest), last / DEEPER))))
        each = fit_evaluations(solver, 1, len(ends), FIT_TRIALS)
        starts = min(max(self.settings.samples * steps // 2 // each, LEAST_STARTS), MOST_STARTS)
        cond = model.samples.condition(model.samples.labels(self.classes, 0, starts))
        try:
            fits = fit(
                guide_predictor(model, solver), solver, model.design.schedule, model.design.noise, self.seed, model.net.shape, cond, ends,
                FIT_TRIALS, self.batch, self.device, self._weights,
            )  # fmt: skip
        except NotFiniteError as error:
            print(f"no table is fitted to {solver.label}: {error}", flush=True)
            return []
        progress(sum(found.evaluations for found in fits))
        return [found.solver for found in fits]
