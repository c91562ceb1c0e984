"""What a person observed of a sample, as the network sees samples."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from levy_core.base.errors import LevyError
from levy_core.base.typed import mapping, real


@dataclass(frozen=True, eq=False)
class Observed:
    """``values[i] = sum_j weights[i, j] x[cells[i, j]] + std[i] n``, n ~ N(0, 1), of a flattened sample x.

    Attributes:
        cells: int64 [rows, k]. weights: float64 [rows, k]. values, std: float64 [rows].
        label: the class of samples that the observation belongs to; None where it says nothing of it.
        time: the moment that was observed, for samples that have one; else None.
        text: what was read, for people.
    """

    cells: np.ndarray
    weights: np.ndarray
    values: np.ndarray
    std: np.ndarray
    label: int | None
    time: Any
    text: str


def read_std(key: str, value: Any) -> dict[str, float]:
    """How far observed values may be from the truth, by variable, ``""`` for all others: of a number, or numbers by variable.

    Raises:
        LevyError: something else, or a number below 0; ``key`` begins the message.
    """
    named = (
        {f"{key}.{name}": value[name] for name in mapping(key, value)} if isinstance(value, Mapping) else {key: value}
    )
    found = {name.removeprefix(key).removeprefix("."): real(name, number) for name, number in named.items()}
    if wrong := [name for name, number in found.items() if number < 0]:
        raise LevyError(f"{key}{'.' if wrong[0] else ''}{wrong[0]} is {found[wrong[0]]:g}, but must be 0 or more")
    return found
