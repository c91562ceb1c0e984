"""An event that may happen in a sample, as the network has samples."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

# Images, uint8 [N, C, H, W] -> log probability of each class, float64 [N, K].
Classify = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Event:
    """A number of a sample is above a threshold, or below it.

    Attributes:
        times: of samples with labels [n], where they have times; else None.
        cells: int64 [k], of a flattened sample, which the number is of.
        measure: at times [m] (None: there are none), that number, float64 [n], of these cells' values [n, k] as samples of the network
            have them, of which each has one of the times, int64 [n].
        scale: what rises with the measure and is nearer to what the network sees, on which samples are steered.
        threshold: in the units of the measure. above: whether it happens above it.
        label: the class of samples in which it is asked for; None: that of the request.
        units: of the measure. text: what was asked, for people.
        recurs: whether samples are moments, so that it returns; else it is one of so many samples.
        told: the class that what tells classes apart says of a sample; None: nothing does.
    """

    times: Callable[[np.ndarray], np.ndarray | None]
    cells: np.ndarray
    measure: Callable[[np.ndarray | None], Callable[[np.ndarray, np.ndarray], np.ndarray]]
    scale: Callable[[np.ndarray], np.ndarray]
    threshold: float
    above: bool
    label: int | None
    units: str
    text: str
    recurs: bool
    told: int | None = None


@dataclass(frozen=True, eq=False)
class Given:
    """Given what samples were drawn, for their files: in words, and their times [n]; None where they have none."""

    text: str
    times: Any
