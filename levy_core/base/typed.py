"""Values of a request, which nothing rounds or converts: what is of another type is refused."""

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np

from levy_core.base.errors import LevyError

EXACT = 2**53  # a float says whole numbers exactly up to it
DEEPEST = 8  # nested lists of an array


def whole(key: str, value: Any) -> int:
    """A whole number, which may come as a float that is whole; ``key`` begins the message.

    Raises:
        LevyError: anything else.
    """
    is_whole = isinstance(value, Integral) or (
        isinstance(value, Real) and float(value).is_integer() and abs(float(value)) <= EXACT
    )
    if isinstance(value, bool) or not is_whole:
        raise LevyError(f"{key} is {value!r:.40}, but a whole number is expected (as a float, no larger than 2**53)")
    return int(value)


def real(key: str, value: Any) -> float:
    """A finite number.

    Raises:
        LevyError: anything else.
    """
    if not _is_real(value) or not math.isfinite(_float(value)):
        raise LevyError(f"{key} is {value!r:.40}, but a finite number is expected")
    return float(value)


def text(key: str, value: Any) -> str:
    """Text.

    Raises:
        LevyError: anything else.
    """
    if not isinstance(value, str) or any("\ud800" <= letter <= "\udfff" for letter in value):  # half a letter of JSON
        raise LevyError(f"{key} is {value!r:.40}, but text is expected")
    return value


def mapping(key: str, value: Any, allowed: Sequence[str] | None = None) -> dict[str, Any]:
    """An object of JSON, whose keys are ``allowed``; None: any.

    Raises:
        LevyError: anything else, or another key.
    """
    if not isinstance(value, Mapping):
        raise LevyError(f"{key} is {value!r:.40}, but an object is expected")
    unknown = [name for name in value if not isinstance(name, str) or (allowed is not None and name not in allowed)]
    if unknown:
        raise LevyError(f"{key} has the unknown key {unknown[0]!r:.40}: allowed are {', '.join(allowed or ['texts'])}")
    return dict(value)


def array(key: str, value: Any) -> np.ndarray:
    """A number or nested lists of numbers as float64, NaN where they have null.

    Raises:
        LevyError: lists of unequal lengths, or entries that are no numbers.
    """
    level, shape = value, list[int]()
    while isinstance(level, list | tuple | np.ndarray) and len(shape) <= DEEPEST:
        shape.append(len(level))
        level = level[0] if len(level) else None
    if len(shape) > DEEPEST:
        raise LevyError(
            f"{key} has lists in lists in more than {DEEPEST} levels, but nested lists of numbers are expected"
        )
    numbers: list[float] = []
    _flatten(key, value, shape, numbers)
    return np.array(numbers, dtype=np.float64).reshape(shape)


def _flatten(key: str, value: Any, shape: Sequence[int], numbers: list[float]) -> None:
    if not shape:
        if value is not None and not _is_real(value):
            raise LevyError(f"{key} has the entry {value!r:.40}, but numbers are expected, and null for none")
        numbers.append(math.nan if value is None else _float(value))
        return
    if not isinstance(value, list | tuple | np.ndarray) or len(value) != shape[0]:
        raise LevyError(
            f"{key} has the entry {value!r:.40} where a list of {shape[0]} is expected: nested lists have equal lengths"
        )
    for part in value:
        _flatten(key, part, shape[1:], numbers)


def _is_real(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # whole numbers of more than 308 digits
        return math.inf
