"""Noise laws as scale mixtures ``e = sqrt(A) z``, ``z ~ N(0, I)``.

The only module that draws diffusion noise. A law is a frozen value; the randomness comes from the streams it is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from levy_core.errors import LevyError


class Source(Protocol):
    """Where a law takes its randomness from: ``seeds.Streams`` or ``seeds.BatchStream``."""

    def normal(self, shape: Sequence[int]) -> Tensor:
        """float32 N(0, 1), [B, *shape]."""
        ...

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """float64 in (0, 1), [B, *shape]."""
        ...


class Noise(Protocol):
    """A noise law whose increments add as ``rho**exponent``."""

    @property
    def exponent(self) -> float:
        """p: 2 for the Gaussian, alpha for a stable law."""
        ...

    @property
    def moments(self) -> float:
        """E|e|**q is finite for q below this number."""
        ...

    def sample(self, shape: Sequence[int], source: Source) -> Tensor:
        """float32 noise, [B, *shape]."""
        ...


@dataclass(frozen=True)
class Gaussian:
    """N(0, I). Note that ``Stable(2)`` is ``sqrt(2)`` times this law."""

    exponent: ClassVar[float] = 2.0
    moments: ClassVar[float] = float("inf")

    def sample(self, shape: Sequence[int], source: Source) -> Tensor:
        """float32 noise, [B, *shape]."""
        return source.normal(shape)


@dataclass(frozen=True)
class Stable:
    """Symmetric alpha-stable noise, ``E exp(i<u, e>) = exp(-|u|**alpha)`` (per coordinate unless isotropic).

    Each coordinate follows scipy's ``levy_stable(alpha, 0)``. Isotropic noise shares one mixing variable among the
    coordinates of a sample. Nothing is truncated.

    Raises:
        LevyError: alpha outside (1, 2].
    """

    alpha: float
    isotropic: bool = True

    def __post_init__(self) -> None:
        if not 1 < self.alpha <= 2:
            raise LevyError(
                f"alpha is {self.alpha}, but must lie in (1, 2]: at 1 and below the noise has no mean to learn, "
                "and above 2 no stable law exists"
            )

    @property
    def exponent(self) -> float:
        """p = alpha."""
        return self.alpha

    @property
    def moments(self) -> float:
        """Moments of order alpha and above are infinite, but for the Gaussian end alpha = 2."""
        return self.alpha if self.alpha < 2 else float("inf")

    def sample(self, shape: Sequence[int], source: Source) -> Tensor:
        """float32 noise, [B, *shape]."""
        mixing_shape = [1] * len(shape) if self.isotropic else shape
        angle = pi * source.uniform(mixing_shape)
        waiting = -torch.log(source.uniform(mixing_shape))
        scale = torch.sqrt(2 * positive_stable(self.alpha / 2, angle, waiting))
        return (scale * source.normal(shape)).float()


def positive_stable(a: float, angle: Tensor, waiting: Tensor) -> Tensor:
    """Kanter's positive a-stable variable S with ``E exp(-s S) = exp(-s**a)``, 0 < a <= 1.

    Args:
        a: index; alpha / 2 for the mixing variable of an alpha-stable law.
        angle: float64, Uniform(0, pi).
        waiting: float64, Exp(1), same shape.

    Source: Kanter (1975), Stable densities under change of scale, Corollary 4.1. No rejection and no clamp.
    """
    if a == 1:
        return torch.ones_like(angle)
    b = (1 - a) / a
    log_s = (
        torch.log(torch.sin(a * angle))
        - torch.log(torch.sin(angle)) / a
        + b * (torch.log(torch.sin((1 - a) * angle)) - torch.log(waiting))
    )
    return torch.exp(log_s)
