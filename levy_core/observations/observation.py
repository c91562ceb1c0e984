"""Observed values: ``o = H x0 + std n``, n ~ N(0, I)."""

from dataclasses import dataclass

import torch
from torch import Tensor

from levy_core.base.errors import LevyError
from levy_core.observations.covariance import gram
from levy_core.observations.operators import Operator

MOST = 10_000  # values: guides need matrices [rows, rows], here of 0.8 GB
LOST = 1e-5  # of a pivot of a matrix with ones on its diagonal: below it, rows say nearly the same thing
AGREE = 1e-5  # of the largest value: how well noise-free values that say the same thing have to agree


@dataclass(frozen=True, eq=False)
class Observation:
    """Values that an operator sees, the same for all samples or one row per sample; kept as float64.

    Args:
        values: [rows], or [N, rows] for N samples.
        std: standard deviation of their error, a number or [rows]; 0: samples have these values exactly.

    Raises:
        LevyError: more than 10,000 values, shapes that do not match, values that are not finite, or exact values that contradict each other.
    """

    operator: Operator
    values: Tensor
    std: Tensor | float = 0.0

    def __post_init__(self) -> None:
        rows = self.operator.rows
        check_rows(rows)
        values = self.values.double()
        std = torch.as_tensor(self.std, dtype=torch.float64)
        if values.dim() not in (1, 2) or values.shape[-1] != rows:
            raise LevyError(
                f"observed values are {list(values.shape)}, but the operator sees {rows}: give [{rows}], or "
                f"[samples, {rows}]"
            )
        if not torch.isfinite(values).all():
            bad = int((~torch.isfinite(values)).sum())
            raise LevyError(
                f"{bad} of {values.numel()} observed values are NaN or infinite: leave them out of the operator"
            )
        if std.shape not in ((), (rows,)) or not (torch.isfinite(std) & (std >= 0)).all():
            raise LevyError(
                f"std is {list(std.shape)}, smallest {std.min():g}, largest {std.max():g}, but must be finite, at least 0, and one "
                f"number or [{rows}]"
            )
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "std", std.expand(rows))
        self._refuse_contradictions()

    @property
    def variance(self) -> Tensor:
        """Of the error of each value, [rows]."""
        return torch.as_tensor(self.std) ** 2

    @property
    def exact(self) -> Tensor:
        """Which values have no error, bool [rows]."""
        return torch.as_tensor(self.std) == 0

    def residual(self, x: Tensor) -> Tensor:
        """``o - H x`` of x [N, *S], float64 [N, rows].

        Raises:
            LevyError: values for another number of samples.
        """
        if self.values.dim() == 2 and len(self.values) != len(x):
            raise LevyError(
                f"values were observed for {len(self.values)} samples, but {len(x)} are drawn: give one row per sample"
            )
        return self.values.to(x.device) - self.operator.apply(x.double())

    def gram(self) -> Tensor:
        """``H H^T``, float64 [rows, rows]; of means behind a transform that of the means."""
        operator = getattr(self.operator, "means", self.operator)
        return gram(operator, torch.ones(torch.Size(operator.shape).numel(), dtype=torch.float64))

    def _refuse_contradictions(self) -> None:
        matrix = self.gram() * self.exact * self.exact[:, None]
        rows = (matrix != 0).sum(1).gt(1).nonzero().flatten()  # that share cells with others
        if len(rows) == 0:
            return
        matrix = matrix[rows][:, rows]
        scale = _root_scale(matrix)
        alike = matrix * scale * scale[:, None]
        if hasattr(self.operator, "means"):  # of which sums are none behind a transform, and equal ones are equal
            first, second = (alike.triu(1) > 1 - 1e-9).nonzero().unbind(1)
            unit = torch.eye(len(rows)).double()
            repeats = (unit[first] - unit[second]).T / 2
        else:
            values, vectors = torch.linalg.eigh(alike)
            repeats = vectors[:, values < 1e-12 * len(rows)]  # combinations of rows that see nothing
        scaled = torch.atleast_2d(self.values)[:, rows] * scale
        clash = (scaled @ repeats) @ repeats.T
        worst = int(clash.abs().max(1).values.argmax())
        if clash.abs().max() > AGREE * scaled.abs().max():
            pair = clash[worst].abs().topk(min(2, len(rows))).indices.sort().values
            named = " and ".join(
                f"number {int(rows[i])} ({float(torch.atleast_2d(self.values)[worst, rows[i]]):g})" for i in pair
            )
            raise LevyError(
                f"exact observations contradict each other: no sample has values {named} at once; "
                "give a std above 0, or one value for one cell"
            )


def check_rows(rows: int) -> None:
    """Refuses more values than guides have matrices for.

    Raises:
        LevyError: more than ``MOST``.
    """
    if rows > MOST:
        raise LevyError(
            f"the operator sees {rows:,} values, and at most {MOST:,} can be taken in at once: observe fewer cells, or means"
        )


def solve_for(matrix: Tensor, values: Tensor) -> Tensor:
    """``matrix^-1 values`` of symmetric matrices of observed values, [N, rows, rows] and [N, rows]: by Cholesky, and by ``inverse_of`` where directions are lost."""
    scale = _root_scale(matrix)
    root, failed = torch.linalg.cholesky_ex(matrix * scale[:, :, None] * scale[:, None])
    lost = (failed != 0) | (root.diagonal(dim1=1, dim2=2).amin(1) < LOST)
    solved = scale * torch.cholesky_solve((scale * values)[:, :, None], root)[:, :, 0]
    for i in lost.nonzero()[:, 0]:
        solved[i] = inverse_of(matrix[i]) @ values[i]
    return solved


def inverse_of(matrix: Tensor) -> Tensor:
    """Of a symmetric matrix of observed values, float64 [rows, rows], without directions that are lost in rounding.

    Such directions come from values that say the same thing twice. Rows are scaled first, as values may have different units.
    """
    scale = _root_scale(matrix)
    values, vectors = torch.linalg.eigh(matrix * scale * scale[:, None])
    least = len(matrix) * torch.finfo(matrix.dtype).eps
    inverse = torch.where(values > least, 1 / values, 0.0)
    return scale[:, None] * ((vectors * inverse) @ vectors.T) * scale


def _root_scale(matrix: Tensor) -> Tensor:
    """1 / root of the diagonal, 0 for rows that see nothing, [..., rows]."""
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    return torch.where(diagonal > 0, diagonal.rsqrt(), 0.0)
