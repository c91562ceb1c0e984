"""What the samples of a data set are measured with: one ruler a kind of data."""

from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from tasks.field_ruler import FieldRuler
from tasks.image_ruler import ImageRuler
from tasks.params import Params


class Ruler(Protocol):
    """Measures samples as the sample stage keeps them, [N, C, H, W], against the real data of its folder."""

    @property
    def hash(self) -> str:
        """Of everything but the samples that decides a number."""

    def __init__(self, params: Params, dataset: str) -> None:
        """Reads what ``make`` wrote."""

    @staticmethod
    def make(params: Params, dataset: str, folder: Path) -> None:
        """Measures the real data once, into an empty folder."""

    def embed(self, samples: np.ndarray) -> Tensor:
        """What a score needs of each sample, [N, ...]; parts may be concatenated."""

    def score(self, embedded: Tensor) -> float:
        """The metric of ``compare``: smaller is better."""

    def measure(self, samples: np.ndarray) -> dict[str, float]:
        """All metrics of samples that were drawn with the usual labels."""

    def floors(self, n: int) -> dict[str, float]:
        """What n perfect samples would score, by name of the reference: ``floor/NAME``."""


RULERS: dict[str, type[Ruler]] = {"images": ImageRuler, "fields": FieldRuler}


def ruler(params: Params, dataset: str) -> Ruler:
    """The ruler of a data set.

    Raises:
        LevyError: the reference stage has not run, or left something unreadable.
    """
    return RULERS[params.data[dataset].kind](params, dataset)
