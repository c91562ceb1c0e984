"""A linear latent: whitened coefficients of leading EOFs in the place of a field's cells, for fields of which there are few.

A network on cells has to learn from a few hundred fields how neighbours depend on each other; the EOFs of the training fields say it.
"""

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from levy_core.base.eofs import check_keep, find_leading
from levy_core.base.errors import LevyError
from levy_core.base.seeds import Streams
from levy_core.base.tensors import read_tensors, write_tensors

LATENT = "latent.safetensors"  # beside a model
REST = 256  # patterns of what the leading EOFs leave, at most
BLOCK = 4_000_000  # values of a block of cells that are float64 at a time
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
        flat, patterns = x.flatten(1), self.patterns.flatten(1)
        mean, weights = self.mean.flatten().double(), self.weights.flatten().double()
        normal, moments = (torch.zeros(self.size, n, dtype=torch.float64) for n in (self.size, len(flat)))
        for cells in _blocks(flat.shape[1], len(flat) + self.size):
            part = patterns[:, cells].double()
            weighted = part * weights[cells]
            normal = normal + weighted @ part.T
            moments = moments + weighted @ (torch.nan_to_num(flat[:, cells]).double() - mean[cells]).T
        return torch.linalg.solve(normal, moments).T.float()

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

    Coefficients of the training fields have covariance I, and each cell of what is drawn has the variance of theirs. Beside the
    fields and the latent, memory holds a block of cells and matrices of [N, N] or, of fewer cells, [D, D].

    Args:
        keep: share of the variance that the EOFs hold, or their number.
        areas: of the cells of each row [H], or of each cell [H, W], up to a factor; None: all the same.

    Raises:
        LevyError: as ``check_keep``; fewer than two fields, fields that are all the same, or more EOFs than they have.
    """
    check_keep(keep)
    shape, flat = x.shape[1:], x.flatten(1)
    n, size = flat.shape
    if n < 2:
        raise LevyError(f"{n} fields have no covariance: give two or more")
    weights = _weigh(shape, areas).flatten()
    blocks = _blocks(size, n)
    mean = torch.cat([torch.nan_to_num(flat[:, cells]).double().mean(0) for cells in blocks])
    rows, centre = flat, mean
    if size < n:  # fewer rows with the same products of cells
        rows = torch.linalg.qr(torch.nan_to_num(flat).double() - mean, mode="r").R
        centre = torch.zeros_like(mean)
    anomalies = lambda cells: (torch.nan_to_num(rows[:, cells]).double() - centre[cells]) / (n - 1) ** 0.5
    plain = weighted = torch.zeros(len(rows), len(rows), dtype=torch.float64)
    for part, weight in ((anomalies(cells), weights[cells]) for cells in blocks):
        plain = plain + part @ part.T
        weighted = plain if areas is None else weighted + part * weight @ part.T
    total = plain.trace()
    if not weighted.trace() > 0:
        raise LevyError(f"{n} fields are all the same, so they have no covariance: give fields that vary")
    _, z = find_leading(weighted, keep, (n, size))
    left = plain - z @ (z.T @ plain)  # of what z leaves, whose rows are orthogonal to z
    left = left - (left @ z) @ z.T
    rest = find_leading(left, 1.0, (n, size), REST)[1] if left.trace() > LEAST * total else z[:, :0]
    parts = [_fit_cells(anomalies(cells), z, rest, float(total / size)) for cells in blocks]
    patterns, others, white = (torch.cat(part, -1).unflatten(-1, shape) for part in zip(*parts, strict=True))
    return Latent(mean.float().view(shape), patterns, others, white, weights.float().view(shape))


def _fit_cells(anomalies: Tensor, z: Tensor, rest: Tensor, variance: float) -> tuple[Tensor, Tensor, Tensor]:
    """Float32 patterns, rest and white of a block of cells; ``variance``: the mean of all cells."""
    patterns = z.T @ anomalies  # by regression, so that cells without area have theirs, too
    others = rest.T @ anomalies
    left = ((anomalies - z @ patterns) ** 2).sum(0) - (others**2).sum(0)
    white = left.clamp(min=LEAST * variance) * ((anomalies**2).sum(0) > 0)
    return patterns.float(), others.float(), white.sqrt().float()


def measure_held(x: Tensor, latent: Latent) -> float:
    """Share of the variance of fields [N, *S] about the latent's mean that its EOFs hold, weighted by area."""
    fields = torch.nan_to_num(x)
    squares = lambda away: float((away**2 * latent.weights).sum())
    return 1 - squares(fields - latent.decode(latent.encode(fields))) / squares(fields - latent.mean)


def _blocks(size: int, rows: int) -> list[slice]:
    """Of ``size`` cells, so that so many rows of each are ``BLOCK`` values at most."""
    step = max(1, BLOCK // rows)
    return [slice(start, min(start + step, size)) for start in range(0, size, step)]


def _weigh(shape: tuple[int, ...], areas: np.ndarray | None) -> Tensor:
    """Areas as weights of mean 1, float64 [*S]."""
    if areas is None:
        return torch.ones(shape, dtype=torch.float64)
    cells = torch.from_numpy(np.asarray(areas, np.float64))
    cells = (cells[:, None] if cells.dim() == 1 else cells).expand(shape[-2:])
    return (cells / cells.mean()).expand(shape).contiguous()
