"""Whether a challenger is better than a champion beyond noise: metrics over the same seeds, Student's t, declared rules."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from levy_core.base.errors import LevyError

Rule = Literal["better", "not worse"]


def _itself(value: float) -> float:
    return value


def _short_of_one(value: float) -> float:
    return 1 - value


def _off_one(ratio: float) -> float:
    """|r - 1| / (|r| + 1), which is tanh(|log r| / 2) of a positive ratio: alike for r and 1 / r, and 1 for none at all."""
    return abs(ratio - 1) / (abs(ratio) + 1)


# The first part of a metric's name -> its value as an error: 0 is right, and smaller is better.
MEASURES: dict[str, Callable[[float], float]] = {
    **dict.fromkeys(("fid", "kid", "rare_fid", "class_fid", "distance", "class_distance", "ks", "tail_ks"), _itself),
    **dict.fromkeys(("tail_error", "return_error", "spectrum_error", "correlation_error", "chi_error"), _itself),
    **dict.fromkeys(("crps", "reliability"), _itself),
    **dict.fromkeys(("precision", "recall", "coverage", "rare_recall", "class_recall", "crps_skill"), _short_of_one),
    **dict.fromkeys(("rare_share_ratio", "tail_q99", "q999_ratio", "exceed99_ratio", "exceed999_ratio"), _off_one),
    **dict.fromkeys(("hill_ratio", "skew_ratio", "kurtosis_ratio"), _off_one),
}


@dataclass(frozen=True)
class Line:
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


def measure_of(metric: str) -> Callable[[float], float]:
    """How the values of a metric become errors.

    Raises:
        LevyError: nobody says which of its values are good.
    """
    measure = metric.split("/")[0]
    if measure not in MEASURES:
        raise LevyError(f"unknown measure {measure!r} in {metric!r}: choose one of {', '.join(sorted(MEASURES))}")
    return MEASURES[measure]


def compare(
    gate: Mapping[str, Rule],
    champion: Sequence[Mapping[str, float]],
    challenger: Sequence[Mapping[str, float]],
    confidence: float,
) -> tuple[Line, ...]:
    """The lines of a gate; an entry stands for all metrics that it is the beginning of, `ks/test` for `ks/test/t2m`.

    Args:
        champion, challenger: all metrics by name, one mapping a seed, the seeds in the same order.

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
            lines.append(_line(name, rule, old, new, confidence))
    return tuple(lines)


def _line(metric: str, rule: Rule, champion: np.ndarray, challenger: np.ndarray, confidence: float) -> Line:
    sides = {"champion": champion, "challenger": challenger}
    broken = [name for name, values in sides.items() if not np.isfinite(values).all()]
    error = measure_of(metric)
    if broken:
        found = f"not judged, because the {' and the '.join(broken)} left no finite number"
        gain, low, high, p, passed = *[np.nan] * 4, False
    else:
        gains = np.array([error(a) - error(b) for a, b in zip(champion, challenger, strict=True)])
        gain, low, high, p_gain, p_loss = t_test(gains, confidence)
        p = p_gain if rule == "better" else p_loss
        passed = (p <= 1 - confidence) == (rule == "better")
        found = rule if passed else {"better": "not better", "not worse": "worse"}[rule]
    with np.errstate(invalid="ignore"):
        spreads = [(float(v.mean()), float(v.std(ddof=1))) for v in sides.values()]
    return Line(metric, rule, *spreads[0], *spreads[1], gain, low, high, p, passed, found)


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
