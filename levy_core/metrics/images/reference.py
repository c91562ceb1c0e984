"""Real images to judge against, in a feature space, and what perfect samples would score."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from levy_core.base.seeds import generator
from levy_core.metrics.images import manifold
from levy_core.metrics.images.fidelity import FidelityConfig, Statistics, frechet, statistics
from levy_core.metrics.images.weights import class_weights, shares_of

NO_VERDICT = -1  # on an image that the classifier was trained on


@dataclass(frozen=True)
class Reference:
    """Real images to judge against; what does not depend on the samples is computed once.

    Attributes:
        features: [M, D]. labels: int64 [M].
        radii: distance to the k-th neighbour, float64 [M]. spacing: to the nearest other image, float64 [M].
        verdicts: the classifier's, int64 [M]; NO_VERDICT where it was trained on the image and its verdict says nothing.
    """

    features: Tensor
    labels: np.ndarray
    radii: Tensor
    spacing: Tensor
    verdicts: np.ndarray
    _statistics: dict[tuple[int, ...], Statistics | None] = field(default_factory=dict, compare=False, repr=False)
    _confusion: dict[tuple[int, int], np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(
        cls, features: Tensor, labels: np.ndarray, config: FidelityConfig, verdicts: np.ndarray | None = None
    ) -> "Reference":
        """Measures the set itself; without ``verdicts`` the classifier counts as always right."""
        own = manifold.radii(features, config.neighborhood), manifold.radii(features, 1)
        return cls(features, labels, *own, labels if verdicts is None else verdicts)

    def statistics(self, classes: tuple[int, ...] = ()) -> Statistics | None:
        """Mean and covariance of the images of some classes, () for all."""
        if classes not in self._statistics:
            rows = np.isin(self.labels, classes) if classes else slice(None)
            self._statistics[classes] = statistics(self.features[rows])
        return self._statistics[classes]

    def confusion(self, classes: int, neighborhood: int) -> np.ndarray | None:
        """These images by class and verdict, int64 [classes, classes + 1], each judged without itself.

        The last column: outside of the balls of the others of the class of the verdict. None where there are too few images.
        """
        if (classes, neighborhood) not in self._confusion:
            seen = self.verdicts != NO_VERDICT
            verdicts = np.where(seen, self.verdicts, 0)
            found = manifold.support(self.features, self.features, self.radii, neighborhood, (verdicts, self.labels))
            if found is None:
                return None
            # Each lies in its own ball. Without it the balls that hold it would be as large or larger: k counts it.
            others = found.balls - torch.nn.functional.one_hot(torch.from_numpy(self.labels), found.balls.shape[1])
            inside = others[torch.arange(len(others)), torch.from_numpy(verdicts)].numpy() > 0
            counts = np.zeros((classes, classes + 1), dtype=np.int64)
            np.add.at(counts, (self.labels[seen], np.where(inside, verdicts, classes)[seen]), 1)
            self._confusion[classes, neighborhood] = counts
        return self._confusion[classes, neighborhood]

    def weights(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """Weights float64 [N], of sum 1, of samples asked for these labels, as if drawn in the proportions of this set."""
        return class_weights(labels, shares_of(self.labels, classes))

    def draws(self, labels: np.ndarray, times: int) -> list[np.ndarray]:
        """Rows int64 [N] of perfect samples: with replacement, of the images of the class where one is asked for, else of all."""
        drawn = []
        for k in range(times):
            place = torch.rand(len(labels), generator=generator(0, "floor", k), dtype=torch.float64).numpy()
            rows = np.empty(len(labels), dtype=np.int64)
            for c in np.unique(labels):
                own = np.flatnonzero(self.labels == c)
                own = own if len(own) else np.arange(len(self.labels))
                rows[labels == c] = own[(place[labels == c] * len(own)).astype(np.int64)]
            drawn.append(rows)
        return drawn

    def floor(self, labels: np.ndarray, classes: int, times: int = 8) -> float:
        """The FID to expect of perfect samples asked for these labels, drawn so many times; NaN of fewer than two."""
        weights, real = self.weights(labels, classes), self.statistics()
        mine = [statistics(self.features[rows], weights) for rows in self.draws(labels, times)]
        return float(np.mean([frechet(m, real) for m in mine]))
