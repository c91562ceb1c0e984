"""What the samples of a model are."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from levy_core.base.conditions import LABEL
from levy_core.base.errors import LevyError

Classes = Literal[
    "training", "balanced", "none"
]  # in the proportions of the training data, equally many of each, without a class

CORRECTION = (
    "correction.json"  # beside a model: what corrects its samples in the units of people, as their kind reads it
)
GOLDEN = (5**0.5 - 1) / 2
SHOWN = 24  # classes in a message
# Models of before this was on record, by their kind: how samples are kept, and the exporter.
RECORDED: dict[str, dict[str, str]] = {
    "images": {"dtype": "uint8", "exporter": "levy_core.datasets.images.export:ImageExporter"},
    "fields": {"dtype": "float32", "exporter": "levy_core.datasets.fields.export:FieldExporter"},
}


def read_classes(text: str) -> Classes | dict[str, int]:
    """Which classes a person asks for: a word, or counts such as ``8=10,9=5``.

    Raises:
        LevyError: neither, a class that stands twice, or a count that is no whole number.
    """
    words = get_args(Classes)
    if text in words:
        return text  # type: ignore[return-value]
    counts: dict[str, int] = {}
    for part in text.split(","):
        name, equals, count = (piece.strip() for piece in part.rpartition("="))
        if not equals:
            raise LevyError(f"classes is {text!r}: give {', '.join(words)}, or counts such as 8=10,9=5")
        if name in counts:
            raise LevyError(f"classes is {text!r}, in which {name!r} stands twice: give each class one count")
        try:
            counts[name] = int(count)
        except ValueError:
            raise LevyError(f"classes is {text!r}, in which {count!r} is no whole number") from None
    return counts


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
        label_dropout: share of the training samples whose class the network was not told; None: unknown.

    Raises:
        LevyError: shares that are none of these classes.
    """

    kind: str
    classes: tuple[str, ...]
    dtype: str
    exporter: str
    shares: tuple[float, ...] | None = None
    label_dropout: float | None = None

    def __post_init__(self) -> None:
        if self.shares is None:
            return
        total = sum(self.shares)
        if len(self.shares) != len(self.classes):
            raise LevyError(f"it has {len(self.shares)} shares of classes, but {len(self.classes)} classes")
        if not all(isfinite(share) and share >= 0 for share in self.shares) or abs(total - 1) > 1e-6:
            raise LevyError(
                f"its shares of classes are {', '.join(f'{share:g}' for share in self.shares)}, which sum to {total:g}: "
                "numbers of at least 0 that sum to 1 are expected"
            )

    def to_mapping(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_mapping(cls, mapping: dict[str, Any]) -> "Samples":
        """The inverse of ``to_mapping``, also after JSON made the tuples lists."""
        kind, shares = mapping["kind"], mapping["shares"]
        kept = RECORDED.get(kind, {}) | {key: mapping[key] for key in ("dtype", "exporter") if key in mapping}
        shares = None if shares is None else tuple(shares)
        dropout = mapping.get("label_dropout")  # of earlier versions nothing is known
        return cls(kind, tuple(mapping["classes"]), kept["dtype"], kept["exporter"], shares, dropout)

    @property
    def no_class(self) -> int:
        """The label of samples without a class."""
        return len(self.classes)

    @property
    def knows_classes(self) -> bool:
        """Whether a class can be asked for: the network was told classes in training."""
        return bool(self.classes) and self.label_dropout != 1

    @property
    def knows_no_class(self) -> bool:
        """Whether samples can be drawn without a class: the network was trained without one, too."""
        return not self.classes or self.label_dropout != 0

    def condition(self, labels: np.ndarray) -> dict[str, Tensor]:
        """The condition that asks for these labels, int64 [n]."""
        return {LABEL: torch.from_numpy(labels.astype(np.int64))}

    @property
    def absent(self) -> dict[str, Tensor]:
        """What each entry of a condition holds where nothing is asked for, each of no dimension."""
        return {LABEL: torch.tensor(self.no_class)}

    def labels(self, classes: Classes, first: int, n: int) -> np.ndarray:
        """Labels of samples ``first`` to ``first + n`` where nobody names a class, int64 [n].

        Each class has its share of any part of the samples, as evenly as a golden-ratio sequence spreads them; of ``balanced`` samples
        all classes come in turn, so that as many as there are classes have one of each. 'No class' (the number of classes) where that
        is asked for, or the model knows no classes or does not know their shares. One that was never trained without a class takes
        unknown shares for equal.
        """
        equal = (1.0,) * len(self.classes)
        training = self.shares if self.shares or self.knows_no_class else equal
        shares = {"training": training, "balanced": equal, "none": None}[classes]
        if not shares or not self.knows_classes:
            return np.full(n, self.no_class)
        if classes == "balanced":
            # In the order of the golden-ratio sequence, so that a few of many days are of the whole year.
            turn = np.argsort(np.argsort(_spread(np.arange(len(shares)))))
            return turn[np.arange(first, first + n) % len(shares)]
        place = _spread(np.arange(first, first + n))
        return np.searchsorted(np.cumsum(shares)[:-1] / np.sum(shares), place, side="right")

    def check_asked(self, asked: Classes | Mapping[str, int]) -> None:
        """Refuses classes, or counts of them, that this model cannot be asked for.

        Raises:
            LevyError: a class that it does not know, a negative count, or what it was not trained for.
        """
        counts = {} if isinstance(asked, str) else asked
        for name, count in counts.items():
            if name not in self.classes:
                raise LevyError(f"unknown class {name!r}: the model knows {self._say_classes() or 'no classes'}")
            if count < 0:
                raise LevyError(f"{count} samples of class {name!r} are asked for: give a count of at least 0")
        if (counts or asked == "balanced") and not self.knows_classes:
            wanted = " and ".join(counts) or asked
            raise LevyError(f"classes are asked for ({wanted}), but the model was trained without: leave them out")
        if asked == "none" and not self.knows_no_class:
            raise LevyError(
                "samples without a class are asked for, but the model was told the class of every training sample "
                f"(train.label_dropout 0): ask for {self._say_classes()}, training or balanced"
            )

    def labels_of_counts(self, counts: Mapping[str, int]) -> np.ndarray:
        """Labels of so many samples of each class, one class after the other, int64 [sum of counts]."""
        return np.repeat([self.classes.index(name) for name in counts], list(counts.values())).astype(np.int64)

    def describe(self, labels: np.ndarray) -> str:
        """How many samples of each class there are, for people."""
        counts = np.bincount(labels, minlength=len(self.classes) + 1)
        if np.count_nonzero(counts) > SHOWN:
            return f"{len(labels):,} of {np.count_nonzero(counts):,} classes"
        names = [*(f"of class {name}" for name in self.classes), "without a class"]
        return ", ".join(f"{counts[label]:,} {names[label]}" for label in np.flatnonzero(counts))

    def _say_classes(self) -> str:
        return ", ".join(
            self.classes if len(self.classes) <= SHOWN else (*self.classes[: SHOWN - 1], "...", self.classes[-1])
        )

    def usual_labels(self, first: int, n: int) -> np.ndarray:
        """Labels in training proportions, int64 [n]: what a model draws where nobody asks for anything."""
        return self.labels("training", first, n)


def _spread(i: np.ndarray) -> np.ndarray:
    """Members i of a golden-ratio sequence in [0, 1)."""
    return (0.5 + i * GOLDEN) % 1
