"""Noise laws as scale mixtures ``e = sqrt(A) z``, ``z ~ N(0, I)``.

The only module that draws diffusion noise. A law is a frozen value; the randomness comes from the streams it is given.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, inf, lgamma, pi
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from levy_core.base.devices import send
from levy_core.base.errors import LevyError, choose


class RandomStreams(Protocol):
    """Where a law takes its randomness from: ``seeds.Streams``, ``seeds.BatchStream`` or, on a device of its own, ``philox.PhiloxStreams``."""

    def normal(self, shape: Sequence[int]) -> Tensor:
        """float32 N(0, 1), [B, *shape]."""
        ...

    def uniform(self, shape: Sequence[int], rows: Sequence[int] | None = None) -> Tensor:
        """float64 multiples of 2**-53 in [0, 1), [B, *shape], or [len(rows), *shape] for these rows alone."""
        ...

    def from_halves(self, shape: Sequence[int], make: Callable[..., Tensor], *settings: float) -> Tensor:
        """``make(*settings, u, 1 - u, v)`` of independent uniforms u and v in (0, 1), float32 [B, *shape]; small values keep their precision."""
        ...


class Noise(Protocol):
    """A scale mixture of Gaussians whose increments add as ``rho**exponent``."""

    refresh: ClassVar[Literal["step", "path"]]  # whether a reverse process may draw A anew at every step

    @property
    def exponent(self) -> float:
        """p: 2 for the Gaussian and Student-t, alpha for a stable law."""
        ...

    @property
    def moments(self) -> float:
        """E|e|**q is finite for q below this number."""
        ...

    @property
    def deviation(self) -> float:
        """Standard deviation of a coordinate; 1 where it is infinite."""
        return 1.0

    @abstractmethod
    def precision(self, e: Tensor) -> Tensor:
        """E[1/A | e], to which ``grad log density(e) = -precision e``, of e [B, *S], with sides of 1 where coordinates share A."""
        ...

    @abstractmethod
    def mixing(self, shape: Sequence[int], streams: RandomStreams) -> Tensor:
        """A, float64 [B, *shape] with sides of 1 where coordinates share it."""
        ...

    def sample(self, shape: Sequence[int], streams: RandomStreams) -> Tensor:
        """float32 noise, [B, *shape]."""
        return self.sample_with_mixing(shape, streams)[0]

    def sample_with_mixing(self, shape: Sequence[int], streams: RandomStreams) -> tuple[Tensor, Tensor]:
        """The noise of ``sample`` in law, and its A, float64 with sides of 1 where coordinates share it."""
        mixing = self.mixing(shape, streams)
        z = streams.normal(shape)
        return z.mul_(send(mixing.sqrt().float(), z.device)), mixing


@dataclass(frozen=True)
class Gaussian(Noise):
    """N(0, I). Note that ``Stable(2)`` is ``sqrt(2)`` times this law."""

    exponent: ClassVar[float] = 2.0
    moments: ClassVar[float] = inf
    refresh: ClassVar[Literal["step", "path"]] = "step"

    def mixing(self, shape: Sequence[int], streams: RandomStreams) -> Tensor:
        return torch.ones([1] * (len(shape) + 1), dtype=torch.float64)

    def precision(self, e: Tensor) -> Tensor:
        return e.new_ones(len(e), *[1] * (e.dim() - 1))

    def sample(self, shape: Sequence[int], streams: RandomStreams) -> Tensor:
        return streams.normal(shape)


CAP_RULES = {"reject": "draw A again until it is at most the cap", "clamp": "set a larger A to the cap"}


@dataclass(frozen=True)
class Stable(Noise):
    """Symmetric alpha-stable noise, ``E exp(i<u, e>) = exp(-|u|**alpha)`` (per coordinate unless isotropic).

    Each coordinate follows scipy's ``levy_stable(alpha, 0)``. Isotropic noise shares one mixing variable among the
    coordinates of a sample. Nothing is truncated unless ``cap``, the largest A, is given. A capped law is not stable:
    all its moments are finite, increments add only approximately, so solvers that inject noise become approximate,
    while the ODE stays exact. Rejection and clamping give different laws.

    Raises:
        LevyError: alpha outside (1, 2], a cap that is not positive, an unknown rule.
    """

    alpha: float
    isotropic: bool = True
    cap: float | None = None
    cap_rule: str = "reject"
    refresh: ClassVar[Literal["step", "path"]] = "step"

    def __post_init__(self) -> None:
        if not 1 < self.alpha <= 2:
            raise LevyError(
                f"alpha is {self.alpha}, but must lie in (1, 2]: at 1 and below the noise has no mean to learn, "
                "and above 2 no stable law exists"
            )
        choose("cap rule", self.cap_rule, CAP_RULES)
        if self.cap is not None and not 0 < self.cap < inf:
            raise LevyError(f"cap is {self.cap}, but must be positive and finite; null leaves the noise as it is")
        if self.cap is not None and self.cap_rule == "reject" and (kept := self._share_below(self.cap)) < 0.05:
            raise LevyError(
                f"the cap {self.cap} rejects {1 - kept:.1%} of the mixing variables at alpha {self.alpha}: "
                "raise it (published codes use 20), or set cap_rule to clamp"
            )

    @property
    def exponent(self) -> float:
        return self.alpha

    @property
    def moments(self) -> float:
        """Moments of order alpha and above are infinite, but for the Gaussian end alpha = 2 and capped noise."""
        return self.alpha if self.alpha < 2 and self.cap is None else inf

    def mixing(self, shape: Sequence[int], streams: RandomStreams) -> Tensor:
        """A = 2 S, one per sample if isotropic, else one per coordinate."""
        shape = [1] * len(shape) if self.isotropic else shape
        mixing = self._uncapped(shape, streams)
        if self.cap is None:
            return mixing
        if self.cap_rule == "clamp":
            return mixing.clamp_(max=self.cap)
        while True:
            over = mixing > self.cap
            rows = torch.nonzero(over.flatten(1).any(1)).flatten().tolist()
            if not rows:
                return mixing
            # A row draws again only for its own sake, so that a sample stays independent of its batch.
            mixing[rows] = torch.where(over[rows], self._uncapped(shape, streams, rows), mixing[rows])

    def sample(self, shape: Sequence[int], streams: RandomStreams) -> Tensor:
        if self.isotropic or self.cap is not None or self.alpha == 2:
            return super().sample(shape, streams)
        return streams.from_halves(shape, symmetric_stable, self.alpha)

    def precision(self, e: Tensor) -> Tensor:
        """Exact at 0 and far out, where the density falls as |e|**(-alpha - d); between, a rational function of |e|**2.

        At 0 it is E[A**(-d/2 - 1)] / E[A**(-d/2)] with ``E[A**-k] = 2**-k Gamma(1 + 2 k / alpha) / Gamma(1 + k)``. A cap only
        bounds it from below.
        """
        square, d = _square(e, self.isotropic)
        at_0 = exp(lgamma(1 + (d + 2) / self.alpha) - lgamma(1 + d / self.alpha)) / (d + 2)
        if self.alpha == 2:
            precision = torch.full_like(square, at_0)  # 1/2
        else:
            precision = (self.alpha + d) / ((self.alpha + d) / at_0 + square)
        return precision if self.cap is None else precision.clamp(min=1 / self.cap)

    def _uncapped(self, shape: Sequence[int], streams: RandomStreams, rows: Sequence[int] | None = None) -> Tensor:
        angle = open_interval(streams.uniform(shape, rows)).mul_(pi)
        waiting = open_interval(streams.uniform(shape, rows)).log_().neg_()
        return positive_stable(self.alpha / 2, angle, waiting).mul_(2)

    def _share_below(self, cap: float) -> float:
        """Chance that A is at most the cap: E exp(-W) over Kanter's angle (A falls as W grows)."""
        if self.alpha == 2:
            return float(cap >= 2)
        angle = pi * (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
        a = self.alpha / 2
        at_one = 2 * positive_stable(a, angle, torch.ones_like(angle))
        return float(torch.exp(-((at_one / cap) ** (a / (1 - a)))).mean())


@dataclass(frozen=True)
class StudentT(Noise):
    """Multivariate Student-t noise with identity scale: ``A = nu / chi2_nu``, one per path (scipy's ``multivariate_t``).

    Sums of Student-t variables are not Student-t: a reverse process keeps one A, or weighs fresh Gaussian noise by
    E[A | y] (``sample``). Source: Pandey et al., Heavy-tailed diffusion models (arXiv 2410.14171).

    Raises:
        LevyError: nu of 2 or less.
    """

    nu: float
    exponent: ClassVar[float] = 2.0
    refresh: ClassVar[Literal["step", "path"]] = "path"

    def __post_init__(self) -> None:
        if not 2 < self.nu < inf:
            raise LevyError(
                f"nu is {self.nu}, but must be above 2 (finite variance, which the preconditioning and the squared "
                "error need) and finite; for the Gaussian limit use the noise law gaussian"
            )

    @property
    def moments(self) -> float:
        """Moments of order nu and above are infinite."""
        return self.nu

    @property
    def deviation(self) -> float:
        return (self.nu / (self.nu - 2)) ** 0.5

    def mixing(self, shape: Sequence[int], streams: RandomStreams) -> Tensor:
        """A = nu / chi2_nu by the inverse distribution function: one uniform per sample."""
        from scipy import special  # a third of a second, which other noises do without

        u = open_interval(streams.uniform([1] * len(shape)))
        return self.nu / (2 * torch.from_numpy(special.gammaincinv(self.nu / 2, u.numpy())))

    def precision(self, e: Tensor) -> Tensor:
        square, d = _square(e, True)
        return (self.nu + d) / (self.nu + square)


def _square(e: Tensor, shared: bool) -> tuple[Tensor, int]:
    """|e|**2 over the coordinates that share A, [B, 1, ...] or as e, and their number."""
    if not shared:
        return e**2, 1
    return (e.flatten(1) ** 2).sum(1).view(-1, *[1] * (e.dim() - 1)), e[0].numel()


def open_interval(u: Tensor) -> Tensor:
    """Uniforms on [0, 1) moved half a step up, without reaching 1: logarithms and Kanter's formula stay finite."""
    return u.mul_(1 - 2.0**-53).add_(2.0**-54)


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
    log_s = torch.sin((1 - a) * angle).div_(waiting).log_().mul_(b)
    log_s += torch.sin(a * angle).log_()
    log_s -= torch.sin(angle).log_().div_(a)
    return log_s.exp_()


def symmetric_stable(alpha: float, u: Tensor, rest: Tensor, v: Tensor) -> Tensor:
    """One standard symmetric alpha-stable value per pair of uniforms u, v in (0, 1); rest = 1 - u. float32, alpha < 2.

    Needs no Gaussian, so it is the fast way where coordinates do not share A. The tail comes from u near 0 and 1; both
    ends come in full relative precision, so that float32 does not truncate it. The arguments are overwritten.

    Source: Chambers, Mallows and Stuck (1976), A method for simulating stable random variables, eq. 2.3.
    """
    cosine = torch.minimum(u, rest).mul_(pi).sin_()
    angle = rest.sub_(u).mul_(pi / 2)
    waiting = v.log_().neg_()
    power = torch.cos((1 - alpha) * angle).div_(waiting).log_().mul_((1 - alpha) / alpha)
    power.sub_(cosine.log_().div_(alpha))
    return power.exp_().mul_(angle.mul_(alpha).sin_())
