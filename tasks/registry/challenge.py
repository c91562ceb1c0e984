"""A new model against the champion and the anchor: the same held-out data, the same seeds, and a gate that says what is shown beyond noise."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from levy_core.base.determinism import make_reproducible
from levy_core.base.errors import LevyError
from levy_core.base.measure import Measure
from levy_core.base.rows import keep_on_disk
from levy_core.base.samples import Classes
from levy_core.base.seeds import seed_of
from levy_core.metrics.common.paired import NONE, Comparison, Rows, Rule, compare
from levy_core.metrics.common.sequential import Looks
from levy_core.serving.registered import RegisteredModel
from tasks.kinds.kind import Metrics
from tasks.kinds.opening import open_metrics
from tasks.params.samplers import classes_of
from tasks.params.schema import Params
from tasks.params.sections import RetrainParams
from tasks.registry.promotions import ANCHOR, CHALLENGER, CHAMPION
from tasks.runtime import paths
from tasks.runtime.progress import bar

Accepted = Callable[[np.ndarray, np.ndarray], tuple[Any, np.ndarray]]  # what `Metrics.accept` gives


@dataclass(frozen=True)
class Verdict:
    """Whether the challenger takes the champion's place.

    Attributes:
        reason: one or two sentences with the numbers that decided.
        lines: the gate; empty where the models could not be compared, so that a person must decide.
        seeds, n: how many samples were drawn of each.
        evaluations: of the network per sample, by side; empty where they could not be compared.
    """

    promoted: bool
    reason: str
    lines: tuple[Comparison, ...]
    seeds: int
    n: int
    evaluations: Mapping[str, int]

    @property
    def comparable(self) -> bool:
        """False where a person must decide."""
        return bool(self.lines)

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON; numbers that are not finite become None."""
        lines = [{key: _plain(value) for key, value in asdict(line).items()} for line in self.lines]
        return {**asdict(self), "lines": lines, "comparable": self.comparable}


class _UnjudgedError(LevyError):
    """A model that cannot be judged."""


@contextmanager
def _judging(side: str) -> Iterator[None]:
    try:
        yield
    except LevyError as error:
        raise _UnjudgedError(f"the {side} cannot be judged: {error}") from error


@dataclass
class _Side:
    """A model that is judged: all metrics at the seeds that were drawn so far. ``scratch``: where large samples lie while they are measured."""

    name: str
    sampler: RegisteredModel
    accepted: Accepted
    scratch: Path
    rows: list[dict[str, float]] = field(default_factory=list)

    @classmethod
    def open(cls, name: str, folder: Path, metrics: Metrics, scratch: Path) -> "_Side":
        with _judging(name):
            sampler = RegisteredModel(folder)
            return cls(name, sampler, metrics.accept(folder, sampler.shape, sampler.samples), scratch)

    def draw(self, settings: RetrainParams, metrics: Metrics, classes: Classes, seeds: int) -> None:
        """Measures the samples of the seeds up to ``seeds`` that are missing."""
        with _judging(self.name):
            for number in bar(range(len(self.rows), seeds), f"{self.name}, seeds up to {seeds}"):
                # Not one of the grid's or of the search's: there a sampler may have been lucky.
                slices, labels = self.sampler.draw_default(settings.n, seed_of("judge", number) % 2**31, classes)
                samples = next(slices)
                if len(samples) < settings.n:
                    samples = keep_on_disk(chain([samples], slices), settings.n, self.scratch)
                self.rows.append(metrics.measure_held_out(*self.accepted(samples, labels)))


def challenge(params: Params, dataset: str, models: Mapping[str, Path]) -> Verdict:
    """Draws from the models with their default samplers and holds them against data that none was trained on.

    More seeds are drawn only while it is undecided (``levy_core.metrics.common.sequential``).

    Args:
        models: folders as the registry keeps models (``levy_core.serving.registered``): of the challenger, the champion and, where it is another
            model, the anchor. The data, the classifier, the units and the measures are those of the current outputs of ``dataset``.

    Raises:
        LevyError: the reference stage has not run, or the gate names a metric that there is not.
    """
    make_reproducible(params.compute.threads)
    settings, metrics, kind = params.retrain, open_metrics(params, dataset), params.kind(dataset)
    classes, scratch = classes_of(params.sample, kind), paths.winner(dataset).parent
    try:
        sides = {name: _Side.open(name, folder, metrics, scratch) for name, folder in models.items()}
        for look, seeds in enumerate(settings.looks.seeds):
            for side in sides.values():
                side.draw(settings, metrics, classes, seeds)
            rows = {name: side.rows for name, side in sides.items()}
            lines = judge(settings.looks, params.gate(dataset), kind.measures, rows, look, metrics.undecidable)
            if settings.looks.is_over(lines):
                break
    except _UnjudgedError as error:
        return Verdict(False, f"a person must decide, because {error}", (), 0, settings.n, {})
    return decide(settings, lines, seeds, {name: side.sampler.evaluations for name, side in sides.items()})


def judge(
    looks: Looks,
    gate: Mapping[str, Rule],
    measures: Sequence[Measure],
    rows: Mapping[str, Rows],
    look: int,
    undecidable: Mapping[str, str] = NONE,
) -> tuple[Comparison, ...]:
    """The lines of a look: against the champion all rules, against the anchor, too, the margins.

    Args:
        rows: of each side, at as many seeds as the look has. undecidable: as of ``compare``.

    Raises:
        LevyError: the gate names a metric that there is not.
    """
    level = looks.levels[look]
    lines = compare(gate, measures, rows[CHALLENGER], rows[CHAMPION], CHAMPION, level, undecidable)
    if ANCHOR in rows:
        margins = {metric: rule for metric, rule in gate.items() if rule != "better"}
        lines += compare(margins, measures, rows[CHALLENGER], rows[ANCHOR], ANCHOR, level, undecidable)
    return lines


def decide(settings: RetrainParams, lines: Sequence[Comparison], seeds: int, evaluations: Mapping[str, int]) -> Verdict:
    """The verdict from the lines of the last look."""
    promoted = all(line.passed for line in lines)
    if promoted:
        reason = "; ".join(str(line) for line in lines if line.rule == "better")
        guards = [line for line in lines if line.rule != "better" and line.against == CHAMPION]
        if held := [line.metric for line in guards if not line.undecidable]:
            reason += f"; within their margins: {', '.join(held)}"
        if unknown := [f"{line.metric} ({line.undecidable})" for line in guards if line.undecidable]:
            reason += f"; not decidable with these data: {', '.join(unknown)}"
    else:
        reason = "; ".join(str(line) for line in lines if not line.passed)
    reason += f"; over {seeds} seeds of {settings.n} samples"
    return Verdict(promoted, reason, tuple(lines), seeds, settings.n, evaluations)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
