"""A linear latent: whitened coefficients of leading EOFs in the place of a field's cells, for fields of which there are few.

A network on cells has to learn from a few hundred fields how neighbours depend on each other; the EOFs of the training fields say it.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from levy_core.base.eofs import fit_eofs
from levy_core.base.errors import LevyError
from levy_core.base.seeds import Streams
from levy_core.base.tensors import read_tensors, write_tensors

LATENT = "latent.safetensors"  # beside a model
REST = 256  # patterns of what the leading EOFs leave, at most
LEAST = 1e-6  # of the mean variance: what a cell varies by at least, so that no observation of it is impossible


@dataclass(frozen=True, eq=False)
class Latent:
    """``x = mean + z patterns + n rest + w white``: coefficients z [K] of a field x [*S], and Gaussian noise for what they leave.

    Without the noise, fields would be too smooth: small scales are what leading EOFs leave out (docs/benchmarks/weather.md).

    Args:
        mean: [*S]. patterns: what a standard deviation of each coefficient is, [K, *S].
        rest: patterns of what is left, [M, *S]. white: standard deviation of what these leave of each cell, [*S].
        weights: of the cells in the fit, by their area, [*S].
    """

    mean: Tensor
    patterns: Tensor
    rest: Tensor
    white: Tensor
    weights: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """*S, of a field."""
        return tuple(self.mean.shape)

    @property
    def size(self) -> int:
        """K, the number of coefficients."""
        return len(self.patterns)

    def encode(self, x: Tensor) -> Tensor:
        """[N, *S] -> [N, K]: weighted least squares, in which a missing value counts as 0, as networks are shown it."""
        patterns, mean = self.patterns.flatten(1).double(), self.mean.flatten().double()
        weighted = patterns * self.weights.flatten().double()
        anomalies = torch.nan_to_num(x).flatten(1).double() - mean
        return torch.linalg.solve(weighted @ patterns.T, weighted @ anomalies.T).T.float()

    def decode(self, z: Tensor) -> Tensor:
        """[N, K] -> [N, *S], without the noise: what ``encode`` inverts."""
        return (self.mean.flatten() + z @ self.patterns.flatten(1)).unflatten(1, self.shape)

    def at(self, cells: Tensor) -> "Latent":
        """Of some cells [k] of a flattened field, as fields of shape (k,)."""
        first = -len(self.shape)
        return Latent(*(getattr(self, f.name).flatten(first)[..., cells] for f in fields(self)))

    def draw_rest(self, streams: Streams) -> Tensor:
        """The noise of one field per row of the streams, float32 [N, *S]."""
        patterns = streams.normal((len(self.rest),)) @ self.rest.flatten(1)
        return patterns.unflatten(1, self.shape) + self.white * streams.normal(self.shape)

    def save(self, path: Path) -> None:
        """A safetensors file."""
        write_tensors(path, {f.name: getattr(self, f.name).contiguous() for f in fields(self)})

    @classmethod
    def load(cls, path: Path) -> "Latent":
        """What ``save`` wrote.

        Raises:
            LevyError: the file cannot be read, or holds something else.
        """
        tensors, names = read_tensors(path), [f.name for f in fields(cls)]
        if set(tensors) != set(names):
            raise LevyError(
                f"{path} holds {', '.join(sorted(tensors))}, but a latent is {', '.join(names)}: train the model again"
            )
        latent = cls(**tensors)
        if {latent.white.shape, latent.weights.shape, latent.patterns.shape[1:], latent.rest.shape[1:]} != {
            latent.mean.shape
        }:
            shapes = ", ".join(f"{name} {list(tensors[name].shape)}" for name in names)
            raise LevyError(
                f"{path} holds parts of different fields, {shapes}: all must end in the shape of mean; train the model again"
            )
        return latent


def fit_latent(x: Tensor, keep: float | int, areas: np.ndarray | None = None) -> Latent:
    """The latent of training fields [N, *S], in which a missing value counts as 0.

    Coefficients of the training fields have covariance I, and each cell of what is drawn has the variance of theirs.

    Args:
        keep: share of the variance that the EOFs hold, or their number.
        areas: of the cells of each row [H], or of each cell [H, W], up to a factor; None: all the same.

    Raises:
        LevyError: as ``fit_eofs``.
    """
    shape, flat = x.shape[1:], torch.nan_to_num(x).flatten(1).double()
    weights = _weigh(shape, areas)
    root = weights.flatten().sqrt()
    found = fit_eofs(flat * root, keep)
    mean = flat.mean(0)
    anomalies = flat - mean
    z = anomalies * root @ found.patterns / (found.patterns**2).sum(0)
    patterns = z.T @ anomalies / (len(flat) - 1)  # by regression, so that cells without area have theirs, too
    left, variance = anomalies - z @ patterns, anomalies.var(0)
    is_left = bool(left.var(0).sum() > LEAST * variance.sum())
    rest = fit_eofs(left, 1.0, REST).patterns.T if is_left else patterns[:0]
    white = (left.var(0) - (rest**2).sum(0)).clamp(min=LEAST * float(variance.mean())) * (variance > 0)
    of = lambda rows: rows.float().unflatten(-1, shape)
    return Latent(of(mean), of(patterns), of(rest), of(white.sqrt()), weights.float())


def _weigh(shape: tuple[int, ...], areas: np.ndarray | None) -> Tensor:
    """Areas as weights of mean 1, float64 [*S]."""
    if areas is None:
        return torch.ones(shape, dtype=torch.float64)
    cells = torch.from_numpy(np.asarray(areas, np.float64))
    cells = (cells[:, None] if cells.dim() == 1 else cells).expand(shape[-2:])
    return (cells / cells.mean()).expand(shape).contiguous()
