"""What the samples of a data set are measured with, as params.yaml says."""

from typing import Any

from tasks.kinds.kind import Metrics
from tasks.runtime import paths, stage


def open_metrics(params: Any, dataset: str) -> Metrics:
    """The metrics of a data set's kind.

    Args:
        params: ``tasks.params.schema.Params``.

    Raises:
        LevyError: the reference stage has not run, or left something unreadable.
    """
    device = stage.device(params.compute.device)
    return params.kind(dataset).open_metrics(paths.folders(dataset), params.evaluation(dataset), device)
