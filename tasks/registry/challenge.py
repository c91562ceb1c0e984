"""A new model against the champion: the same held-out data, the same seeds, and a gate that says what is better beyond noise."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from levy_core.base.determinism import make_reproducible
from levy_core.base.errors import LevyError
from levy_core.base.measure import Measure
from levy_core.base.samples import Classes
from levy_core.base.seeds import seed_of
from levy_core.metrics.common.paired import Comparison, Rule, compare
from levy_core.serving.registered import RegisteredModel
from tasks.kinds.kind import Metrics
from tasks.kinds.opening import open_metrics
from tasks.params.samplers import classes_of
from tasks.params.schema import Params
from tasks.params.sections import RetrainParams

Rows = list[dict[str, float]]  # all metrics by name, one mapping per seed
Accepted = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]  # what `Metrics.accept` gives


@dataclass(frozen=True)
class Verdict:
    """Whether the challenger takes the champion's place.

    Attributes:
        reason: one or two sentences with the numbers that decided.
        lines: the gate; empty where the two could not be compared, so that a person must decide.
        seeds, n: how many samples were drawn of each. confidence: of each line.
        evaluations: of the network per sample, by side; empty where they could not be compared.
    """

    promoted: bool
    reason: str
    lines: tuple[Comparison, ...]
    seeds: int
    n: int
    confidence: float
    evaluations: dict[str, int]

    @property
    def comparable(self) -> bool:
        """False where a person must decide."""
        return bool(self.lines)

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON; numbers that are not finite become None."""
        lines = [{key: _plain(value) for key, value in asdict(line).items()} for line in self.lines]
        return {**asdict(self), "lines": lines, "comparable": self.comparable}


def challenge(params: Params, dataset: str, champion: Path, challenger: Path) -> Verdict:
    """Draws from both models with their default samplers and holds them against data that neither was trained on.

    Args:
        champion, challenger: folders as the registry keeps models (``levy_core.serving.registered``). The data, the classifier, the units
            and the measures are those of the current outputs of ``dataset``.

    Raises:
        LevyError: the reference stage has not run, or the gate names a metric that there is not.
    """
    make_reproducible(params.compute.threads)
    settings, metrics = params.retrain, open_metrics(params, dataset)
    classes = classes_of(params.sample, params.kind(dataset))
    models: dict[str, tuple[RegisteredModel, Accepted]] = {}
    rows: dict[str, Rows] = {}
    try:
        for side, folder in (("challenger", challenger), ("champion", champion)):
            sampler = RegisteredModel(folder)
            models[side] = sampler, metrics.accept(folder, sampler.shape, sampler.samples)
        for side, (sampler, accepted) in models.items():
            rows[side] = _measure(settings, metrics, sampler, accepted, classes)
    except LevyError as error:
        reason = f"a person must decide, because the {side} cannot be judged: {error}"
        return _verdict(settings, False, reason, (), {})
    evaluations = {side: sampler.evaluations for side, (sampler, _) in models.items()}
    return decide(
        settings, params.gate(dataset), params.kind(dataset).measures, rows["champion"], rows["challenger"], evaluations
    )


def decide(
    settings: RetrainParams,
    gate: dict[str, Rule],
    measures: Sequence[Measure],
    champion: Rows,
    challenger: Rows,
    evaluations: dict[str, int],
) -> Verdict:
    """The verdict on two models that were measured, one mapping of all metrics per seed.

    Raises:
        LevyError: the gate names a metric that there is not.
    """
    lines = compare(gate, measures, champion, challenger, settings.confidence)
    failed = [line for line in lines if not line.passed]
    telling = failed or [line for line in lines if line.rule == "better"]
    reason = f"{'; '.join(map(str, telling))}; over {len(settings.seeds)} seeds of {settings.n} samples"
    if not failed and len(telling) < len(lines):
        reason += "; nothing else is worse"
    return _verdict(settings, not failed, reason, lines, evaluations)


def _verdict(
    settings: RetrainParams, promoted: bool, reason: str, lines: tuple[Comparison, ...], evaluations: dict[str, int]
) -> Verdict:
    return Verdict(promoted, reason, lines, len(settings.seeds), settings.n, settings.confidence, evaluations)


def _measure(
    settings: RetrainParams, metrics: Metrics, sampler: RegisteredModel, accepted: Accepted, classes: Classes
) -> Rows:
    rows = []
    for seed in settings.seeds:
        # Not one of the grid's or of the search's: there a sampler may have been lucky.
        samples, labels = sampler.draw_default(settings.n, seed_of("judge", seed) % 2**31, classes)
        rows.append(metrics.measure_held_out(*accepted(samples, labels)))
    return rows


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
