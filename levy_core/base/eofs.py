"""Empirical orthogonal functions (EOFs): the patterns that hold most of the variance of fields."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from levy_core.base.errors import LevyError


@dataclass(frozen=True, eq=False)
class Eofs:
    """Leading EOFs of fields about their mean; float64.

    Attributes:
        mean, variance: of each value, [D].
        patterns: EOFs times the root of their variance, the largest first, [D, k]: ``patterns patterns^T`` is what they hold of the covariance.
    """

    mean: Tensor
    variance: Tensor
    patterns: Tensor


def check_keep(keep: float | int) -> None:
    """Refuses what is neither a share of the variance nor a number of EOFs.

    Raises:
        LevyError: a share outside (0, 1], or a number below 1.
    """
    if isinstance(keep, int):
        if keep < 1:
            raise LevyError(f"the number of EOFs is {keep}, but must be at least 1")
    elif not 0 < keep <= 1:
        raise LevyError(f"the share of the variance that EOFs hold is {keep}, but must lie in (0, 1]")


def fit_eofs(flat: Tensor, keep: float | int, most: int | None = None) -> Eofs:
    """EOFs of fields [N, D], float64: so many, or as many as hold a share of the variance, ``most`` at most.

    It takes the smaller matrix of products, [N, N] or [D, D]. Directions that are rounding are no EOFs.

    Raises:
        LevyError: as ``check_keep``; fewer than two fields, values that are not finite, no variance, or more EOFs than the fields have.
    """
    check_keep(keep)
    if len(flat) < 2 or not torch.isfinite(flat).all():
        raise LevyError(
            f"{len(flat)} fields{'' if torch.isfinite(flat).all() else ' with NaN or infinity'} have no covariance: give "
            "two or more of finite values"
        )
    if flat.shape[1] > len(flat):
        return fit_by_columns(
            lambda first, last: flat[:, first:last], (len(flat), flat.shape[1]), keep, most, flat.shape[1]
        )
    mean = flat.mean(0)
    anomalies = (flat - mean) / (len(flat) - 1) ** 0.5
    variance = (anomalies**2).sum(0)
    _check_variance(variance, len(flat))
    values, vectors = find_leading(anomalies.T @ anomalies, keep, flat.shape, most)
    return Eofs(mean, variance, vectors * values.sqrt())


def fit_by_columns(
    read: Callable[[int, int], Tensor], shape: tuple[int, int], keep: float | int, most: int | None, width: int
) -> Eofs:
    """As ``fit_eofs`` of fields [N, D] with more values than there are fields, of which memory holds ``width`` columns and [N, N].

    Args:
        read: (first, last) -> these columns, finite float64 [N, last - first]; each is read twice.

    Raises:
        LevyError: as ``fit_eofs``, but for values that are not finite.
    """
    rows, size = shape
    parts = [slice(first, min(first + width, size)) for first in range(0, size, width)]
    mean, variance = torch.empty(size, dtype=torch.float64), torch.empty(size, dtype=torch.float64)
    products = torch.zeros(rows, rows, dtype=torch.float64)

    for part in parts:
        values = read(part.start, part.stop)
        mean[part] = values.mean(0)
        some = (values - mean[part]) / (rows - 1) ** 0.5
        variance[part] = (some**2).sum(0)
        products += some @ some.T
    _check_variance(variance, rows)
    _, vectors = find_leading(products, keep, shape, most)
    patterns = torch.empty(size, vectors.shape[1], dtype=torch.float64)
    for part in parts:
        patterns[part] = ((read(part.start, part.stop) - mean[part]) / (rows - 1) ** 0.5).T @ vectors
    return Eofs(mean, variance, patterns)


def _check_variance(variance: Tensor, rows: int) -> None:
    if not variance.sum() > 0:
        raise LevyError(f"{rows} fields are all the same, so they have no covariance: give fields that vary")


def find_leading(
    products: Tensor, keep: float | int, shape: tuple[int, ...], most: int | None = None
) -> tuple[Tensor, Tensor]:
    """Leading eigenvalues [k], the largest first, and eigenvectors [n, k] of a matrix of products; float64.

    Args:
        keep: so many, or as many as hold a share of the trace, ``most`` at most; directions that are rounding do not count.
        shape: [N, D] of the fields, for the error.

    Raises:
        LevyError: more than there are.
    """
    values, vectors = torch.linalg.eigh(products)
    values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    there = int((values > values[0] * 1e-12).sum())
    if isinstance(keep, int):
        if keep > there:
            raise LevyError(f"{keep} EOFs are asked for, but {shape[0]} fields of {shape[1]} values have {there}")
        kept = keep
    else:
        held = values.cumsum(0) / values.sum()
        kept = min(int((held < keep * (1 - 1e-12)).sum()) + 1, there)
    kept = kept if most is None else min(kept, most)
    return values[:kept], vectors[:, :kept]
