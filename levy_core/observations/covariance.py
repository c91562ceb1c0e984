"""The data's covariance as leading patterns and a diagonal, which is applied and conditioned without a [D, D] matrix."""

from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from levy_core.base.eofs import Eofs, fit_eofs
from levy_core.base.errors import LevyError
from levy_core.base.tensors import read_tensors, write_tensors
from levy_core.observations.operators import Operator, weights_of

LEAST = 1e-6  # of the mean variance: what a coordinate varies by at least, so that no observation of it is impossible
CHUNK, PATTERNS = 64, 8  # rows of an operator, and patterns at a time
EXACT = 20_000_000  # values of patterns that a file keeps as float64, at most
PART = 2**22  # values of patterns at a time, where they are taken by cells


@dataclass(frozen=True, eq=False)
class Covariance:
    """``patterns patterns^T + diag(diagonal)`` about a mean; float64.

    Args:
        mean: [D]. patterns: EOFs times the root of their variance, [D, k]. diagonal: [D], at least 0.
    """

    mean: Tensor
    patterns: Tensor
    diagonal: Tensor

    def apply(self, x: Tensor) -> Tensor:
        """[N, *S] -> [N, *S], D values per row."""
        flat = x.flatten(1)
        return (flat * self.diagonal + (flat @ self.patterns) @ self.patterns.T).view_as(x)

    def posterior(self, variance: float) -> "Posterior":
        """``(Sigma^-1 + I / variance)^-1``: of Gaussian data once they are seen through noise of this variance."""
        seen = self.diagonal + variance
        inner = torch.eye(self.patterns.shape[1]).to(self.patterns)
        cells = _fitting(len(inner))
        for some, theirs in zip(self.patterns.split(cells), seen.split(cells), strict=True):
            inner += some.T @ (some / theirs[:, None])
        weight = variance / seen
        return Posterior(self, weight, weight * self.diagonal, torch.linalg.cholesky(inner))

    @property
    def unseen(self) -> "Posterior":
        """Itself, as that of data of which nothing was seen."""
        ones, unit = torch.ones_like(self.diagonal), torch.eye(self.patterns.shape[1]).to(self.patterns)
        return Posterior(self, ones, self.diagonal, unit)

    def observed(self, operator: Operator) -> Tensor:
        """``H Sigma H^T``, [rows, rows]."""
        seen = self.seen(operator)
        return seen.T @ seen + gram(operator, self.diagonal)

    def seen(self, operator: Operator, weight: Tensor | None = None) -> Tensor:
        """What an operator sees of each pattern, times a weight of each coordinate [D] if one is given: [k, rows], a few patterns at a time.

        Of operators whose rows see few cells only those cells are read.
        """
        weight, together = torch.ones_like(self.diagonal) if weight is None else weight, PATTERNS
        if (rows := weights_of(operator)) is None:
            look = lambda some: operator.apply((some.T * weight).reshape(-1, *operator.shape))
        else:
            cells = np.unique(rows.indices)
            few, at, together = rows[:, cells], torch.from_numpy(cells).long().to(weight.device), _fitting(len(cells))
            look = lambda some: torch.from_numpy((few @ (some[at] * weight[at, None]).cpu().numpy()).T)
        found = [look(some) for some in self.patterns.split(together, 1)]
        return torch.cat(found).to(self.patterns) if found else self.patterns.new_zeros(0, operator.rows)

    def to(self, device: torch.device) -> "Covariance":
        """The same on a device."""
        return Covariance(self.mean.to(device), self.patterns.to(device), self.diagonal.to(device))

    def save(self, path: Path) -> None:
        """A safetensors file, whose patterns are float32 where they are more than ``EXACT`` values."""
        patterns = self.patterns if self.patterns.numel() <= EXACT else self.patterns.float()
        parts = {"mean": self.mean, "patterns": patterns, "diagonal": self.diagonal}
        write_tensors(path, {name: values.cpu().contiguous() for name, values in parts.items()})

    @classmethod
    def load(cls, path: Path) -> "Covariance":
        """What ``save`` wrote.

        Raises:
            LevyError: the file cannot be read, or holds something else.
        """
        tensors = read_tensors(path)
        if set(tensors) != {"mean", "patterns", "diagonal"}:
            raise LevyError(
                f"{path} holds {', '.join(sorted(tensors))}, but a covariance is mean, patterns and diagonal: "
                "give a file that Covariance.save wrote"
            )
        return cls(tensors["mean"], tensors["patterns"].double(), tensors["diagonal"])


@dataclass(frozen=True, eq=False)
class Posterior:
    """A covariance conditioned on noise, which shares the patterns P of the one before it: ``diag(diagonal) + W P (L L^T)^-1 P^T W``.

    By Woodbury, in a form without differences: with noise of variance v, ``W = v / (v + d)``, the diagonal is ``W d``, and
    ``L L^T = I + P^T diag(1 / (v + d)) P``. It holds [D] and [k, k] values, and no patterns of its own.

    Args:
        prior: whose patterns and diagonal d these are. weight: W, [D]. diagonal: [D]. root: L, [k, k].
    """

    prior: Covariance
    weight: Tensor
    diagonal: Tensor
    root: Tensor

    def apply(self, x: Tensor) -> Tensor:
        """[N, *S] -> [N, *S], D values per row."""
        flat, patterns = x.flatten(1), self.prior.patterns
        amounts = torch.cholesky_solve(((flat * self.weight) @ patterns).T, self.root).T
        return (flat * self.diagonal + (amounts @ patterns.T) * self.weight).view_as(x)

    def observed(self, operator: Operator) -> Tensor:
        """``H C H^T``, [rows, rows]."""
        seen = torch.linalg.solve_triangular(self.root, self.prior.seen(operator, self.weight), upper=False)
        return seen.T @ seen + gram(operator, self.diagonal)

    def on(self, prior: Covariance) -> "Posterior":
        """The same on the device of its prior, which is there already."""
        device = prior.diagonal.device
        return Posterior(prior, self.weight.to(device), self.diagonal.to(device), self.root.to(device))


def values_kept(covariance: Covariance) -> int:
    """How many values a posterior holds beside the patterns."""
    size, patterns = covariance.patterns.shape
    return 2 * size + patterns**2


def values_made(covariance: Covariance) -> int:
    """How many values of patterns are taken at a time, at most, while a posterior is made or observed."""
    return max(PATTERNS * len(covariance.mean), min(PART, covariance.patterns.numel()))


def _fitting(values: int) -> int:
    """How many rows of so many values make a part."""
    return max(1, PART // max(1, values))


def gram(operator: Operator, diagonal: Tensor) -> Tensor:
    """``H diag(diagonal) H^T`` of diagonal [D], [rows, rows]: exactly where rows see few cells, else a few rows at a time."""
    if (seen := weights_of(operator)) is not None:
        from scipy.sparse import diags_array  # which others do without

        return torch.from_numpy((seen @ diags_array(diagonal.cpu().numpy()) @ seen.T).toarray()).to(diagonal)
    unit = torch.eye(operator.rows).to(diagonal)
    weights = diagonal.view(operator.shape)
    parts = [operator.apply(operator.adjoint(rows) * weights) for rows in unit.split(CHUNK)]
    return torch.cat(parts) if parts else unit


def fit_covariance(fields: Tensor, share: float = 0.95, most: int | None = None) -> Covariance:
    """The covariance of fields [N, *S]: as many leading EOFs as hold ``share`` of the variance, ``most`` at most, the rest on the diagonal.

    Each coordinate keeps its variance. It takes the fields as float64 and their smaller matrix of products, [N, N] or
    [D, D].

    Raises:
        LevyError: fewer than two fields, values that are not finite, no variance, or a share outside (0, 1].
    """
    return covariance_of(fit_eofs(fields.flatten(1).double(), float(share), most))


def covariance_of(found: Eofs) -> Covariance:
    """EOFs, and on the diagonal what they leave of the variance of each coordinate."""
    held = torch.cat([(some**2).sum(1) for some in found.patterns.split(_fitting(found.patterns.shape[1]))])
    rest = (found.variance - held).clamp(min=LEAST * float(found.variance.mean()))
    return Covariance(found.mean, found.patterns, rest)


def check_size(covariance: Covariance, operator: Operator) -> None:
    """Refuses a covariance of samples of another size than an operator's.

    Raises:
        LevyError: names both.
    """
    if len(covariance.mean) != prod(operator.shape):
        raise LevyError(
            f"the covariance is that of {len(covariance.mean)} values, but the observed samples have shape "
            f"{list(operator.shape)}, {prod(operator.shape)} values: fit it to samples of this shape"
        )
