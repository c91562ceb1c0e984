"""Counts what a data set holds without reading its images or fields, as JSON: `python -m tasks.kinds.census --dataset NAME`."""

import json
from typing import Any

import numpy as np

from levy_core.datasets.fields.prepare import plan
from levy_core.datasets.images.sources import open_source
from tasks.params.schema import FieldsParams, Params
from tasks.runtime import paths, stage


def census(params: Params, dataset: str) -> dict[str, Any]:
    """Images of each class and the shape of the first; or the number of fields with their first and last time.

    Raises:
        LevyError: the data are missing, damaged or do not suit the settings.
    """
    settings = params.data[dataset]
    if isinstance(settings, FieldsParams):
        times = plan(paths.raw(dataset), settings.config).opened.data.time.to_numpy()
        return {"counts": {"fields": len(times)}, "first": str(times[0]), "last": str(times[-1])}
    source = open_source(paths.raw(dataset))
    counts = np.bincount(source.labels, minlength=len(source.classes)).tolist()
    return {"counts": dict(zip(source.classes, counts, strict=True)), "shape": list(source.read(0).shape)}


def _show(params: Params, dataset: str) -> None:
    """Counts what a data set holds."""
    print(json.dumps(census(params, dataset)))


if __name__ == "__main__":
    stage.main(_show, "dataset")
