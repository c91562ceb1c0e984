"""What preparation found in fields."""

from collections.abc import Collection
from pathlib import Path

from pydantic import Field

from levy_core.base.artifacts import Artifact
from levy_core.base.errors import LevyError
from tasks.kinds.statistics import STATISTICS, Statistics, read_statistics


class TailIndex(Artifact):
    """The tail index ``nu`` of a variable with its interval; None stands for a tail as light as a Gaussian's."""

    nu: float | None = Field(gt=0)
    low: float | None
    high: float | None


class VariableStatistics(Artifact):
    """Of one variable."""

    tail_index: TailIndex


class PeriodStatistics(Artifact):
    """How many samples a period has, and the times of its first and last field, as text."""

    samples: int = Field(ge=1, lt=2**63)
    first: str
    last: str


class StaticStatistics(Artifact):
    """Of a field that is the same at all times."""

    name: str


class FieldStatistics(Statistics):
    """As ``Statistics``, of each variable and period, and what a network is told of each cell: its coordinates, static fields."""

    variables: dict[str, VariableStatistics]
    train: PeriodStatistics
    test: PeriodStatistics
    coordinates: bool = False
    static: tuple[StaticStatistics, ...] = ()


def read_field_statistics(prepared: Path, names: Collection[str]) -> FieldStatistics:
    """What the stage prepare found of the variables of these names.

    Raises:
        LevyError: the file is missing or damaged, or of other variables.
    """
    found = read_statistics(prepared, FieldStatistics)
    if set(found.variables) != set(names):
        raise LevyError(
            f"{prepared / STATISTICS} is of the variables {', '.join(found.variables) or 'none'}, but the prepared fields "
            f"are of {', '.join(names)}: run the prepare stage again"
        )
    return found
