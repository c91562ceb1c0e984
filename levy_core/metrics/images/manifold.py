"""Sets of features as manifolds: precision, recall, density, coverage, and how near samples are to training images.

A set's manifold is the union of balls around its rows, each as large as the distance to its k-th nearest neighbour.
Sources: Kynkäänniemi et al. (2019) for precision and recall, Naeem et al. (2020) for density and coverage.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

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
        precise: generated rows inside a real ball, bool [N]. balls: in how many real balls, float64 [N].
        recalled: real rows inside a generated ball, bool [M].
        covered: real rows whose own ball holds a generated row, bool [M].
        neighborhood: k of the real balls.
    """

    precise: Tensor
    balls: Tensor
    recalled: Tensor
    covered: Tensor
    neighborhood: int

    @property
    def density(self) -> float:
        """Mean number of real balls around a generated row over k; near 1 for the data itself, above 1 near modes."""
        return float(self.balls.mean()) / self.neighborhood


def support(generated: Tensor, real: Tensor, real_radii: Tensor, neighborhood: int) -> Support | None:
    """Compares generated [N, D] with real [M, D] rows; None where a side has too few rows for a neighbourhood."""
    if min(len(generated), len(real)) <= neighborhood:
        return None
    own = radii(generated, neighborhood)
    balls = torch.empty(len(generated), dtype=torch.float64)
    recalled, covered = torch.zeros(len(real), dtype=torch.bool), torch.zeros(len(real), dtype=torch.bool)
    for place, block in _blocks(generated, real):
        inside = block <= real_radii
        balls[place] = inside.sum(1).double()
        covered |= inside.any(0)
        recalled |= (block <= own[place, None]).any(0)
    return Support(balls > 0, balls, recalled, covered, neighborhood)
