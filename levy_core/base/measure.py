"""What a metric says of itself: its name, which of its values are good, and who is shown it.

The first part of a metric's name is its measure: ``fid`` of ``fid/longtail``, ``ks`` of ``ks/test/t2m``.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from levy_core.base.errors import LevyError

Good = Literal["low", "high", "one"]


@dataclass(frozen=True)
class Measure:
    """A measure of samples.

    Args:
        name: first part of the names of its metrics.
        good: which values are: "low" ones, of which 0 is perfect; "high" ones, of which 1 is; "one", a ratio that should be 1.
        ranks: the metrics by which samplers may be compared (``compare`` in params.yaml).
        headline: the metrics that `dvc metrics show` prints; `*` stands for a variable.
        shown: (text for people, metric) of the report; `{}` stands for a variable, or with ``pairs`` for two of them, `a-b`.
        factor: of the values in the report.
        held_out: it can be taken against data that were held out of training, where a challenger meets the champion.
    """

    name: str
    good: Good
    ranks: tuple[str, ...] = ()
    headline: tuple[str, ...] = ()
    shown: tuple[tuple[str, str], ...] = ()
    pairs: bool = False
    factor: float = 1.0
    held_out: bool = True

    @property
    def perfect(self) -> float:
        """What perfect samples score, but for their number."""
        return 0.0 if self.good == "low" else 1.0

    def error(self, value: float) -> float:
        """A value as an error: 0 is right, and smaller is better.

        Of a ratio r it is |r - 1| / (|r| + 1), which is tanh(|log r| / 2) of a positive one: alike for r and 1 / r, and 1 for
        none at all.
        """
        if self.good == "low":
            return value
        return 1 - value if self.good == "high" else abs(value - 1) / (abs(value) + 1)


def measure_of(metric: str, measures: Iterable[Measure]) -> Measure:
    """The measure that a metric belongs to.

    Raises:
        LevyError: none of these says which of its values are good.
    """
    by_name = {measure.name: measure for measure in measures}
    name = metric.split("/")[0]
    if name not in by_name:
        raise LevyError(f"unknown measure {name!r} in {metric!r}: choose one of {', '.join(sorted(by_name))}")
    return by_name[name]
