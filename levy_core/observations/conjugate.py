"""The conjugate integrator C-PiGDM, to compare with published results: a sampler with steps of its own, for Gaussian noise.

Source: Pandey et al. (2024), Fast Samplers for Inverse Problems in Iterative Refinement Models (arXiv 2405.17673), of the noise law and
schedule of VP. In y = x / a with ``a = (1 + rho^2)^(-1/2)``, r the residual in the pseudo-inverse's directions and w the weight of
its guidance, the flow is

    dy/drho = eps_hat - k J^T r,   k = w rho / (1 + rho^2),   J^T r = r - rho (d eps_hat / dy)^T r

In the directions that are seen k J^T r is linear in y; a step solves that part exactly, with eps_hat and the gradient in x frozen.
It samples another law than the posterior: more steps do not cure it, and exact values are not met. PiGDM's own weight is 4 k at rho = 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from levy_core.base.conditions import Condition
from levy_core.base.seeds import Streams
from levy_core.observations.observation import Observation
from levy_core.process.noise import Gaussian
from levy_core.sampling.guidance import EpsHat

NODES, WEIGHTS = np.polynomial.legendre.leggauss(48)
EVALUATIONS = 3  # of a step: one, and a backward pass
START, END, BETA = 0.6, 1e-3, (0.1, 20.0)  # times of VP's linear beta that it starts and ends at, as published


def vp_levels(steps: int) -> Tensor:
    """rho [steps + 1] at evenly spaced times of VP with beta from 0.1 to 20, from ``START`` (rho 6.1) to ``END`` (0.0105)."""
    t = torch.linspace(START, END, steps + 1, dtype=torch.float64)
    low, high = BETA
    return torch.expm1(low * t + (high - low) * t**2 / 2).sqrt()


@dataclass(frozen=True)
class Conjugate:
    """Steps towards an observation.

    Args:
        observation: exact, or with one error of all values; of errors that differ only their variance in each direction counts.
        weight: w, tuned per task: 15 (super-resolution, 5 steps), 2 (with errors) in the paper.
    """

    observation: Observation
    weight: float

    @cached_property
    def _axes(self) -> tuple[Tensor, Tensor]:
        """Singular values [m] and left vectors [rows, m] of the operator, without directions that see nothing."""
        squares, vectors = torch.linalg.eigh(self.observation.gram())
        kept = squares > 1e-12 * squares.max()
        return squares[kept].sqrt(), vectors[:, kept]

    def _along(self, y: Tensor) -> Tensor:
        """y [B, *S] in the directions that are seen, [B, m]."""
        values, vectors = self._axes
        return self.observation.operator.apply(y) @ vectors / values

    def _back(self, along: Tensor) -> Tensor:
        """[B, m] -> [B, *S]."""
        values, vectors = self._axes
        return self.observation.operator.adjoint(along / values @ vectors.T)

    @property
    def observed(self) -> Tensor:
        """What was observed in these directions, [1 or B, m]."""
        values, vectors = self._axes
        return torch.atleast_2d(self.observation.values) @ vectors / values

    def _share(self, rho: Tensor) -> Tensor:
        """How much of k is left of each direction where values have errors, [n, m] of levels [n]."""
        squares, error = self._axes[0] ** 2, self._error
        seen = rho[:, None] ** 2 * squares
        return seen / (seen + error * (1 + rho[:, None] ** 2))

    @cached_property
    def _error(self) -> Tensor:
        """Variance of the errors in each direction, [m]: exact for one error of all values."""
        return (self._axes[1] ** 2 * self.observation.variance[:, None]).sum(0)

    def _log_phi(self, rho: Tensor) -> Tensor:
        """-int_0^rho k_i, up to a constant, [n, m] of levels [n]."""
        u, error = rho[:, None] ** 2, self._error
        whole = self._axes[0] ** 2 + error
        shrunk = torch.where(error > 0, error / whole * torch.log(whole * u + error.clamp(min=1e-300)), 0.0)
        return -self.weight / 2 * (torch.log1p(u) - shrunk)

    def step(self, y: Tensor, rho: float, to: float, eps_hat: Tensor, gradient: Tensor) -> Tensor:
        """y [B, *S] at ``rho`` to ``to``, float64.

        Args:
            gradient: ``(d eps_hat / dy)^T`` of the residual, each direction times its share of k, [B, *S].
        """
        q = torch.from_numpy(rho + (to - rho) * (NODES + 1) / 2)
        weights = torch.from_numpy(WEIGHTS * (to - rho) / 2)
        kq = self.weight * q**2 / (1 + q**2)
        frozen = kq * ((1 + rho**2) / (1 + q**2)).sqrt()  # the gradient in x stays, which in y is times a(q) / a(rho)
        phi, phi_end = (
            self._log_phi(torch.cat([torch.tensor([rho], dtype=torch.float64), q])),
            self._log_phi(torch.tensor([to], dtype=torch.float64)),
        )
        ratio = torch.exp(phi - phi_end)  # Phi(q) / Phi(to): [1 + n, m]
        own = self._share(q) * kq[:, None]
        of_eps = (weights[:, None] * ratio[1:] * (1 - own)).sum(0)
        of_gradient = (weights[:, None] * ratio[1:] * frozen[:, None]).sum(0)
        along, seen_eps, seen_gradient = self._along(y), self._along(eps_hat), self._along(gradient)
        offset = along - self.observed
        after = self.observed + ratio[0] * offset + of_eps * seen_eps + of_gradient * seen_gradient
        free = y + (to - rho) * eps_hat + (weights * frozen).sum() * gradient
        return free + self._back(after - self._along(free))

    def residual(self, x0: Tensor, rho: float) -> Tensor:
        """What is missing of the values in x0, back in sample space, each direction times its share of k: [B, *S]."""
        share = self._share(torch.tensor([rho], dtype=torch.float64))[0]
        return self._back(share * (self.observed - self._along(x0)))


def sample_conjugate(
    predictor: EpsHat,
    observation: Observation,
    weight: float,
    levels: Tensor,
    seed: int,
    indices: Sequence[int],
    cond: Condition,
) -> Tensor:
    """Samples by C-PiGDM, float64 [B, *S], from ``H+ o`` and noise at the first level.

    Args:
        predictor: of Gaussian noise, differentiable; asked in float64. weight: see ``Conjugate``. levels: rho, falling, such as ``vp_levels``.
    """
    integrator, shape = Conjugate(observation, weight), observation.operator.shape
    noise = Gaussian().sample(shape, Streams.of_samples(seed, "sample", indices)).double()
    y = integrator._back(integrator.observed.expand(len(noise), -1)) + levels[0] * noise
    for rho, to in zip(levels[:-1].tolist(), levels[1:].tolist(), strict=True):
        at = torch.full((len(y),), rho, dtype=torch.float64)
        with torch.enable_grad():
            given = y.detach().requires_grad_()
            eps_hat = predictor(given, at, cond)
            residual = integrator.residual((given - rho * eps_hat).detach(), rho)
            (gradient,) = torch.autograd.grad(eps_hat, given, residual)
        y = integrator.step(y, rho, to, eps_hat.detach(), gradient)
    return y
