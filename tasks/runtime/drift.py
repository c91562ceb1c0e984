"""Holds new data against those before: `python -m tasks drift --dataset NAME`, the counts of both as JSON on standard input."""

import json
import sys
from dataclasses import asdict
from typing import Any

from tasks.runtime import paths


def drift(params: Any, dataset: str) -> None:
    """Prints what the kind of the data set finds; nothing where it has no measure of drift."""
    census = json.load(sys.stdin)
    measure, given = params.kind(dataset).drift, (paths.raw(dataset), params.data[dataset])
    found = [] if measure is None else measure.find(*given, census["before"], census["after"], params.drift(dataset))
    print(json.dumps([asdict(each) for each in found]))
