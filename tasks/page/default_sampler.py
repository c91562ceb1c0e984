"""The sampler with which the report shows a design."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from levy_core.base.samples import Classes


@dataclass(frozen=True)
class DefaultSampler:
    """A design's default sampler.

    Attributes:
        cell: its row of the grid. label: its name for people.
        samples: of all seeds, [N, C, H, W]. labels: of each, int64 [N]. classes: in which those were drawn.
    """

    cell: pd.Series
    label: str
    samples: np.ndarray
    labels: np.ndarray
    classes: Classes
