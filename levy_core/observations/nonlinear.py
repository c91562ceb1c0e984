"""Means of what lies behind a transform, over blocks or between cells, as rain's that a network sees the logarithm of: not linear in what the network sees."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from levy_core.observations.covariance import Covariance, Posterior
from levy_core.observations.observation import solve_for
from levy_core.observations.operators import CellMeans
from levy_core.process.parametrisation import broadcast

Function = Callable[[np.ndarray], np.ndarray]
STEP = 1e-4  # of the differences that slopes are taken by, in units of what the network sees
FARTHEST, NEARER = 2.0, 0.5  # that a cell moves in an iteration, first and then, in the same units
SETTLED = 1e-7  # below which a sample is done, in the same units
ITERATIONS, ANCHORED = 100, 8  # at most, and how many of them start at x0 again
ROUGH = 30  # iterations, after which cells move less far, as those have to that leap over each other's dry blocks
LOW = 0.1  # noise level above which there are no more than these, as what comes after corrects what is left
TOGETHER = 2**21  # values of samples that are fitted at a time, about


@dataclass(frozen=True, eq=False)
class Through:
    """``T(sum_j weights[i, j] F(x[cells[i, j]]))``: a mean of F of each cell, seen through T, the inverse of F.

    In T's units a single cell is seen as it is, and a mean of several is nearly linear, however steep F is. F may be flat, as rain's is
    where the network's numbers lie below those of dry cells.

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

    def linearised(self, x: Tensor, values: Tensor, wakes: bool = False) -> "Tangents":
        """At each sample of x [N, *S], towards values [rows] or [N, rows].

        Where F is flat in all cells of a row, the row is their mean as it is, which leads out of the flat part, or stays where it is if its
        value is met.

        Args:
            wakes: whether cells where F is flat count as they do in a mean in all rows.
        """
        cells, weights = self._cells(x), self.means.weights.numpy()
        above, below = (self.inside(cells + step) for step in (STEP, -STEP))
        slope = (above - below) / (2 * STEP)
        high, low = ((values * weights).sum(-1) for values in (above, below))
        flat = high == low  # of the mean, where all cells move alike
        of_mean = np.divide(self.outside(high) - self.outside(low), high - low, out=np.ones_like(high), where=~flat)
        own = np.where(flat[:, :, None], weights, of_mean[:, :, None] * weights * slope)
        own = np.where((slope == 0) & wakes, weights, own)
        missing = values.numpy() - self.outside(self._means(cells))
        leading = np.where(missing > SETTLED, values.numpy() - (cells * weights).sum(-1), 0.0)
        missing = np.where(flat, leading, missing)
        return Tangents(self.shape, self.means.cells, torch.from_numpy(own), self, torch.from_numpy(missing))

    def fit(self, values: Tensor, variance: Tensor, x0: Tensor, posterior: Posterior, rho: float = 0.0) -> Tensor:
        """What values pull samples x0 [N, *S] of covariance C by, which become x0 + C times it; float64 on the CPU. By Gauss and Newton,
        ``x <- x0 + C H_k^T (H_k C H_k^T + std^2)^-1 (o - h(x) + H_k (x - x0))``, where each sample has its own H_k.

        Most samples are done after four iterations. Those that go around or stand still between places where F is flat and where it is not
        then start from where they are, ``x <- x + C H_k^T (H_k C H_k^T + std^2)^-1 (o - h(x))``, with exact values only, and wake flat
        cells every other time: some hundred iterations where many blocks are dry.

        Args:
            values: [N, rows]. variance: of their errors, [rows]. rho: noise level.
        """
        iterations, white = ROUGH if rho > LOW else ITERATIONS, self._whiten(posterior)
        each = self.rows * max(self.rows, len(white), self.means.cells.shape[1])
        together = max(1, TOGETHER // max(1, each))
        parts = zip(x0.split(together), values.split(together), strict=True)
        return torch.cat([self._fit(o, variance, some, posterior, white, iterations) for some, o in parts])

    def _whiten(self, posterior: Posterior) -> Tensor:
        """What a posterior's patterns are at the cells, in units in which they do not depend on each other, [K, rows, k]."""
        cells = self.means.cells.flatten()
        patterns = (posterior.prior.patterns[cells] * posterior.weight[cells, None]).T
        white = torch.linalg.solve_triangular(posterior.root, patterns, upper=False)
        return white.view(-1, *self.means.cells.shape)

    def _fit(
        self, values: Tensor, variance: Tensor, x0: Tensor, posterior: Posterior, white: Tensor, iterations: int
    ) -> Tensor:
        x, pulled, left, exact = x0.clone(), torch.zeros_like(x0), torch.arange(len(x0)), variance == 0
        for iteration in range(iterations):
            again = iteration >= ANCHORED
            tangents = self.linearised(x[left], values[left], wakes=again and iteration % 2 == 1)
            off = torch.where(exact, tangents.missing, 0.0)
            missing = off if again else tangents.missing + tangents.apply(x[left] - x0[left])
            seen = tangents.observed(white, posterior.diagonal)
            pull = tangents.adjoint(solve_for(seen + variance.diag(), missing))
            pull = pull if again else pull - pulled[left]
            step = posterior.apply(pull)
            size = step.flatten(1).abs().amax(1)
            share = broadcast(((FARTHEST if iteration < ROUGH else NEARER) / size).clamp(max=1), step)
            x[left] += share * step
            pulled[left] += share * pull
            left = left[(size > SETTLED) | (off.abs().amax(1) > SETTLED)]
            if not len(left):
                break
        return pulled

    @cached_property
    def pairs(self) -> tuple[Tensor, Tensor, Tensor]:
        """Two entries of ``weights``, flattened, that see the same cell, and that cell: [p] each."""
        from scipy.sparse import csr_array  # which others do without

        entries = self.means.weights.flatten().nonzero()[:, 0].numpy()
        cells = self.means.cells.flatten().numpy()[entries]
        found, each = np.unique(cells, return_inverse=True)
        place = np.arange(len(entries))
        sees = csr_array((np.ones(len(entries)), (place, each)), shape=(len(entries), len(found)))
        first, second = (sees @ sees.T).tocoo().coords
        one, other, seen = (torch.from_numpy(part) for part in (entries[first], entries[second], cells[first]))
        return one, other, seen

    def _cells(self, x: Tensor) -> np.ndarray:
        return x.double().cpu().flatten(1)[:, self.means.cells].numpy()

    def _means(self, cells: np.ndarray) -> np.ndarray:
        return (self.inside(cells) * self.means.weights.numpy()).sum(-1)


@dataclass(frozen=True, eq=False)
class Tangents(CellMeans):
    """Linear operators of samples, with weights of their own, in the place of one that is not linear near them.

    Args:
        of: that one. missing: of the values in each sample, [N, rows].
    """

    of: Through
    missing: Tensor

    def observed(self, white: Tensor, diagonal: Tensor) -> Tensor:
        """``H C H^T``, [N, rows, rows], of a posterior's patterns as ``Through`` whitens them, [K, rows, k], and its diagonal [D]."""
        n, rows, k = self.weights.shape
        seen = torch.einsum("nrk,Krk->nrK", self.weights, white)
        first, second, at = self.of.pairs
        flat, size = self.weights.flatten(1), rows * rows
        place = first // k * rows + second // k
        own = flat.new_zeros(n, size).index_add(1, place, flat[:, first] * flat[:, second] * diagonal[at])
        return seen @ seen.mT + own.view(n, rows, rows)


@dataclass(frozen=True, eq=False)
class ThroughPatterns:
    """What ``Through`` sees of samples ``x = mean + z patterns + rest``, given z [K]: a normal rest is part of what it cannot tell.

    Args:
        of: the operator on x [*S]. patterns: [D, K], float64. rest: the covariance of the rest, and the mean.
    """

    of: Through
    patterns: Tensor
    rest: Covariance

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.patterns.shape[1],)

    @property
    def rows(self) -> int:
        return self.of.rows

    @property
    def means(self) -> CellMeans:
        return self.of.means

    def apply(self, z: Tensor) -> Tensor:
        """[N, K] -> [N, rows], without a rest."""
        return self.of.apply(self._decode(z)).to(z)

    def adjoint(self, v: Tensor) -> Tensor:
        """Of the means: [N, rows] -> [N, K]."""
        return self.means.adjoint(v).flatten(1) @ self.patterns.to(v)

    def fit(self, values: Tensor, variance: Tensor, x0: Tensor, posterior: Posterior, rho: float = 0.0) -> Tensor:
        """As ``Through.fit`` of coefficients x0 [N, K] and their covariance: z and the rest are fitted together."""
        inverse = torch.linalg.inv(posterior.apply(torch.eye(len(self.patterns.T)).to(x0)))
        root = torch.block_diag(torch.linalg.cholesky(inverse), torch.eye(self.rest.patterns.shape[1]).to(x0))
        together = Posterior(self._both, torch.ones_like(self.rest.diagonal), self.rest.diagonal, root)
        return self.of.fit(values, variance, self._decode(x0), together, rho).flatten(1) @ self.patterns

    @cached_property
    def _both(self) -> Covariance:
        return Covariance(self.rest.mean, torch.cat([self.patterns, self.rest.patterns], 1), self.rest.diagonal)

    def _decode(self, z: Tensor) -> Tensor:
        return (self.rest.mean + z.double().cpu() @ self.patterns.T).view(-1, *self.of.shape)


Nonlinear = Through | ThroughPatterns
