"""Guides towards observations: they bend a predictor to ``eps_o = (y - E[x0 | y, o]) / rho``, and are called as one.

A conditional sampler is the unconditional one with this predictor, for every noise law, table and grid. All that a guide
approximates is the mean. With x0 given y elliptical about x0_hat with scatter C it is

    x0_hat + C H^T (H C H^T + std^2)^-1 (o - H x0_hat)

and guides differ in C. A guide is a row of ``OBSERVATION_GUIDES``. They correct x0_hat in float64, so that exact observations
are met to the rounding of y.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from levy_core.base.conditions import Condition
from levy_core.base.determinism import strictly_deterministic
from levy_core.base.errors import LevyError, choose
from levy_core.base.seeds import BatchStream
from levy_core.observations.covariance import Covariance, check_size, values_kept
from levy_core.observations.jacobian import Jacobian
from levy_core.observations.nonlinear import Nonlinear
from levy_core.observations.observation import Observation, inverse_of
from levy_core.process.noise import Noise
from levy_core.process.parametrisation import broadcast
from levy_core.sampling.guidance import EpsHat

DIRECTIONS = 3  # of the guide jacobian
KEPT = 2**31  # bytes that are kept of what belongs to noise levels


class Correction(Protocol):
    """What a guide does to a prediction."""

    @property
    def evaluations(self) -> int:
        """Of the network, per evaluation of the guided predictor; a backward pass counts as two."""
        ...

    def correct(self, predictor: EpsHat, y: Tensor, rho: Tensor, cond: Condition) -> tuple[Tensor, Tensor]:
        """(eps_hat without observations [B, *S], what observations add to x0_hat, float64 [B, *S])."""
        ...


@dataclass(frozen=True, eq=False)
class Observing:
    """A predictor with observations: ``eps_hat - (what they add to x0_hat) / rho``.

    Student-t noise that comes back has the variance E[A | y] of the wrapped predictor, which is asked once more for it.
    """

    predictor: EpsHat
    correction: Correction

    def __call__(self, y: Tensor, rho: Tensor, cond: Condition) -> Tensor:
        eps_hat, shift = self.correction.correct(self.predictor, y, rho, cond)
        return (eps_hat.double() - shift / broadcast(rho.double(), y)).to(y)

    @property
    def evaluations(self) -> int:
        """Of the network, per evaluation of this predictor; a backward pass counts as two."""
        return self.correction.evaluations

    @property
    def needs_gradient(self) -> bool:
        """Whether it, or what it wraps, asks for gradients."""
        return any(getattr(part, "needs_gradient", False) for part in (self.correction, self.predictor))

    @property
    def mixing(self) -> Callable[[Tensor, Tensor, Condition, Tensor, Tensor], Tensor] | None:
        """E[A | y] of the wrapped predictor, from its own eps_hat; None where it has none."""
        inner = getattr(self.predictor, "mixing", None)
        if inner is None:
            return None
        return lambda y, rho, cond, eps_hat, probe: inner(y, rho, cond, self.predictor(y, rho, cond), probe)


class Gains:
    """``matrix(rho)^-1 residual`` for the levels of a batch; inverses [rows, rows] are made once per level and the newest kept."""

    def __init__(self, matrix: Callable[[float], Tensor], rows: int) -> None:
        self._inverse = lru_cache(maxsize=levels_kept(rows**2))(lambda level: inverse_of(matrix(level)))

    def solve(self, residual: Tensor, rho: Tensor) -> Tensor:
        """[B, rows], float64."""
        solved = torch.empty_like(residual)
        for level in rho.unique().tolist():
            at = rho == level
            solved[at] = residual[at] @ self._inverse(level).to(residual.device)
        return solved


def levels_kept(values: int) -> int:
    """How many noise levels to keep float64 values of, so many per level."""
    return max(1, min(256, KEPT // (8 * values)))


class Projection:
    """C = I: only what is seen changes. Source: DDNM (arXiv 2212.00490), replacement."""

    evaluations = 1

    def __init__(self, observation: Observation) -> None:
        self.observation = observation
        matrix = observation.gram() + observation.variance.diag()
        self._inverse = inverse_of(matrix)

    def correct(self, predictor: EpsHat, y: Tensor, rho: Tensor, cond: Condition) -> tuple[Tensor, Tensor]:
        """See ``Correction``."""
        eps_hat = predictor(y, rho, cond)
        residual = self.observation.residual(y - broadcast(rho, y) * eps_hat)
        return eps_hat, self.observation.operator.adjoint(residual @ self._inverse.to(y.device))


class Interpolation:
    """``C = (Sigma^-1 + 1 / (rho^2 a))^-1``, Sigma the data's covariance, a a typical A. Exact for Gaussian data and noise.

    Near CoDPS (arXiv 2409.08906).
    """

    evaluations = 1
    keeps_levels = takes_nonlinear = True

    def __init__(self, observation: Observation, covariance: Covariance, noise: Noise) -> None:
        check_size(covariance, observation.operator)
        self.observation, self.a = observation, typical_mixing(noise)
        self._gains = Gains(self._matrix, observation.operator.rows)
        self._prior = lru_cache(maxsize=1)(covariance.to)
        kept = levels_kept(values_kept(covariance))
        self._posterior = lru_cache(maxsize=kept)(lambda level: covariance.posterior(level**2 * self.a))

    def _matrix(self, level: float) -> Tensor:
        return self._posterior(level).observed(self.observation.operator) + self.observation.variance.diag()

    def correct(self, predictor: EpsHat, y: Tensor, rho: Tensor, cond: Condition) -> tuple[Tensor, Tensor]:
        """See ``Correction``."""
        eps_hat = predictor(y, rho, cond)
        x0 = y - broadcast(rho, y) * eps_hat
        operator = self.observation.operator
        if isinstance(operator, Nonlinear):
            return eps_hat, self._spread(self._fit(operator, x0.double(), rho), rho)
        weights = self._gains.solve(self.observation.residual(x0), rho)
        return eps_hat, self._spread(operator.adjoint(weights), rho)

    def _spread(self, shift: Tensor, rho: Tensor) -> Tensor:
        """C times what is in each sample, [B, *S]."""
        for level in rho.unique().tolist():
            at = rho == level
            shift[at] = self._posterior(level).on(self._prior(shift.device)).apply(shift[at])
        return shift

    def _fit(self, operator: Nonlinear, x0: Tensor, rho: Tensor) -> Tensor:
        """What observations that are not linear pull by, [B, *S]."""
        pulled, values = torch.empty_like(x0), self.observation.values.expand(len(x0), -1)
        for level in rho.unique().tolist():
            at = (rho == level).cpu()
            found = operator.fit(values[at], self.observation.variance, x0[at].cpu(), self._posterior(level), level)
            pulled[at] = found.to(pulled)
        return pulled


class PseudoInverse:
    """PiGDM as a flow: ``rho^2 J^T`` on the left, ``rho^2 / (1 + rho^2)`` inside, by one backward pass through the network.

    It takes data to have variance 1, and diverges in large steps where it is above about 5. Source: Song et al. (ICLR 2023).
    """

    evaluations = 3
    needs_gradient = True
    keeps_levels = True

    def __init__(self, observation: Observation) -> None:
        self.observation = observation
        seen, variance = observation.gram(), observation.variance.diag()
        self._gains = Gains(lambda level: level**2 / (1 + level**2) * seen + variance, len(seen))

    def correct(self, predictor: EpsHat, y: Tensor, rho: Tensor, cond: Condition) -> tuple[Tensor, Tensor]:
        """See ``Correction``."""
        level = broadcast(rho, y)
        with torch.enable_grad(), strictly_deterministic(y.device):
            at = y.detach().requires_grad_()
            eps_hat = predictor(at, rho, cond)
            x0 = at - level * eps_hat
            weights = self._gains.solve(self.observation.residual(x0.detach()), rho)
            (back,) = torch.autograd.grad(x0, at, self.observation.operator.adjoint(weights).to(y))
        return eps_hat.detach(), level.double() ** 2 * back.double()


def typical_mixing(noise: Noise) -> float:
    """The upper quartile of A, from draws with a fixed seed: finite for every law, near E[A] of Student-t noise.

    E[A] goes with a covariance as Sigma, which is that of data of mixed scales; smaller values gave worse posteriors.
    """
    return float(noise.mixing((1,), BatchStream(10_000, 0, "typical mixing")).quantile(0.75))


def _interpolation(
    observation: Observation, noise: Noise, covariance: Covariance | None, directions: int
) -> Interpolation:
    if covariance is None:
        raise LevyError(
            "the guide interpolation needs the data's covariance: fit_covariance makes it from training samples; the guide "
            "jacobian does without"
        )
    return Interpolation(observation, covariance, noise)


@dataclass(frozen=True)
class ObservationGuide:
    """A guide of the table.

    Attributes:
        kind: its correction. build: of (observation, noise, covariance, directions of the guide jacobian).
        most: evaluations of the network per evaluation of the guided predictor, at most, with ``DIRECTIONS``.
    """

    kind: type[Correction]
    build: Callable[[Observation, Noise, Covariance | None, int], Correction]
    most: int

    @property
    def needs_gradient(self) -> bool:
        """Whether it asks for gradients of the network, so that all of its activations are kept."""
        return getattr(self.kind, "needs_gradient", False)

    @property
    def keeps_levels(self) -> bool:
        """Whether it keeps matrices of the observed values for each noise level."""
        return getattr(self.kind, "keeps_levels", False)

    @property
    def takes_nonlinear(self) -> bool:
        """Whether it takes in observations that are not linear."""
        return getattr(self.kind, "takes_nonlinear", False)


OBSERVATION_GUIDES = {
    "interpolation": ObservationGuide(Interpolation, _interpolation, Interpolation.evaluations),
    "jacobian": ObservationGuide(
        Jacobian,
        lambda observation, noise, covariance, directions: Jacobian(observation, noise, directions),
        2 + DIRECTIONS,
    ),
    "pigdm": ObservationGuide(
        PseudoInverse,
        lambda observation, noise, covariance, directions: PseudoInverse(observation),
        PseudoInverse.evaluations,
    ),
    "projection": ObservationGuide(
        Projection, lambda observation, noise, covariance, directions: Projection(observation), Projection.evaluations
    ),
}


def observe(
    predictor: EpsHat,
    observation: Observation,
    noise: Noise,
    guide: str = "interpolation",
    covariance: Covariance | None = None,
    directions: int = DIRECTIONS,
) -> EpsHat:
    """The predictor of samples given an observation; without observed values it is the predictor as it was.

    Args:
        covariance: of the data, for the guide interpolation.
        directions: of the guide jacobian, each one evaluation.

    Raises:
        LevyError: an unknown guide, one that lacks what it needs, or a covariance of another size.
    """
    row = choose("guide towards observations", guide, OBSERVATION_GUIDES)
    if observation.operator.rows == 0:
        return predictor
    if isinstance(observation.operator, Nonlinear) and not row.takes_nonlinear:
        raise LevyError(
            f"the guide {guide} needs observations that are linear, which means of a transformed variable are not: choose interpolation"
        )
    return Observing(predictor, row.build(observation, noise, covariance, directions))
