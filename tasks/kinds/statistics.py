"""``statistics.json`` of prepared data: what preparation found, for the stages after it."""

from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Field

from levy_core.base.artifacts import Artifact, read_artifact

STATISTICS = "statistics.json"
Size = Annotated[int, Field(ge=1, lt=2**31)]


class Statistics(Artifact):
    """What every kind of data has there.

    Attributes:
        shape: (C, H, W) of a sample.
    """

    shape: tuple[Size, Size, Size]


Found = TypeVar("Found", bound=Statistics)


def read_statistics(prepared: Path, of_kind: type[Found]) -> Found:
    """What the stage prepare left in its folder.

    Raises:
        LevyError: the file is missing or damaged.
    """
    return read_artifact(prepared / STATISTICS, of_kind, "prepare")
