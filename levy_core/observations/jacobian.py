"""The guide with the predictor's own Jacobian: C = rho^2 A_hat J, J = d x0_hat / d y, by finite differences."""

from collections.abc import Callable

import torch
from torch import Tensor

from levy_core.base.conditions import Condition
from levy_core.base.errors import LevyError
from levy_core.base.seeds import generator
from levy_core.observations.observation import Observation, inverse_of
from levy_core.process.noise import Noise
from levy_core.process.parametrisation import broadcast
from levy_core.sampling.guidance import EpsHat

STEP = 0.01  # of a finite difference, in units of rho per coordinate
NEW = 0.1  # share of a direction that earlier ones must not hold: where J is not symmetric the rest may be noise


class Jacobian:
    """Conjugate residuals for ``(H C H^T + std^2) w = r``, then a projection of what is exact; no backward pass.

    Conjugate gradients, which the sources take, need a symmetric J; of tailed data it is not, and they run away. Here each
    direction leaves the smallest residual (GCR; Eisenstat, Elman and Schultz, 1983).

    Exact for Gaussian data and noise with as many directions as observed values; A_hat, a typical A given y, matters only where std
    is above 0. Sources: TMPD (arXiv 2310.06721), MMPS (2405.13712).

    Raises:
        LevyError: no direction, or noise whose coordinates have no A in common.
    """

    def __init__(self, observation: Observation, noise: Noise, directions: int) -> None:
        if directions < 1:
            raise LevyError(f"the guide jacobian follows {directions} directions, but needs at least 1")
        if not getattr(noise, "isotropic", True):
            raise LevyError(
                f"the guide jacobian needs one A for all coordinates, which {noise} does not have: choose interpolation"
            )
        self.observation, self.noise, self.directions = observation, noise, directions
        self._exact = bool(observation.exact.all())
        both = observation.exact[:, None] & observation.exact
        self._inverse = inverse_of(torch.where(both, observation.gram(), 0.0))

    @property
    def evaluations(self) -> int:
        """See ``Correction``."""
        return 1 + self.directions + self._asks_mixing

    @property
    def _asks_mixing(self) -> bool:
        return not self._exact and (self.noise.exponent < 2 or self.noise.refresh == "path")

    def correct(self, predictor: EpsHat, y: Tensor, rho: Tensor, cond: Condition) -> tuple[Tensor, Tensor]:
        """See ``Correction``."""
        operator = self.observation.operator
        eps_hat = predictor(y, rho, cond)
        x0 = (y - broadcast(rho, y) * eps_hat).double()

        def push(u: Tensor) -> Tensor:
            return push_forward(predictor, y, rho, cond, eps_hat, u)

        scale = rho.double() ** 2 * self._mixing(eps_hat, push)
        variance = self.observation.variance.to(y.device)
        residual, shift = self.observation.residual(x0), torch.zeros_like(x0)
        followed: list[tuple[Tensor, Tensor]] = []
        for _ in range(self.directions):
            moved = broadcast(scale, y) * push(operator.adjoint(residual))
            seen = operator.apply(moved) + variance * residual
            least = NEW**2 * _square(seen)
            for earlier_moved, earlier_seen in followed:
                size = _square(earlier_seen)
                share = torch.where(size > 0, (seen * earlier_seen).sum(1) / size, 0.0)
                seen = seen - share[:, None] * earlier_seen
                moved = moved - broadcast(share, y) * earlier_moved
            followed.append((moved, seen))
            size = _square(seen)
            length = torch.where(size > least, (seen * residual).sum(1) / size, 0.0)
            shift = shift + broadcast(length, y) * moved
            residual = residual - length[:, None] * seen
        left = self.observation.residual(x0 + shift)
        return eps_hat, shift + operator.adjoint(left @ self._inverse.to(y.device))

    def _mixing(self, eps_hat: Tensor, push: Callable[[Tensor], Tensor]) -> Tensor:
        """A_hat, float64 [B]: ``|eps_hat|^2 / (rho div eps_hat)``, the divergence along fixed signs (Hutchinson)."""
        if not self._asks_mixing:
            return 1 / self.noise.precision(eps_hat.double()).flatten(1)[:, 0]
        signs = torch.randint(2, eps_hat.shape[1:], generator=generator(0, "signs")).to(eps_hat.device).double() * 2 - 1
        d = eps_hat[0].numel()
        divergence = d - (push(signs.expand_as(eps_hat)) * signs).flatten(1).sum(1)  # times rho
        return _square(eps_hat.double()) / divergence.clamp(STEP * d, d)


def push_forward(predictor: EpsHat, y: Tensor, rho: Tensor, cond: Condition, eps_hat: Tensor, u: Tensor) -> Tensor:
    """J u of u [B, *S], float64: ``(x0_hat(y + h u) - x0_hat(y)) / h`` with h such that coordinates move by 0.01 rho."""
    size = (_square(u) / u[0].numel()).sqrt()
    h = STEP * rho.double() / torch.where(size > 0, size, 1.0)
    moved = (y.double() + broadcast(h, y) * u).to(y)
    change = predictor(moved, rho, cond).double() - eps_hat.double()
    return (moved.double() - y.double() - broadcast(rho.double(), y) * change) / broadcast(h, y)


def _square(values: Tensor) -> Tensor:
    """|values|^2 of each row, [B]."""
    return (values**2).flatten(1).sum(1)
