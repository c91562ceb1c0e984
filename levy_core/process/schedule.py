"""Noise schedules in float64: ``x_t = a(t) x_0 + gamma(t) e``, ``rho = gamma / a``, ``y = x / a = x_0 + rho e``.

A schedule is a(t) and rho(t); all else follows. Functions map float64 tensors of any shape, t in [t_min, t_max].
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import cos, inf, log, pi
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from levy_core.base.errors import LevyError


class Schedule(Protocol):
    """A path from data (t_min) to noise (t_max)."""

    @property
    def exponent(self) -> float:
        """p of the noise law."""
        ...

    @property
    def t_min(self) -> float:
        """Where sampling ends."""
        ...

    @property
    def t_max(self) -> float:
        """Where sampling starts."""
        ...

    def signal(self, t: Tensor) -> Tensor:
        """a(t), falling from 1."""
        ...

    def ratio(self, t: Tensor) -> Tensor:
        """rho(t) = gamma / a, rising."""
        ...

    def time(self, rho: Tensor) -> Tensor:
        """The inverse of ``ratio``; rho = 0 gives the time of clean data."""
        ...

    def signal_at(self, rho: Tensor) -> Tensor:
        """a as a function of rho, any dtype."""
        ...

    def scale(self, t: Tensor) -> Tensor:
        """gamma(t), rising."""
        ...


def rates(schedule: Schedule, t: Tensor) -> tuple[Tensor, Tensor]:
    """(d log a / dt, d rho / dt) at t, by automatic differentiation: one source of truth for every schedule."""
    with torch.inference_mode(False), torch.enable_grad():
        t = t.clone().requires_grad_()
        signal = torch.log(schedule.signal(t)) + 0 * t  # where a is constant, it does not depend on t
        ratio = schedule.ratio(t)
        return torch.autograd.grad(signal.sum(), t)[0], torch.autograd.grad(ratio.sum(), t)[0]


def signal_at(rho: Tensor, exponent: float) -> Tensor:
    """a as a function of rho for scale-preserving schedules, ``(1 + rho**p)**(-1/p)``; any shape and dtype."""
    return torch.exp(-torch.log1p(rho**exponent) / exponent)


class ScalePreserving(ABC):
    """Schedules with ``a**p + gamma**p = 1``: they differ in log a(t) and its inverse only."""

    exponent: float

    @abstractmethod
    def log_signal(self, t: Tensor) -> Tensor:
        """log a(t)."""

    @abstractmethod
    def time_of(self, log_signal: Tensor) -> Tensor:
        """t at which log a takes the given value."""

    def signal(self, t: Tensor) -> Tensor:
        return torch.exp(self.log_signal(t))

    def ratio(self, t: Tensor) -> Tensor:
        """``(a**-p - 1)**(1/p)``; expm1 keeps the small values near t = 0 exact."""
        return torch.expm1(-self.exponent * self.log_signal(t)) ** (1 / self.exponent)

    def scale(self, t: Tensor) -> Tensor:
        return (-torch.expm1(self.exponent * self.log_signal(t))) ** (1 / self.exponent)

    def time(self, rho: Tensor) -> Tensor:
        return self.time_of(-torch.log1p(rho.double() ** self.exponent) / self.exponent)

    def signal_at(self, rho: Tensor) -> Tensor:
        return signal_at(rho, self.exponent)


@dataclass(frozen=True)
class Cosine(ScalePreserving):
    """LIM's cosine: ``a(t) = cos((t + s) / (1 + s) pi / 2) / cos(s / (1 + s) pi / 2)``; DDPM's at p = 2.

    Source: Yoon et al. (2023), Score-based generative models with Levy processes, section 4; Nichol and Dhariwal (2021).
    """

    exponent: float
    offset: ClassVar[float] = 0.008
    t_min: ClassVar[float] = 1e-5
    t_max: ClassVar[float] = 0.9946

    @property
    def power(self) -> float:
        """a is this power of the cosine."""
        return 1.0

    @property
    def _log_cos_zero(self) -> float:
        return log(cos(self.offset / (1 + self.offset) * pi / 2))

    def log_signal(self, t: Tensor) -> Tensor:
        angle = (t.double() + self.offset) / (1 + self.offset) * (pi / 2)
        return self.power * (torch.log(torch.cos(angle)) - self._log_cos_zero)

    def time_of(self, log_signal: Tensor) -> Tensor:
        cosine = torch.exp(log_signal / self.power + self._log_cos_zero)
        return torch.acos(cosine) * (2 / pi) * (1 + self.offset) - self.offset


@dataclass(frozen=True)
class DlpmCosine(Cosine):
    """DLPM's cosine: LIM's to the power 2 / alpha, so that ``a**alpha`` is DDPM's cumulated product at every alpha.

    Source: Shariatian et al., Denoising Levy probabilistic models (arXiv 2407.18609).
    """

    @property
    def power(self) -> float:
        return 2 / self.exponent


@dataclass(frozen=True)
class Linear(ScalePreserving):
    """beta(t) rises linearly: ``log a = -(beta_min t + (beta_max - beta_min) t**2 / 2) / p``.

    Source: Yoon et al. (2023), section 4; Song et al. (2021) at p = 2.

    Raises:
        LevyError: not 0 < beta_min < beta_max.
    """

    exponent: float
    beta_min: float = 0.1
    beta_max: float = 20.0
    t_min: ClassVar[float] = 1e-5
    t_max: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        _check_rising("beta_min", self.beta_min, "beta_max", self.beta_max)

    def log_signal(self, t: Tensor) -> Tensor:
        t = t.double()
        return -(self.beta_min * t + (self.beta_max - self.beta_min) * t**2 / 2) / self.exponent

    def time_of(self, log_signal: Tensor) -> Tensor:
        """The root of the quadratic, in the form that keeps small t exact."""
        total = -self.exponent * log_signal
        slope = self.beta_max - self.beta_min
        return 2 * total / (self.beta_min + torch.sqrt(self.beta_min**2 + 2 * slope * total))


@dataclass(frozen=True)
class Exploding:
    """a = 1, rho = t = sigma. Source: Karras et al. (2022); t-EDM (arXiv 2410.14171).

    Raises:
        LevyError: not 0 < sigma_min < sigma_max.
    """

    exponent: float
    sigma_min: float = 0.002
    sigma_max: float = 80.0

    def __post_init__(self) -> None:
        _check_rising("sigma_min", self.sigma_min, "sigma_max", self.sigma_max)

    @property
    def t_min(self) -> float:
        return self.sigma_min

    @property
    def t_max(self) -> float:
        return self.sigma_max

    def signal(self, t: Tensor) -> Tensor:
        return torch.ones_like(t)

    def ratio(self, t: Tensor) -> Tensor:
        return t.double()

    def time(self, rho: Tensor) -> Tensor:
        return rho.double()

    def scale(self, t: Tensor) -> Tensor:
        return t.double()

    def signal_at(self, rho: Tensor) -> Tensor:
        return torch.ones_like(rho)


@dataclass(frozen=True)
class Flow:
    """Straight paths, ``x_t = (1 - t) x_0 + t e``, from t_max just below 1, where rho is still finite.

    Source: Lipman et al. (2023), Flow matching; t-Flow (arXiv 2410.14171).
    """

    exponent: float
    t_min: ClassVar[float] = 1e-3
    t_max: ClassVar[float] = 0.999

    def signal(self, t: Tensor) -> Tensor:
        return 1 - t.double()

    def ratio(self, t: Tensor) -> Tensor:
        return t.double() / (1 - t.double())

    def time(self, rho: Tensor) -> Tensor:
        return rho.double() / (1 + rho.double())

    def scale(self, t: Tensor) -> Tensor:
        return t.double()

    def signal_at(self, rho: Tensor) -> Tensor:
        return 1 / (1 + rho)


def _check_rising(low_name: str, low: float, high_name: str, high: float) -> None:
    if not 0 < low < high < inf:
        raise LevyError(f"{low_name} is {low} and {high_name} {high}, but 0 < {low_name} < {high_name} must hold")


SCHEDULES = {"cosine": Cosine, "dlpm-cosine": DlpmCosine, "linear": Linear, "exploding": Exploding, "flow": Flow}
