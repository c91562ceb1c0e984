"""Linear operators that say what an instrument sees of a sample: masks, block means, points, blur, and stacks of them.

Every operator works on any floating type and device: ``apply`` goes from [N, *S] to [N, rows], ``adjoint`` back, with
``<apply(x), v> = <x, adjoint(v)>``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi, prod
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from torch import Tensor

from levy_core.base import cells
from levy_core.base.errors import LevyError

if TYPE_CHECKING:
    from scipy.sparse import csr_array


class Operator(Protocol):
    """What every operator has: the shape *S of a sample, and the number of values that it observes."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one sample, *S."""
        ...

    @property
    def rows(self) -> int:
        """Number of observed values."""
        ...

    def apply(self, x: Tensor) -> Tensor:
        """[N, *S] -> [N, rows]."""
        ...

    def adjoint(self, v: Tensor) -> Tensor:
        """[N, rows] -> [N, *S]."""
        ...


@dataclass(frozen=True, eq=False)
class CellMeans:
    """Weighted sums of a few cells: ``sum_j weights[i, j] x[cells[i, j]]``.

    Args:
        cells: places in the flattened sample, int64 [rows, k]. weights: float64 [rows, k], or [N, rows, k] of each of N samples.
    """

    shape: tuple[int, ...]
    cells: Tensor
    weights: Tensor

    @property
    def rows(self) -> int:
        return len(self.cells)

    def apply(self, x: Tensor) -> Tensor:
        return (x.flatten(1)[:, self.cells.to(x.device)] * self.weights.to(x)).sum(-1)

    def adjoint(self, v: Tensor) -> Tensor:
        spread = (v[:, :, None] * self.weights.to(v)).flatten(1)
        flat = v.new_zeros(len(v), prod(self.shape))
        return flat.index_add(1, self.cells.to(v.device).flatten(), spread).view(-1, *self.shape)


@dataclass(frozen=True, eq=False)
class Matrix:
    """Any linear operator on short samples [K]: ``matrix`` [rows, K]."""

    matrix: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.matrix.shape[1],)

    @property
    def rows(self) -> int:
        return len(self.matrix)

    def apply(self, x: Tensor) -> Tensor:
        return x @ self.matrix.to(x).T

    def adjoint(self, v: Tensor) -> Tensor:
        return v @ self.matrix.to(v)


def mask(observed: Tensor) -> CellMeans:
    """The cells where ``observed``, bool [*S], is true, in row-major order.

    Raises:
        LevyError: a mask of another type.
    """
    if observed.dtype != torch.bool:
        raise LevyError(f"the mask of observed cells is {observed.dtype}, but must be bool: true where a cell is seen")
    seen = observed.flatten().nonzero()
    return CellMeans(tuple(observed.shape), seen, torch.ones(seen.shape, dtype=torch.float64))


def block_mean(shape: Sequence[int], block: tuple[int, int], area: Tensor | None = None) -> CellMeans:
    """Means over blocks of [height, width] cells of the last two sides of a sample, one per block and leading index.

    Args:
        area: of a cell, [H, W] or, where it is the same along a row (latitude), [H, 1]; None: all the same.

    Raises:
        LevyError: blocks that do not divide the sample, or areas that are not positive numbers.
    """
    *lead, height, width = shape
    if min(block) < 1 or height % block[0] or width % block[1]:
        raise LevyError(
            f"blocks of {block[0]} x {block[1]} cells do not divide fields of {height} x {width}: choose divisors"
        )
    areas = torch.ones(height, width, dtype=torch.float64) if area is None else area.double()
    if areas.shape not in ((height, width), (height, 1)) or not (areas.isfinite() & (areas > 0)).all():
        raise LevyError(
            f"areas are {list(areas.shape)} between {areas.min():g} and {areas.max():g}, but fields of {height} x {width} "
            f"need positive numbers, [{height}, {width}] or [{height}, 1]"
        )
    weights = areas.expand(height, width).numpy()
    return _of_every(lead, (height, width), *cells.blocks((height, width), block, weights))


def _of_every(lead: Sequence[int], side: tuple[int, int], places: np.ndarray, weights: np.ndarray) -> CellMeans:
    """The same cells [n, k] of every leading index of samples [*lead, *side]."""
    offsets = torch.arange(prod(lead))[:, None, None] * prod(side)
    every = (torch.from_numpy(places) + offsets).flatten(0, 1)
    return CellMeans((*lead, *side), every, torch.from_numpy(weights).repeat(prod(lead), 1))


def points(shape: Sequence[int], positions: Tensor, wrap: bool = False) -> CellMeans:
    """Bilinear interpolation at scattered positions, for every leading index: rows are [leading indices, P] flattened.

    Args:
        positions: (row, column) in cells, [P, 2]; cell (i, j) lies at exactly (i, j).
        wrap: whether the last column touches the first, as longitudes around the globe do; columns then go up to W.

    Raises:
        LevyError: a position outside the box, or NaN; names the first.
    """
    *lead, height, width = shape
    at = positions.double()
    if at.dim() != 2 or at.shape[1] != 2:
        raise LevyError(f"positions are {list(at.shape)}, but must be [points, 2]: row and column of each")
    ends = torch.tensor([height - 1, width - (0 if wrap else 1)], dtype=torch.float64)
    inside = ((at >= 0) & (at <= ends)).all(1)  # NaN compares false
    if not inside.all():
        first = int((~inside).nonzero()[0])
        raise LevyError(
            f"{int((~inside).sum())} of {len(at)} points lie outside the fields, the first, number {first}, at row "
            f"{at[first, 0]:g}, column {at[first, 1]:g}: rows go from 0 to {height - 1}, columns from 0 to {int(ends[1])}"
        )
    row, column = at.numpy().T
    return _of_every(lead, (height, width), *cells.bilinear(row, column, (height, width), wrap))


@dataclass(frozen=True)
class Blur:
    """A Gaussian blur of the last two sides, which go around: every cell is observed, through a wide eye.

    Args:
        width: standard deviation of the kernel in cells.

    Raises:
        LevyError: a width that is not positive.
    """

    shape: tuple[int, ...]
    width: float

    def __post_init__(self) -> None:
        if not 0 < self.width < max(self.shape):
            raise LevyError(
                f"the blur is {self.width} cells wide, but must be above 0 and below the fields' {max(self.shape)}"
            )

    @property
    def rows(self) -> int:
        return prod(self.shape)

    def apply(self, x: Tensor) -> Tensor:
        height, width = self.shape[-2:]
        at = (torch.fft.fftfreq(height)[:, None] ** 2 + torch.fft.rfftfreq(width) ** 2).to(x)
        seen = torch.fft.rfft2(x) * torch.exp(-2 * (pi * self.width) ** 2 * at)
        return torch.fft.irfft2(seen, s=(height, width)).flatten(1)

    def adjoint(self, v: Tensor) -> Tensor:
        return self.apply(v.view(-1, *self.shape)).view(-1, *self.shape)  # a symmetric kernel


@dataclass(frozen=True, eq=False)
class Stack:
    """Several operators on the same sample, one after another.

    Raises:
        LevyError: none, or operators for samples of different shapes.
    """

    operators: tuple[Operator, ...]

    def __post_init__(self) -> None:
        shapes = {operator.shape for operator in self.operators}
        if len(shapes) != 1:
            raise LevyError(
                f"operators for samples of shapes {sorted(shapes)} cannot be stacked: give operators of one shape"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        return self.operators[0].shape

    @property
    def rows(self) -> int:
        return sum(operator.rows for operator in self.operators)

    def apply(self, x: Tensor) -> Tensor:
        return torch.cat([operator.apply(x) for operator in self.operators], 1)

    def adjoint(self, v: Tensor) -> Tensor:
        parts = v.split([operator.rows for operator in self.operators], 1)
        return torch.stack([operator.adjoint(part) for operator, part in zip(self.operators, parts, strict=True)]).sum(
            0
        )


def weights_of(operator: Operator) -> "csr_array | None":
    """An operator as a sparse matrix, float64 [rows, D], where each of its rows sees a few cells; None of one that sees all at once."""
    from scipy.sparse import csr_array, vstack

    if isinstance(operator, Stack):
        parts = [weights_of(part) for part in operator.operators]
        return None if any(part is None for part in parts) else vstack(parts, format="csr")
    if not isinstance(operator, CellMeans):
        return None
    rows, k = operator.cells.shape
    ends = np.arange(0, rows * k + 1, k) if k else np.zeros(rows + 1, dtype=np.int64)
    weights, cells_seen = operator.weights.double().flatten().numpy(), operator.cells.flatten().numpy()
    return csr_array((weights, cells_seen, ends), shape=(rows, prod(operator.shape)))
