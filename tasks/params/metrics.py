"""What the samples of a data set are measured with, as params.yaml says."""

from typing import TYPE_CHECKING

from tasks.kinds.kind import Metrics
from tasks.runtime import paths, stage

if TYPE_CHECKING:
    from tasks.params.schema import Params


def open_metrics(params: "Params", dataset: str) -> Metrics:
    """The metrics of a data set's kind.

    Raises:
        LevyError: the reference stage has not run, or left something unreadable.
    """
    device = stage.device(params.compute.device)
    return params.kind(dataset).open_metrics(paths.folders(dataset), params.evaluation(dataset), device)
