"""Means of what lies behind a transform, as rain's that a network sees the logarithm of: not linear in what the network sees."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from levy_core.observations.operators import CellMeans

Function = Callable[[np.ndarray], np.ndarray]
STEP = 1e-4  # of the differences that slopes are taken by, in units of what the network sees


@dataclass(frozen=True, eq=False)
class Through:
    """``T(sum_j weights[i, j] F(x[cells[i, j]]))``: a mean of F of each cell, seen through T, the inverse of F but for constants.

    In T's units a single cell is seen as it is, and a mean of several is nearly linear, however steep F is.

    Args:
        means: the cells and weights. inside: F, values of the cells [N, rows, k] -> the same. outside: T, means [N, rows] -> the same.
    """

    means: CellMeans
    inside: Function
    outside: Function

    @property
    def shape(self) -> tuple[int, ...]:
        return self.means.shape

    @property
    def rows(self) -> int:
        return self.means.rows

    def apply(self, x: Tensor) -> Tensor:
        """[N, *S] -> [N, rows]."""
        return torch.from_numpy(self.outside(self._means(self._cells(x)))).to(x)

    def adjoint(self, v: Tensor) -> Tensor:
        """Of the means: [N, rows] -> [N, *S]."""
        return self.means.adjoint(v)

    def linearised(self, x: Tensor) -> list[CellMeans]:
        """The derivative at each sample of x [N, *S], as an operator."""
        at, weights = self._cells(x), self.means.weights.numpy()
        slope = (self.inside(at + STEP) - self.inside(at - STEP)) / (2 * STEP)
        up, down = (self.outside(self._means(at + step)) for step in (STEP, -STEP))
        moved = (self._means(at + STEP) - self._means(at - STEP)) / (
            2 * STEP
        )  # of the mean, where all cells move alike
        of_mean = np.divide((up - down) / (2 * STEP), moved, out=np.ones_like(moved), where=moved != 0)
        return [
            CellMeans(self.shape, self.means.cells, torch.from_numpy(own))
            for own in of_mean[:, :, None] * weights * slope
        ]

    def _cells(self, x: Tensor) -> np.ndarray:
        return x.double().cpu().flatten(1)[:, self.means.cells].numpy()

    def _means(self, cells: np.ndarray) -> np.ndarray:
        return (self.inside(cells) * self.means.weights.numpy()).sum(-1)
