"""The sampler with which the report shows a design."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from levy_core.base.rows import Joined
from levy_core.base.samples import Classes


@dataclass(frozen=True, eq=False)
class DefaultSampler:
    """A design's default sampler.

    Attributes:
        cell: its row of the grid. label: its name for people.
        drawn: samples of each seed, [n, C, H, W] (memory-mapped). labels: of all of them, int64 [N]. classes: in which those were drawn.
    """

    cell: pd.Series
    label: str
    drawn: Sequence[np.ndarray]
    labels: np.ndarray
    classes: Classes

    @cached_property
    def samples(self) -> np.ndarray:
        """Of all seeds, [N, C, H, W], in memory."""
        return np.concatenate(self.drawn)

    @property
    def rows(self) -> Joined:
        """The same, read as they are asked for."""
        return Joined(self.drawn)
