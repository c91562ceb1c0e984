"""Sets of features as manifolds: precision, recall, density, coverage, and how near samples are to training images.

A set's manifold is the union of balls around its rows, each as large as the distance to its k-th nearest neighbour.
Sources: Kynkäänniemi et al. (2019) for precision and recall, Naeem et al. (2020) for density and coverage.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

ENTRIES = 2**23  # of a block of distances: 64 MiB


def _blocks(a: Tensor, b: Tensor) -> Iterator[tuple[slice, Tensor]]:
    rows = max(1, ENTRIES // max(1, len(b)))
    for start in range(0, len(a), rows):
        place = slice(start, start + rows)
        yield place, torch.cdist(a[place].double(), b.double())  # float32 would lose small distances of large features


def radii(features: Tensor, neighborhood: int) -> Tensor:
    """Distance of each row of [N, D] to its k-th nearest other row, float64 [N]; NaN where there are k rows or fewer."""
    if len(features) <= neighborhood:
        return torch.full((len(features),), float("nan"), dtype=torch.float64)
    parts = [block.kthvalue(neighborhood + 1, dim=1).values for _, block in _blocks(features, features)]
    return torch.cat(parts)


def nearest(features: Tensor, others: Tensor) -> Tensor:
    """Distance of each row of [N, D] to the nearest row of [M, D], float64 [N]."""
    return (
        torch.cat([block.amin(1) for _, block in _blocks(features, others)])
        if len(features)
        else torch.empty(0, dtype=torch.float64)
    )


@dataclass(frozen=True)
class Support:
    """Which rows of two sets lie in the other's manifold.

    Attributes:
        balls: in how many real balls of each class a generated row lies, float64 [N, classes].
        recalled: real rows inside a generated ball, bool [M].
        covered: real rows whose own ball holds a generated row, bool [M]. covered_by_own: one of their class, bool [M].
        neighborhood: k of the real balls.
    """

    balls: Tensor
    recalled: Tensor
    covered: Tensor
    covered_by_own: Tensor
    neighborhood: int

    @property
    def precise(self) -> Tensor:
        """Generated rows inside a real ball, bool [N]."""
        return self.balls.sum(1) > 0

    @property
    def density(self) -> Tensor:
        """Real balls around each generated row over k, float64 [N]; mean near 1 for the data itself, above 1 near modes."""
        return self.balls.sum(1) / self.neighborhood

    def precise_in(self, classes: np.ndarray) -> np.ndarray:
        """Generated rows inside a real ball of these classes, int64 [N], one per row: bool [N]."""
        return (self.balls.gather(1, torch.from_numpy(classes)[:, None])[:, 0] > 0).numpy()


def support(
    generated: Tensor,
    real: Tensor,
    real_radii: Tensor,
    neighborhood: int,
    labels: tuple[np.ndarray, np.ndarray] | None = None,
    classes: int = 1,
) -> Support | None:
    """Compares generated [N, D] with real [M, D] rows; None where a side has too few rows for a neighbourhood.

    ``labels`` are of the generated and the real rows, int64 [N] and [M] below ``classes``; without, all are of class 0.
    """
    if min(len(generated), len(real)) <= neighborhood:
        return None
    one = np.zeros(len(generated), dtype=np.int64), np.zeros(len(real), dtype=np.int64)
    mine, theirs = (torch.from_numpy(c) for c in labels or one)
    of_class = F.one_hot(theirs, classes).double()
    own = radii(generated, neighborhood)
    balls = torch.empty(len(generated), classes, dtype=torch.float64)
    recalled, covered, by_own = (torch.zeros(len(real), dtype=torch.bool) for _ in range(3))
    for place, block in _blocks(generated, real):
        inside = block <= real_radii
        balls[place] = inside.double() @ of_class
        covered |= inside.any(0)
        by_own |= (inside & (mine[place, None] == theirs)).any(0)
        recalled |= (block <= own[place, None]).any(0)
    return Support(balls, recalled, covered, by_own, neighborhood)
