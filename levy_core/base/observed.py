"""What a person observed of a sample, as the network sees samples."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from levy_core.base.errors import LevyError
from levy_core.base.typed import mapping, real

Function = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Reported:
    """Observed values as people have them.

    Attributes:
        values, std: float64 [rows]. variable: int64 [rows], which of ``names`` each is of. names: (name, units) of each variable.
        decode: samples [N, C, H, W] as the core draws them -> the same in these units at the observed moment.
        reach: what values can span, 255 of pixels; None where they have no ends.
        weights: of the cells in a mean of values in these units, float64 [rows, k]; None: those of ``Observed``.
    """

    values: np.ndarray
    std: np.ndarray
    variable: np.ndarray
    names: tuple[tuple[str, str], ...]
    decode: Callable[[np.ndarray], np.ndarray]
    reach: float | None = None
    weights: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Behind:
    """What lies behind a transform: values are ``T(sum_j weights[i, j] F(x[cells[i, j]])) + std[i] n``, T the inverse of F.

    Attributes:
        inside: F, of cells [N, rows, k]. outside: T, of means [N, rows]. rows: which values F is not linear for, bool [rows].
        offsets: what F adds to each cell, in units of the cell's standard deviation, float64 [rows, k]. points: whether values are of points between cells.
    """

    inside: Function
    outside: Function
    rows: np.ndarray
    offsets: np.ndarray
    points: bool


@dataclass(frozen=True, eq=False)
class Observed:
    """``values[i] = sum_j weights[i, j] x[cells[i, j]] + std[i] n``, n ~ N(0, 1), of a flattened sample x.

    Attributes:
        cells: int64 [rows, k]. weights: float64 [rows, k]. values, std: float64 [rows].
        label: the class of samples that the observation belongs to; None where it says nothing of it.
        time: the moment that was observed, for samples that have one; else None.
        text: what was read, for people. reported: the values in their units.
        behind: what is not linear in x; None: nothing.
    """

    cells: np.ndarray
    weights: np.ndarray
    values: np.ndarray
    std: np.ndarray
    label: int | None
    time: Any
    text: str
    reported: Reported
    behind: Behind | None = None

    def look(self, decoded: np.ndarray) -> np.ndarray:
        """What would have been observed of samples in the units of people [N, C, H, W]: [N, rows]."""
        seen, weights = decoded.reshape(len(decoded), -1)[:, self.cells], self._weights
        return (np.where(weights != 0, seen, 0.0) * weights).sum(-1)

    def nearest(self) -> "Observed":
        """With the nearest cell in the place of points between cells, where these are not linear in x."""
        if self.behind is None:
            return self
        rows, own, offsets = self.behind.rows, self._weights, self.behind.offsets
        heaviest = np.arange(own.shape[1]) == own.argmax(1)[:, None]
        weights, in_units = (np.where(rows[:, None], heaviest, each) for each in (self.weights, own))
        ratio = np.where(
            rows, own[heaviest] / self.weights[heaviest], 1.0
        )  # what the mean is divided by over the cell's
        values = (self.values + (self.weights * offsets).sum(1)) * ratio - (weights * offsets).sum(1)
        reported = replace(self.reported, weights=in_units)
        return replace(self, weights=weights, values=values, std=self.std * ratio, reported=reported, behind=None)

    @property
    def _weights(self) -> np.ndarray:
        """In the units of people."""
        return self.weights if self.reported.weights is None else self.reported.weights

    @property
    def places(self) -> list[frozenset[tuple[int, float]]]:
        """The cells and weights, in the units of people, of each row, for comparing rows of several observations."""
        digits = np.round(self._weights, 9)
        return [
            frozenset((int(c), float(w)) for c, w in zip(*row, strict=True) if w)
            for row in zip(self.cells, digits, strict=True)
        ]


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
