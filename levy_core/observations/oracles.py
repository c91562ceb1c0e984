"""Exact predictors for mixtures of correlated fields, which stay mixtures once they are observed."""

from dataclasses import dataclass
from functools import cached_property
from math import inf

import numpy as np
import torch
from torch import Tensor

from levy_core.base.conditions import Condition
from levy_core.base.errors import LevyError
from levy_core.base.seeds import BatchStream, generator
from levy_core.observations.covariance import Covariance
from levy_core.observations.observation import Observation, inverse_of
from levy_core.process.noise import Noise, Stable, StudentT
from levy_core.sampling.oracles import Oracle, inverse_gamma


@dataclass(frozen=True, eq=False)
class Mixture(Oracle):
    """Data ~ sum_k w_k t(m_k, S_k) with common degrees of freedom, or of Gaussians, under Gaussian or Student-t noise.

    Given A (noise) and B (data) all is Gaussian with ``B S_k + rho^2 A``; A and B are integrated by quadrature.

    Args:
        means: [K, D]. scatters: [K, D, D], singular ones too. weights: [K]; all float64.
        degrees: of freedom of the data; inf: Gaussian. size: nodes per mixing variable.

    Raises:
        LevyError: stable noise.
    """

    noise: Noise
    means: Tensor
    scatters: Tensor
    weights: Tensor
    degrees: float = inf
    size: int = 48

    def __post_init__(self) -> None:
        if isinstance(self.noise, Stable):
            raise LevyError(f"this oracle is exact for Student-t and Gaussian noise, not for {self.noise}")

    @cached_property
    def _nodes(self) -> tuple[Tensor, Tensor, Tensor]:
        """(A, B, log weight) of every node, [n]."""
        a, log_a = inverse_gamma(self.noise.nu, self.size) if isinstance(self.noise, StudentT) else _one()
        b, log_b = inverse_gamma(self.degrees, self.size) if self.degrees < inf else _one()
        both = np.stack([*np.broadcast_arrays(a[:, None], b), log_a[:, None] + log_b])
        return tuple(torch.from_numpy(both.reshape(3, -1)))

    @cached_property
    def _axes(self) -> tuple[Tensor, Tensor]:
        """Variances along the axes of each component [K, D], and the axes [K, D, D]."""
        values, vectors = torch.linalg.eigh(self.scatters)
        return values.clamp(min=0), vectors

    def _posterior(self, y: Tensor, rho: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(weight of each node [K, B, n], y about each mean along its axes [K, B, D], 1 / variance there [K, D, n])."""
        if (rho != rho[0]).any():
            raise LevyError("this oracle takes one noise level at a time: give equal rho to a batch")
        a, b, log_weight = self._nodes
        values, vectors = self._axes
        along = (y.double().flatten(1) - self.means[:, None, :]) @ vectors
        variance = b * values[:, :, None] + float(rho[0]) ** 2 * a
        logits = self.weights.log()[:, None] + log_weight - variance.log().sum(1) / 2
        logits = logits[:, None, :] - along**2 @ (1 / variance) / 2
        shares = torch.softmax(logits.transpose(0, 1).flatten(1), dim=1)
        return shares.view(len(y), len(values), -1).transpose(0, 1), along, 1 / variance

    def _pull(self, y: Tensor, rho: Tensor, factor: Tensor) -> Tensor:
        """``E[factor (B S + rho^2 A)^-1 (y - m) | y]``, factor [n]."""
        shares, along, precision = self._posterior(y, rho)
        drawn = (shares @ (factor * precision).transpose(1, 2)) * along
        return (drawn @ self._axes[1].transpose(1, 2)).sum(0).view_as(y).to(y)

    def __call__(self, y: Tensor, rho: Tensor, cond: Condition) -> Tensor:
        """eps_hat, [B, *S]; rho must be the same for the whole batch."""
        return self._pull(y, rho, float(rho[0]) * self._nodes[0])

    def score(self, y: Tensor, rho: Tensor, cond: Condition) -> Tensor:
        """[B, *S]; rho as above."""
        return -self._pull(y, rho, torch.ones_like(self._nodes[0]))

    def mixing(self, y: Tensor, rho: Tensor, cond: Condition, eps_hat: Tensor, probe: Tensor) -> Tensor:
        """E[A | y], [B]."""
        return (self._posterior(y, rho)[0] * self._nodes[0]).sum((0, 2)).to(y)

    def data(self, n: int, shape: tuple[int, ...], seed: int) -> Tensor:
        """float64 [n, *shape]."""
        which = torch.multinomial(self.weights, n, replacement=True, generator=generator(seed, "components"))
        values, vectors = self._axes
        drawn = BatchStream(n, seed, "oracle").normal((self.means.shape[1],)).double() * values[which].sqrt()
        if self.degrees < inf:
            drawn = drawn * StudentT(self.degrees).mixing((1,), BatchStream(n, seed, "oracle")).sqrt()
        return (self.means[which] + (vectors[which] @ drawn[:, :, None])[:, :, 0]).view(n, *shape)

    def covariance(self) -> Covariance:
        """Of the data; needs more than 2 degrees of freedom."""
        mean = self.weights @ self.means
        offset = self.means - mean
        spread = 1 if self.degrees == inf else self.degrees / (self.degrees - 2)
        within = spread * (self.weights[:, None, None] * self.scatters).sum(0)
        values, vectors = torch.linalg.eigh(within + (self.weights * offset.T) @ offset)
        least = values[0].clamp(min=0)
        return Covariance(mean, vectors * (values - least).clamp(min=0).sqrt(), least.expand(len(mean)))

    def given(self, observation: Observation) -> "Mixture":
        """The law of the data given an observation with one set of values, again a mixture.

        Raises:
            LevyError: values with error of data with tails, whose law is then no such mixture.
        """
        if self.degrees < inf and not observation.exact.all():
            raise LevyError("data with tails that are seen with error have no law of this kind: give a std of 0")
        operator, d = observation.operator, self.means.shape[1]
        seen = operator.apply(torch.eye(d, dtype=torch.float64).view(d, *operator.shape)).T  # H, [rows, D]
        means, scatters, log_weights = [], [], []
        for mean, scatter, weight in zip(self.means, self.scatters, self.weights, strict=True):
            inner = seen @ scatter @ seen.T + observation.variance.diag()
            gain = scatter @ seen.T @ inverse_of(inner)
            offset = observation.values - seen @ mean
            size, rows = offset @ inverse_of(inner) @ offset, len(offset)
            means.append(mean + gain @ offset)
            left = scatter - gain @ seen @ scatter
            if self.degrees == inf:
                log_density, scale = -size / 2, torch.ones(())
            else:
                log_density = -(self.degrees + rows) / 2 * torch.log1p(size / self.degrees)
                scale = (self.degrees + size) / (self.degrees + rows)
            scatters.append(scale * (left + left.T) / 2)
            log_weights.append(weight.log() + log_density - torch.logdet(inner) / 2)
        degrees = self.degrees + len(observation.exact)
        weights = torch.softmax(torch.stack(log_weights), 0)
        return Mixture(self.noise, torch.stack(means), torch.stack(scatters), weights, degrees, self.size)


def _one() -> tuple[np.ndarray, np.ndarray]:
    return np.ones(1), np.zeros(1)
