"""Images with classes: a long tail to train on, a balanced reference, and images that are held out of both."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.kinds.held_out import HeldOut, Observing
from tasks.kinds.images.measures import MEASURES
from tasks.kinds.images.settings import ImageDrift, ImageEvaluation, ImageSettings
from tasks.kinds.kind import Contents, Drift, DriftMeasure, Kind, Metrics, Page, TrainingData
from tasks.runtime.paths import Folders

if TYPE_CHECKING:
    from torch import device


def _check(raw: Path, settings: ImageSettings) -> Contents:
    import numpy as np

    from levy_core.base.errors import LevyError
    from levy_core.datasets.images.sources import open_source
    from levy_core.datasets.images.split import assign_groups
    from tasks.kinds.images.advice import advise

    source = open_source(raw)
    if settings.crop and settings.crop >= (side := min(source.read(0).shape[1:])):
        raise LevyError(
            f"{source.where}: crop is {settings.crop}, but the smallest side of an image is {side}: "
            "a shift must be smaller, and a tenth of the side is usual"
        )
    groups = assign_groups(source, **settings.selection)
    for line in advise(source, groups, settings.imbalance):
        print(f"warning: {raw}: {line}", file=sys.stderr)
    counts = np.bincount(source.labels[groups["train"]], minlength=len(source.classes)).tolist()
    shape = source.read(int(groups["balanced"][0])).shape
    return Contents(dict(zip(source.classes, counts, strict=True)), shape, len(groups.get("test", [])))


def _count(raw: Path, settings: ImageSettings) -> dict[str, Any]:
    """Images of each class, and the shape of the first."""
    import numpy as np

    from levy_core.datasets.images.sources import open_source

    source = open_source(raw)
    counts = np.bincount(source.labels, minlength=len(source.classes)).tolist()
    return {"counts": dict(zip(source.classes, counts, strict=True)), "shape": list(source.read(0).shape)}


def _prepare(raw: Path, settings: ImageSettings, folder: Path, previous: Path | None, dataset: str) -> None:
    from tasks.kinds.images.data import prepare

    prepare(raw, settings, folder, dataset)


def _training_data(prepared: Path, settings: ImageSettings) -> TrainingData:
    from tasks.kinds.images.training import read_training_data

    return read_training_data(prepared)


def _make_reference(prepared: Path, folder: Path, settings: ImageEvaluation, on: "device", dataset: str) -> None:
    from tasks.kinds.images.metrics import make_reference

    make_reference(prepared, folder, settings, on, dataset)


def _open_metrics(folders: Folders, settings: ImageEvaluation, on: "device") -> Metrics:
    from tasks.kinds.images.metrics import ImageMetrics

    return ImageMetrics(folders.reference, folders.prepared, settings, on)


def _open_page(folders: Folders, settings: ImageEvaluation, on: "device") -> Page:
    from tasks.kinds.images.page import ImagePage

    return ImagePage(folders, settings, on)


def _find_drift(
    raw: Path, settings: ImageSettings, before: dict[str, Any], after: dict[str, Any], drift: ImageDrift
) -> list[Drift]:
    from tasks.kinds.images.drift import find_drift

    return find_drift(before, after, drift)


def _check_observed(settings: ImageSettings, view: str, std: float | dict[str, float], guides: Sequence[str]) -> None:
    from levy_core.base.errors import LevyError

    if isinstance(std, dict):
        raise LevyError(f"std is {std}, but images have no variables: give one number, in grey levels of 255")


def _open_held_out(prepared: Path, settings: ImageSettings) -> HeldOut:
    from tasks.kinds.images.held_out import HeldOutImages

    return HeldOutImages(prepared)


KIND = Kind(
    name="images",
    settings=ImageSettings,
    evaluation=ImageEvaluation,
    measures=MEASURES,
    dtype="uint8",
    bounded=True,
    why_no_eofs=lambda settings: (
        "is of the kind images, whose values have a range that sums of EOFs leave; take eofs out, or run this design on fields"
    ),
    weighs_classes=True,
    has_tail_index=False,
    check=_check,
    count=_count,
    prepare=_prepare,
    training_data=_training_data,
    make_reference=_make_reference,
    open_metrics=_open_metrics,
    open_page=_open_page,
    keeps=("classifier",),
    output_shape=lambda shape: (*shape[1:], shape[0]),  # channels last
    drift=DriftMeasure(ImageDrift, _find_drift),
    observing=Observing(("half", "cells", "means", "box", "blur"), _check_observed, _open_held_out),
)
