"""Real images to judge against, in a feature space, and what perfect samples would score."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from levy_core.base.seeds import generator
from levy_core.metrics.images import manifold
from levy_core.metrics.images.fidelity import FidelityConfig, Statistics, frechet, statistics
from levy_core.metrics.images.weights import class_weights, shares_of


@dataclass(frozen=True)
class Reference:
    """Real images to judge against; what does not depend on the samples is computed once.

    Attributes:
        features: [M, D]. labels: int64 [M].
        radii: distance to the k-th neighbour, float64 [M]. spacing: to the nearest other image, float64 [M].
        confusion: of the classifier on real images that it was not trained on (``confuse``); None: not known, and with it the
            shares of the classes among samples.
    """

    features: Tensor
    labels: np.ndarray
    radii: Tensor
    spacing: Tensor
    confusion: np.ndarray | None = None
    _statistics: dict[tuple[int, ...], Statistics | None] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, features: Tensor, labels: np.ndarray, config: FidelityConfig) -> "Reference":
        """Measures the set itself."""
        return cls(features, labels, manifold.radii(features, config.neighborhood), manifold.radii(features, 1))

    def statistics(self, classes: tuple[int, ...] = ()) -> Statistics | None:
        """Mean and covariance of the images of some classes, () for all."""
        if classes not in self._statistics:
            rows = np.isin(self.labels, classes) if classes else slice(None)
            self._statistics[classes] = statistics(self.features[rows])
        return self._statistics[classes]

    def confuse(
        self,
        features: Tensor,
        labels: np.ndarray,
        verdicts: np.ndarray,
        own: np.ndarray,
        classes: int,
        neighborhood: int,
    ) -> np.ndarray | None:
        """Real images by class and verdict, int64 [classes, classes + 1]; None where there are too few, or none of a class.

        The last column counts those outside of the balls of the images of the class of the verdict.

        Args:
            features: of images that the classifier was not trained on, [N, D]. labels, verdicts: int64 [N].
            own: which of them are in this set, bool [N]; each of these is judged without itself.
        """
        found = manifold.support(features, self.features, self.radii, neighborhood, (verdicts, self.labels), classes)
        if found is None or len(np.unique(labels)) < classes:
            return None
        # A ball holds its own centre. An image is among the k nearest of another one whether it is counted or not.
        others = found.balls - torch.from_numpy(own)[:, None] * functional.one_hot(torch.from_numpy(labels), classes)
        inside = others.gather(1, torch.from_numpy(verdicts)[:, None])[:, 0].numpy() > 0
        counts = np.zeros((classes, classes + 1), dtype=np.int64)
        np.add.at(counts, (labels, np.where(inside, verdicts, classes)), 1)
        return counts

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
