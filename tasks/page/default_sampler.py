"""The sampler with which the report shows a design."""

from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class DefaultSampler:
    """A design's default sampler: its row of the grid, its name, and its samples of all seeds [N, C, H, W] with their labels [N]."""

    cell: pd.Series
    label: str
    samples: np.ndarray
    labels: np.ndarray
