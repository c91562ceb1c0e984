"""Observations of fields whose model makes coefficients: ``x = mean + z patterns + rest``, the rest Gaussian."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from levy_core.observations.covariance import Covariance
from levy_core.observations.nonlinear import Through, ThroughPatterns
from levy_core.observations.observation import Observation, inverse_of
from levy_core.observations.operators import Matrix


@dataclass(frozen=True, eq=False)
class ObservedFields:
    """An observation of fields [*S] as one of coefficients [K], and the rest that agrees with both. Exact where it is linear.

    What is seen of z has the error of the observation and what it sees of the rest, whose values go together; in directions in which
    they do not, it is an observation as any other.

    Args:
        observation: of fields, with values [rows], or [N, rows] for N fields. patterns: [K, *S]. rest: the covariance of the rest, and the fields' mean.
    """

    observation: Observation
    patterns: Tensor
    rest: Covariance

    @cached_property
    def _error(self) -> Tensor:
        """Covariance of the error and what is seen of the rest, [rows, rows]."""
        return self.rest.observed(self.observation.operator) + self.observation.variance.diag()

    @property
    def of_coefficients(self) -> Observation:
        """What is seen of z [K].

        Values that say the same thing twice are one.
        """
        operator = self.observation.operator
        if isinstance(operator, Through):
            through = ThroughPatterns(operator, self.patterns.double().flatten(1).T, self.rest)
            return Observation(through, self.observation.values, self.observation.std)
        variances, directions = torch.linalg.eigh(self._error)
        kept = variances > len(variances) * torch.finfo(variances.dtype).eps * variances.max()
        directions = directions[:, kept]
        seen = operator.apply(self.patterns.double()).T  # [rows, K]
        offset = self.observation.values - operator.apply(self.rest.mean.view(1, *operator.shape))[0]
        return Observation(Matrix(directions.T @ seen), offset @ directions, variances[kept].sqrt())

    def complete(self, x: Tensor, n: Tensor) -> Tensor:
        """Fields given z and the observation, from fields x [N, *S] given z alone, and n ~ N(0, I) [N, rows]; float32.

        Source: Matheron's rule (Journel and Huijbregts, 1978); where the observation is not linear, randomised maximum likelihood
        (Oliver, He and Reynolds, 1996), which is this rule where it is.
        """
        operator, noise = self.observation.operator, n.double() * self.observation.std
        if isinstance(operator, Through):
            pulled = operator.fit(
                self.observation.values - noise, self.observation.variance, x.double(), self.rest.unseen
            )
            return (x.double() + self.rest.apply(pulled)).float()
        off = self.observation.residual(x) - noise
        moved = self.rest.apply(operator.adjoint(off @ inverse_of(self._error)))
        return (x.double() + moved).float()
