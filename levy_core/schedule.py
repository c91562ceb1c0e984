"""Noise schedules in float64: ``x_t = a(t) x_0 + gamma(t) e``, ``rho = gamma / a``, ``y = x / a = x_0 + rho e``."""

from dataclasses import dataclass
from math import cos, log, pi
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cosine:
    """The cosine schedule of LIM, scale-preserving: ``gamma**p = 1 - a**p``.

    ``a(t) = cos((t + s) / (1 + s) pi / 2) / cos(s / (1 + s) pi / 2)``; with p = 2 it is DDPM's cosine schedule.
    All functions map float64 tensors of any shape, t in [t_min, t_max].

    Source: Yoon et al. (2023), Score-based generative models with Levy processes, section 4; Nichol and Dhariwal (2021).
    """

    exponent: float
    offset: ClassVar[float] = 0.008
    t_min: ClassVar[float] = 1e-5
    t_max: ClassVar[float] = 0.9946

    def _angle(self, t: Tensor) -> Tensor:
        return (t.double() + self.offset) / (1 + self.offset) * (pi / 2)

    @property
    def _log_cos_zero(self) -> float:
        return log(cos(self.offset / (1 + self.offset) * pi / 2))

    def signal(self, t: Tensor) -> Tensor:
        """a(t), falling from 1."""
        return torch.exp(torch.log(torch.cos(self._angle(t))) - self._log_cos_zero)

    def scale(self, t: Tensor) -> Tensor:
        """gamma(t), rising to 1. expm1 keeps the small values near t = 0 exact."""
        log_signal = torch.log(torch.cos(self._angle(t))) - self._log_cos_zero
        return (-torch.expm1(self.exponent * log_signal)) ** (1 / self.exponent)

    def ratio(self, t: Tensor) -> Tensor:
        """rho(t) = gamma / a, rising."""
        return self.scale(t) / self.signal(t)

    def rate(self, t: Tensor) -> Tensor:
        """beta(t) = -p d log a / dt."""
        return self.exponent * torch.tan(self._angle(t)) * (pi / 2) / (1 + self.offset)

    def time(self, rho: Tensor) -> Tensor:
        """The inverse of ``ratio``."""
        cosine = torch.exp(torch.log(signal_at(rho, self.exponent)) + self._log_cos_zero)
        return torch.acos(cosine) * (2 / pi) * (1 + self.offset) - self.offset


def signal_at(rho: Tensor, exponent: float) -> Tensor:
    """a as a function of rho for scale-preserving schedules, ``(1 + rho**p)**(-1/p)``; any shape and dtype."""
    return torch.exp(-torch.log1p(rho**exponent) / exponent)


def uniform_t(schedule: Cosine, steps: int) -> Tensor:
    """Times of the grid uniform in t, float64 [steps + 1], falling from t_max to t_min."""
    return torch.linspace(schedule.t_max, schedule.t_min, steps + 1, dtype=torch.float64)


def uniform_log_rho(schedule: Cosine, steps: int) -> Tensor:
    """Times of the grid uniform in log rho, float64 [steps + 1], falling."""
    ends = schedule.ratio(torch.tensor([schedule.t_max, schedule.t_min], dtype=torch.float64)).log()
    return schedule.time(torch.linspace(ends[0].item(), ends[1].item(), steps + 1, dtype=torch.float64).exp())


SCHEDULES = {"cosine": Cosine}
GRIDS = {"uniform-t": uniform_t, "uniform-log-rho": uniform_log_rho}
