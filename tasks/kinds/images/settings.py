"""What a person says of images and of their metrics."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from levy_core.base.settings import Settings

GREY_LEVELS = 255.0  # that pixels span


class ImageSettings(Settings):
    """How one data set of images is selected."""

    kind: Literal["images"] = "images"
    imbalance: float | None = Field(default=None, ge=1)  # None: as the images are
    reference_per_class: int | None = Field(default=None, ge=2)
    test_share: float = Field(default=0.2, ge=0, lt=1)
    flip: bool = False
    crop: int = Field(default=0, ge=0)
    colour: float = Field(default=0.0, ge=0, le=1)
    seed: int = Field(default=0, ge=0)

    @property
    def selection(self) -> dict[str, Any]:
        """What decides which images are used, by the names of ``levy_core.datasets.images.split.assign_groups``."""
        return self.model_dump(exclude={"kind", "flip", "crop", "colour"})


class ClassifierSettings(Settings):
    """How the classifier of samples is trained."""

    steps: int = Field(ge=1)
    batch: int = Field(ge=2)
    lr: float = Field(gt=0)
    width: int = Field(ge=1)
    features: int = Field(ge=2)
    seed: int = Field(ge=0)


class ImageEvaluation(Settings):
    """torch-fidelity's settings, and the classifier."""

    kid_subsets: int = Field(ge=1)
    kid_subset_size: int = Field(ge=2)
    neighborhood: int = Field(ge=1)
    inception_weights: Path | None = None
    classifier: ClassifierSettings


class ImageDrift(Settings):
    """When new images are told to be unlike those before: docs/retraining.md."""

    share: float = Field(default=1.5, gt=1)
    false_alarms: float = Field(default=0.001, gt=0, lt=0.5)
