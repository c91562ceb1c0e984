"""Holds the counts of new data against those before: `python -m tasks drift --dataset NAME`, both counts as JSON on standard input."""

import json
import sys
from dataclasses import asdict
from typing import Any


def drift(params: Any, dataset: str) -> None:
    """Prints what the kind of the data set finds; nothing where it has no measure of drift."""
    census = json.load(sys.stdin)
    measure, settings = params.kind(dataset).drift, params.drift(dataset)
    found = [] if measure is None else measure.find(census["before"], census["after"], settings)
    print(json.dumps([asdict(each) for each in found]))
