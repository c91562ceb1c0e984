"""Counts what a data set holds without reading its images or fields, as JSON: `python -m tasks census --dataset NAME`."""

import json
from typing import TYPE_CHECKING

from tasks.runtime import paths

if TYPE_CHECKING:
    from tasks.params.schema import Params


def census(params: "Params", dataset: str) -> None:
    """Prints what the kind of the data set counts."""
    print(json.dumps(params.kind(dataset).count(paths.raw(dataset), params.data[dataset])))
