"""More seeds only while a comparison is undecided, with one probability of a false result over all looks together."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from levy_core.base.errors import LevyError
from levy_core.metrics.common.paired import Comparison

FUTILE = 4  # times the most seeds: a gain that would need more is not waited for


@dataclass(frozen=True)
class Looks:
    """A group-sequential plan: after ``first`` seeds a first look, then after twice as many, up to ``most``.

    Args:
        error: probability that a rule which does not hold passes at any of the looks. Each look has a share in proportion to
            its seeds (alpha spending; the sum of the shares bounds the whole whatever the dependence of the looks).

    Raises:
        LevyError: with so few seeds not even gains at all of them could pass.
    """

    first: int
    most: int
    error: float

    def __post_init__(self) -> None:
        if not 2 <= self.first <= self.most:
            raise LevyError(f"first {self.first} and most {self.most}: need 2 <= first <= most")
        if 0.5**self.most > self.levels[-1]:
            least = next(
                n for n in itertools.count(self.most) if 0.5**n <= self._levels(self._doubled(n), self.error)[-1]
            )
            raise LevyError(
                f"most {self.most} is too few: equal models gain at all of {self.most} seeds once in {2**self.most:,}; an error of "
                f"{self.error:g} needs {least} or more"
            )

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds at each look."""
        return self._doubled(self.most)

    @property
    def levels(self) -> tuple[float, ...]:
        """The p that passes at each look."""
        return self._levels(self.seeds, self.error)

    def _doubled(self, most: int) -> tuple[int, ...]:
        found = [self.first]
        while found[-1] < most:
            found.append(min(2 * found[-1], most))
        return tuple(found)

    @staticmethod
    def _levels(seeds: tuple[int, ...], error: float) -> tuple[float, ...]:
        return tuple(error * n / sum(seeds) for n in seeds)

    def is_over(self, lines: Sequence[Comparison]) -> bool:
        """Whether more seeds are not worth drawing after these lines, which hold, do not, or are undecided at any number."""
        failed = [line for line in lines if line.holds_back]
        return not failed or any(not line.seeds_needed or line.seeds_needed > FUTILE * self.most for line in failed)
