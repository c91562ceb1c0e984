"""A challenger against other models: the same metrics at the same seeds, sign flips, declared rules."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import numpy as np

from levy_core.base.errors import LevyError
from levy_core.base.measure import Measure, measure_of
from levy_core.metrics.common.flips import sign_flip_test

LARGEST = 1e100  # error: beyond, squares are infinite, and no measure of anything is so large
Rule = Literal["better"] | float
"""``better``, or a margin: how much larger than the other model's the error may be."""
NONE: Mapping[str, str] = MappingProxyType({})
Rows = Sequence[Mapping[str, float]]
"""All metrics by name, one mapping per seed."""


@dataclass(frozen=True)
class Comparison:
    """One metric of the challenger and of another model over the same seeds.

    Attributes:
        against: who the other model is.
        rule: what the challenger must be.
        challenger, challenger_std, other, other_std: mean and standard deviation of the metric.
        gain: mean of the other's error less the challenger's: positive where the challenger is better.
        low, high: 95 % interval of the gain by Student's t; it decides nothing.
        p: probability of such gains, or larger, where the rule does not hold: from equal models, or from a loss of the margin.
        level: the rule is shown to hold where p is at most this.
        passed: it is.
        seeds_needed: about how many seeds would show a gain of this size; None where none would.
        broken: whose values are no finite numbers, or beyond all bounds.
        undecidable: why the held-out data cannot decide this metric: it passes no rule, and its margin holds nothing back.
    """

    metric: str
    against: str
    rule: Rule
    challenger: float
    challenger_std: float
    other: float
    other_std: float
    gain: float
    low: float
    high: float
    p: float
    level: float
    passed: bool
    seeds_needed: int | None
    broken: str = ""
    undecidable: str = ""

    @property
    def undecided(self) -> bool:
        """Whether it is a margin that no number of seeds would decide."""
        return bool(self.undecidable) and self.rule != "better"

    @property
    def holds_back(self) -> bool:
        """Whether the challenger is kept because of it."""
        return not (self.passed or self.undecided)

    @property
    def aim(self) -> str:
        """The rule in words."""
        return "better" if self.rule == "better" else f"not worse by {self.rule:g} in its error"

    def __str__(self) -> str:
        text = f"{self.metric} {self.challenger:.3g} ± {self.challenger_std:.2g} against the {self.against}'s "
        text += f"{self.other:.3g} ± {self.other_std:.2g}: "
        if self.broken:
            return text + f"not judged, because the {self.broken} left no finite number"
        if self.undecidable:
            return text + f"not decidable with these data ({self.undecidable})"
        if self.passed:
            return text + f"{self.aim} (p = {self.p:.2g})"
        needed = f"; about {self.seeds_needed} seeds would show a gain of this size" if self.seeds_needed else ""
        return text + f"not shown to be {self.aim} (p = {self.p:.2g}, needed {self.level:.2g}{needed})"


def compare(
    gate: Mapping[str, Rule],
    measures: Collection[Measure],
    challenger: Rows,
    other: Rows,
    against: str,
    level: float,
    undecidable: Mapping[str, str] = NONE,
) -> tuple[Comparison, ...]:
    """The lines of a gate; an entry stands for all metrics that it is the beginning of, `ks/test` for `ks/test/t2m`.

    Args:
        measures: say which values of a metric are good. challenger, other: the seeds in the same order.
        level: probability that a line passes whose rule does not hold.
        undecidable: metrics that the held-out data cannot decide, and why.

    Raises:
        LevyError: no metric of that name.
    """
    lines = []
    for entry, rule in gate.items():
        names = [name for name in challenger[0] if f"{name}/".startswith(f"{entry}/")]
        if not names:
            raise LevyError(f"the gate names {entry!r}, but the samples were measured by {', '.join(challenger[0])}")
        for name in names:
            new, old = (np.array([row.get(name, np.nan) for row in side]) for side in (challenger, other))
            line = _line(measure_of(name, measures), name, rule, new, old, against, level)
            # Numbers that only the challenger lacks are its own fault; data that are too few leave none to anybody.
            if (why := undecidable.get(name)) and line.broken != "challenger":
                line = replace(line, undecidable=why, passed=False, seeds_needed=None, broken="")
            lines.append(line)
    return tuple(lines)


def _line(
    measure: Measure, metric: str, rule: Rule, challenger: np.ndarray, other: np.ndarray, against: str, level: float
) -> Comparison:
    sides = {"challenger": challenger, against: other}
    errors = {name: np.array([measure.error(value) for value in values]) for name, values in sides.items()}
    broken = " and the ".join(name for name, e in errors.items() if not (np.abs(e) < LARGEST).all())
    gain, low, high, p, needed = *[np.nan] * 4, None
    if not broken:
        gains = errors[against] - errors["challenger"]
        gain, low, high = interval(gains)
        p = sign_flip_test(gains + (0.0 if rule == "better" else rule), level)
        needed = _seeds_needed(len(gains), p, level)
    with np.errstate(invalid="ignore", over="ignore"):
        spreads = [(float(v.mean()), float(v.std(ddof=1))) for v in sides.values()]
    return Comparison(
        metric, against, rule, *spreads[0], *spreads[1], gain, low, high, p, level, p <= level, needed, broken
    )


def interval(gains: np.ndarray) -> tuple[float, float, float]:
    """(mean, low, high) of differences [N], N > 1: the 95 % interval of Student's t with N - 1 degrees of freedom."""
    from scipy import special  # a third of a second, and params.py needs only the names of rules

    mean = float(gains.mean())
    reach = float(special.stdtrit(len(gains) - 1, 0.975)) * float(gains.std(ddof=1)) / len(gains) ** 0.5
    return mean, mean - reach, mean + reach


def _seeds_needed(seeds: int, p: float, level: float) -> int | None:
    """From the normal law: the seeds at which gains of the same size and spread would have a p of ``level``."""
    from scipy import special

    found, wanted = (float(special.ndtri(1 - q)) for q in (p, level))
    return None if found <= 0 else int(np.ceil(seeds * max(1.0, (wanted / found) ** 2)))
