"""What preparation found in images."""

from typing import Annotated

from pydantic import Field, model_validator

from levy_core.base.artifacts import Artifact
from tasks.kinds.statistics import Statistics

Count = Annotated[int, Field(ge=0, lt=2**63)]


class GroupStatistics(Artifact):
    """The classes of a group of the store, and how many of its images are of each."""

    classes: list[str] = Field(min_length=1)
    counts: list[Count]

    @model_validator(mode="after")
    def _check(self) -> "GroupStatistics":
        if len(self.classes) != len(self.counts) or not sum(self.counts):
            raise ValueError(f"one count per class was expected, and one above 0: {len(self.classes)} classes")
        return self


class ImageStatistics(Statistics):
    """As ``Statistics``.

    Attributes:
        flip, crop, colour: as in ``TrainingData``; data of before there were some have no ``crop`` or ``colour``.
        test: None where no images are held out.
    """

    flip: bool
    crop: int = Field(default=0, ge=0, lt=2**31)
    colour: float = Field(default=0.0, ge=0, le=1)
    train: GroupStatistics
    balanced: GroupStatistics
    test: GroupStatistics | None = None
