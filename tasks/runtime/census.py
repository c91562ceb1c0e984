"""Counts what a data set holds without reading its images or fields, as JSON: `python -m tasks census --dataset NAME`."""

import json
from typing import Any

from tasks.runtime import paths


def census(params: Any, dataset: str) -> None:
    """Prints what the kind of the data set counts."""
    print(json.dumps(params.kind(dataset).count(paths.raw(dataset), params.data[dataset])))
