"""What a person observed of a sample, as the network sees samples."""

from dataclasses import dataclass
from typing import Any

import numpy as np


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
