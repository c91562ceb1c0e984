"""What the samples of a model are."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class Samples:
    """What a model's samples are.

    Attributes:
        kind: images (pixels in [-1, 1]) or fields (standardised, without bounds).
        classes: names of the labels.
        shares: how often each class is drawn when none is asked for; None: samples are drawn without a class.
    """

    kind: Literal["images", "fields"]
    classes: tuple[str, ...]
    shares: tuple[float, ...] | None = None

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, mapping: dict[str, Any]) -> "Samples":
        """The inverse of ``to_mapping``, also after JSON made the tuples lists."""
        shares = mapping["shares"]
        return cls(mapping["kind"], tuple(mapping["classes"]), None if shares is None else tuple(shares))

    def usual_labels(self, first: int, n: int) -> np.ndarray:
        """Labels of samples ``first`` to ``first + n`` where nobody asks for a class, int64 [n].

        Without shares, 'no class' (the number of classes). With them each class has its share of any part of the
        samples, as evenly as a golden-ratio sequence spreads them.
        """
        if self.shares is None:
            return np.full(n, len(self.classes))
        place = (0.5 + np.arange(first, first + n) * GOLDEN) % 1
        return np.searchsorted(np.cumsum(self.shares)[:-1], place, side="right")
