"""Whether a challenger is better than a champion beyond noise: metrics over the same seeds, Student's t, declared rules."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from levy_core.base.errors import LevyError
from levy_core.base.measure import Measure, measure_of

Rule = Literal["better", "not worse"]


@dataclass(frozen=True)
class Comparison:
    """One metric of both models over the same seeds.

    Attributes:
        champion, champion_std, challenger, challenger_std: mean and standard deviation of the metric.
        gain: mean of the champion's error less the challenger's: positive where the challenger is better.
        low, high: what of the gain noise leaves open, with probability 1 - confidence beyond either end.
        p: of ``better``, the probability of such a gain from equal models; of ``not worse``, of such a loss.
        found: better, not better, worse, not worse, or that a value is no finite number.
    """

    metric: str
    rule: Rule
    champion: float
    champion_std: float
    challenger: float
    challenger_std: float
    gain: float
    low: float
    high: float
    p: float
    passed: bool
    found: str

    def __str__(self) -> str:
        means = f"{self.metric} {self.challenger:.3g} ± {self.challenger_std:.2g}"
        tested = "" if np.isnan(self.p) else f" (p = {self.p:.2g})"
        return f"{means} against the champion's {self.champion:.3g} ± {self.champion_std:.2g}: {self.found}{tested}"


def compare(
    gate: Mapping[str, Rule],
    measures: Collection[Measure],
    champion: Sequence[Mapping[str, float]],
    challenger: Sequence[Mapping[str, float]],
    confidence: float,
) -> tuple[Comparison, ...]:
    """The lines of a gate; an entry stands for all metrics that it is the beginning of, `ks/test` for `ks/test/t2m`.

    Args:
        measures: say which values of a metric are good. champion, challenger: all metrics by name, one mapping per seed, the seeds in the same order.

    Raises:
        LevyError: no metric of that name.
    """
    lines = []
    for entry, rule in gate.items():
        names = [name for name in challenger[0] if f"{name}/".startswith(f"{entry}/")]
        if not names:
            raise LevyError(f"the gate names {entry!r}, but the samples were measured by {', '.join(challenger[0])}")
        for name in names:
            old, new = (np.array([row.get(name, np.nan) for row in side]) for side in (champion, challenger))
            lines.append(_line(measure_of(name, measures), name, rule, old, new, confidence))
    return tuple(lines)


def _line(
    measure: Measure, metric: str, rule: Rule, champion: np.ndarray, challenger: np.ndarray, confidence: float
) -> Comparison:
    sides = {"champion": champion, "challenger": challenger}
    broken = [name for name, values in sides.items() if not np.isfinite(values).all()]
    if broken:
        found = f"not judged, because the {' and the '.join(broken)} left no finite number"
        gain, low, high, p, passed = *[np.nan] * 4, False
    else:
        gains = np.array([measure.error(a) - measure.error(b) for a, b in zip(champion, challenger, strict=True)])
        gain, low, high, p_gain, p_loss = t_test(gains, confidence)
        p = p_gain if rule == "better" else p_loss
        passed = (p <= 1 - confidence) == (rule == "better")
        found = rule if passed else {"better": "not better", "not worse": "worse"}[rule]
    with np.errstate(invalid="ignore"):
        spreads = [(float(v.mean()), float(v.std(ddof=1))) for v in sides.values()]
    return Comparison(metric, rule, *spreads[0], *spreads[1], gain, low, high, p, passed, found)


def t_test(gains: np.ndarray, confidence: float) -> tuple[float, float, float, float, float]:
    """(mean, low, high, p of a gain, p of a loss) of differences [N], N > 1, by Student's t with N - 1 degrees of freedom.

    p of a gain is the probability that the t of normal differences with mean 0 is as large or larger, and p of a loss that
    it is as small or smaller. Below ``low``, and above ``high``, the true mean lies with probability 1 - confidence.
    Differences that are all alike have no noise: p is then 0 or 1, and 1 both ways where all are 0.
    """
    mean, n = float(gains.mean()), len(gains)
    if np.ptp(gains) == 0:
        return mean, mean, mean, float(mean <= 0), float(mean >= 0)
    from scipy import special  # a third of a second, and params.py needs only the names of rules

    error = float(gains.std(ddof=1)) / n**0.5
    reach = float(special.stdtrit(n - 1, confidence)) * error
    p_gain = float(special.stdtr(n - 1, -mean / error))
    return mean, mean - reach, mean + reach, p_gain, 1 - p_gain
