"""What the samples of a data set are measured with, as params.yaml says, and what corrects them."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.kinds.kind import Correct, Kind, Metrics
from tasks.runtime import paths, stage

if TYPE_CHECKING:
    from levy_core.base.samples import Samples


def open_metrics(params: Any, dataset: str) -> Metrics:
    """The metrics of a data set's kind.

    Args:
        params: ``tasks.params.schema.Params``.

    Raises:
        LevyError: the reference stage has not run, or left something unreadable.
    """
    device = stage.device(params.compute.device)
    return params.kind(dataset).open_metrics(paths.folders(dataset), params.evaluation(dataset), device)


def open_correction(kind: Kind, folder: Path, found: Mapping[str, Any], of_model: "Samples") -> Correct | None:
    """What corrects samples of the model in a folder, with what the tune stage fitted; None where it fitted nothing."""
    if not found:
        return None
    assert kind.correction is not None  # or nothing would have been fitted
    return kind.correction.open(folder, found, of_model)
