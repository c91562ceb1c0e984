"""A new model against the champion and the anchor: the same held-out data, the same seeds, and a gate that says what is shown beyond noise."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
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

DESCRIBED = 3  # undecided margins in a reason, which must fit into a tag
Accepted = Callable[[np.ndarray, np.ndarray], tuple[Any, np.ndarray]]  # what `Metrics.accept` gives


@dataclass(frozen=True)
class Verdict:
    """Whether the challenger takes the champion's place.

    Attributes:
        reason: one or two sentences with the numbers that decided, those that could not, and what to do about these.
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

    @property
    def undecided(self) -> dict[str, list[Comparison]]:
        """By metric the margins, against champion and anchor, that the held-out data cannot decide: nobody knows whether they hold."""
        found: dict[str, list[Comparison]] = {}
        for line in self.lines:
            if line.undecided:
                found.setdefault(line.metric, []).append(line)
        return found

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON; numbers that are not finite become None."""
        lines = [{key: _plain(value) for key, value in asdict(line).items()} for line in self.lines]
        return {**asdict(self), "lines": lines, "comparable": self.comparable, "undecided": list(self.undecided)}


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
    """The verdict from the lines of the last look.

    A margin that the held-out data cannot decide holds nothing back: of rare classes and extremes many data sets have too few for it, and
    would never have a new champion. The reason names each, whatever the verdict.
    """
    stopped = [line for line in lines if line.holds_back]
    verdict = Verdict(not stopped, "", tuple(lines), seeds, settings.n, evaluations)
    if stopped:
        parts = [str(line) for line in stopped]
    else:
        parts = [str(line) for line in lines if line.rule == "better"]
        if held := [
            line.metric for line in lines if line.passed and line.rule != "better" and line.against == CHAMPION
        ]:
            parts.append(f"within their margins: {', '.join(held)}")
    parts.append(f"over {seeds} seeds of {settings.n} samples")
    parts += [_describe_undecided(of_metric) for of_metric in list(verdict.undecided.values())[:DESCRIBED]]
    if (more := len(verdict.undecided) - DESCRIBED) > 0:
        parts.append(f"{more} more that verdict.json names are not held to their margins either")
    return replace(verdict, reason="; ".join([*parts, *_advise(settings, lines)]))


def _describe_undecided(of_metric: Sequence[Comparison]) -> str:
    """A metric of the challenger beside that of the champion and of the anchor, and why they cannot be compared."""
    line = of_metric[0]
    others = ", ".join(f"the {each.against}'s {_spread(each.other, each.other_std)}" for each in of_metric)
    return (
        f"not held to its margin of {line.rule:g}: {line.metric} {_spread(line.challenger, line.challenger_std)} against {others}, "
        f"which these data cannot decide ({line.undecidable})"
    )


def _spread(mean: float, std: float) -> str:
    return f"{mean:.3g} ± {std:.2g}" if math.isfinite(mean) else "no number"


def _advise(settings: RetrainParams, lines: Sequence[Comparison]) -> Iterator[str]:
    """What a person can do about rules that were not decided."""
    most = settings.seeds.most
    wanting = [line for line in lines if line.rule != "better" and (line.seeds_needed or 0) > most and not line.passed]
    if wanting:
        names = ", ".join(dict.fromkeys(line.metric for line in wanting))
        yield (
            f"{most} seeds are too few for the margin of {names}: raise retrain.n or retrain.seeds.most, or widen the margin"
        )
    if any(line.undecidable for line in lines):
        yield (
            "more seeds do not help what the data cannot decide: hold out more, or name a measure that they can (docs/retraining.md)"
        )


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
