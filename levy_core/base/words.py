"""Events in words: ``WHAT [at PLACE | mean | max | min [of A..B,C..D]] > or < VALUE UNIT``; what the parts mean is the kind's."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from levy_core.base.errors import LevyError

NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
POINT = re.compile(rf"at\s+({NUMBER})\s*,\s*({NUMBER})")
OVER = re.compile(rf"(\w+)(?:\s+of\s+({NUMBER})\.\.({NUMBER})\s*,\s*({NUMBER})\.\.({NUMBER}))?")
WORDS = re.compile(rf"\s*(\S+)\s*(.*?)\s*([<>])\s*({NUMBER})\s*(.*?)\s*")
Reduction = Callable[[np.ndarray, np.ndarray], np.ndarray]
# name -> of values [n, k] with weights [k] that sum to 1
STATISTICS: Mapping[str, Reduction] = {
    "mean": lambda values, weights: values @ weights,
    "max": lambda values, weights: values.max(1),
    "min": lambda values, weights: values.min(1),
}


class Words(NamedTuple):
    """The parts of an event: the number ``what`` of it, ``where``, is above a value in a unit, or below it."""

    what: str
    where: str
    above: bool
    value: float
    unit: str


def read_words(text: str, grammar: str) -> Words:
    """The parts of an event in words; ``grammar`` says in messages what is expected.

    Raises:
        LevyError: words that are no event.
    """
    found = WORDS.fullmatch(text)
    if found is None:
        raise LevyError(f"the event {text!r} cannot be read: {grammar}")
    what, where, sign, value, unit = found.groups()
    return Words(what, where, sign == ">", float(value), unit)
