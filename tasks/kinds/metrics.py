"""What the samples of a data set are measured with: one ruler a kind of data."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from torch import Tensor

from levy_core.base.samples import Samples
from tasks.params.schema import Params


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

    def accept(self, folder: Path, shape: tuple[int, ...], samples: Samples) -> Callable[..., np.ndarray]:
        """A function of another model's samples [N, C, H, W] and labels [N] that gives them as ``held_out`` takes them.

        Args:
            folder: of the model, which may be of older data. shape: (C, H, W) of its samples. samples: what they are.

        Raises:
            LevyError: its samples cannot be compared with the data.
        """

    def held_out(self, samples: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """All metrics of samples that were drawn with these labels, against data that were held out of training.

        Raises:
            LevyError: none were.
        """

    def floors(self, n: int) -> dict[str, float]:
        """What n perfect samples would score, by name of the reference: ``floor/NAME``."""


def ruler_of(kind: str) -> type[Ruler]:
    """The ruler of a kind of data; each brings seconds of imports that the other does without."""
    if kind == "fields":
        from tasks.kinds.fields.metrics import FieldRuler

        return FieldRuler
    from tasks.kinds.images.metrics import ImageRuler

    return ImageRuler


def ruler(params: Params, dataset: str) -> Ruler:
    """The ruler of a data set.

    Raises:
        LevyError: the reference stage has not run, or left something unreadable.
    """
    return ruler_of(params.data[dataset].kind)(params, dataset)
