"""What the samples of a model are."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from levy_core.base.conditions import LABEL

Classes = Literal[
    "training", "balanced", "none"
]  # in the proportions of the training data, equally many of each, without a class

GOLDEN = (5**0.5 - 1) / 2
# Models of before this was on record, by their kind: how samples are kept, and the exporter.
RECORDED: dict[str, dict[str, str]] = {
    "images": {"dtype": "uint8", "exporter": "levy_core.datasets.images.export:ImageExporter"},
    "fields": {"dtype": "float32", "exporter": "levy_core.datasets.fields.export:FieldExporter"},
}


@dataclass(frozen=True)
class Samples:
    """What a model's samples are.

    Attributes:
        kind: the kind of data.
        classes: names of the labels.
        dtype: numpy's name of how samples are kept: "uint8", pixels of values in [-1, 1], or "float32", as they are.
        exporter: ``module:class`` of what turns them into what people want (``levy_core.serving.exporters``).
        shares: of each class in the training data, in which classes are drawn when none is asked for; None: unknown, so that
            samples are drawn without a class.
    """

    kind: str
    classes: tuple[str, ...]
    dtype: str
    exporter: str
    shares: tuple[float, ...] | None = None

    def to_mapping(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_mapping(cls, mapping: dict[str, Any]) -> "Samples":
        """The inverse of ``to_mapping``, also after JSON made the tuples lists."""
        kind, shares = mapping["kind"], mapping["shares"]
        kept = RECORDED.get(kind, {}) | {key: mapping[key] for key in ("dtype", "exporter") if key in mapping}
        return cls(
            kind, tuple(mapping["classes"]), kept["dtype"], kept["exporter"], None if shares is None else tuple(shares)
        )

    @property
    def no_class(self) -> int:
        """The label of samples without a class."""
        return len(self.classes)

    def condition(self, labels: np.ndarray) -> dict[str, Tensor]:
        """The condition that asks for these labels, int64 [n]."""
        return {LABEL: torch.from_numpy(labels.astype(np.int64))}

    @property
    def absent(self) -> dict[str, Tensor]:
        """What each entry of a condition holds where nothing is asked for, each of no dimension."""
        return {LABEL: torch.tensor(self.no_class)}

    def labels(self, classes: Classes, first: int, n: int) -> np.ndarray:
        """Labels of samples ``first`` to ``first + n`` where nobody names a class, int64 [n].

        Each class has its share of any part of the samples, as evenly as a golden-ratio sequence spreads them; 'no class'
        (the number of classes) where that is asked for, or the model has no classes or does not know their shares.
        """
        shares = {"training": self.shares, "balanced": (1.0,) * len(self.classes), "none": None}[classes]
        if not shares:
            return np.full(n, self.no_class)
        place = (0.5 + np.arange(first, first + n) * GOLDEN) % 1
        return np.searchsorted(np.cumsum(shares)[:-1] / np.sum(shares), place, side="right")

    def usual_labels(self, first: int, n: int) -> np.ndarray:
        """Labels in training proportions, int64 [n]: what a model draws where nobody asks for anything."""
        return self.labels("training", first, n)
