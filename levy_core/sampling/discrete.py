"""Noise levels of a model that was trained at discrete timesteps: betas, as every scheduler of diffusers has them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import inf

import numpy as np
import torch
from torch import Tensor

from levy_core.base import torchvision_ops  # noqa: F401  (before diffusers)
from levy_core.base.errors import LevyError
from levy_core.process.schedule import signal_at

from diffusers import DDIMScheduler  # isort: skip


def _from_velocity(x: Tensor, out: Tensor, a: float, gamma: float) -> tuple[Tensor, Tensor]:
    norm = a**2 + gamma**2  # 1 at alpha 2 only
    return (a * x - gamma * out) / norm, (a * out + gamma * x) / norm


# (x, network output, a, gamma) -> (x0_hat, eps_hat)
PREDICTIONS: dict[str, Callable[[Tensor, Tensor, float, float], tuple[Tensor, Tensor]]] = {
    "epsilon": lambda x, out, a, gamma: ((x - gamma * out) / a, out),
    "sample": lambda x, out, a, gamma: (out, (x - a * out) / gamma),
    "v_prediction": _from_velocity,
}
RHO_OF_NO_SIGNAL = 1e8  # stands for the infinite rho of zero terminal SNR: what it errs by, 1e-8, float32 does not show


class ArgumentError(LevyError, ValueError):
    """Arguments that the schedulers of diffusers refuse with a ValueError, too."""


@dataclass(frozen=True)
class DiscreteLevels:
    """``x_t = a x_0 + gamma e`` at timesteps 0 to T - 1, ``a = acp**(1/p)``, ``gamma = (1 - acp)**(1/p)``, ``rho = gamma / a``.

    Args:
        betas: float32 [T]; acp is the cumulated product of 1 - beta. A beta of 1 leaves no signal (zero terminal SNR).
        exponent: p of the noise law.
        ends_clean: sampling ends at clean data, rho = 0, and not at timestep 0.

    Raises:
        LevyError: there is none; the first beta is outside (0, 1]. Later ones are refused where their levels are used.
    """

    betas: Tensor
    exponent: float
    ends_clean: bool = True

    def __post_init__(self) -> None:
        if not len(self):
            raise LevyError("there are no betas: give one or more")
        if self._first_bad == 0:
            raise LevyError(f"betas begin with {self.betas[0]:g}: give values in (0, 1]")

    def __len__(self) -> int:
        return len(self.betas)

    @cached_property
    def _first_bad(self) -> int:
        kept = 1 - self.betas
        bad = torch.nonzero(~((kept >= 0) & (kept < 1))).flatten().tolist()
        return bad[0] if bad else len(self)

    @cached_property
    def rho(self) -> Tensor:
        """rho of each timestep, float64 [T]; NaN from a beta outside (0, 1] on."""
        acp = torch.cumprod(1 - self.betas, 0).double()
        rho = ((1 - acp) / acp).clamp(min=0) ** (1 / self.exponent)
        rho[self._first_bad :] = torch.nan
        return rho.clamp(max=RHO_OF_NO_SIGNAL)

    @property
    def end(self) -> float:
        """rho where sampling ends."""
        return 0.0 if self.ends_clean else float(self.rho[0])

    def below(self, t: float, steps: int) -> float:
        """rho at so many timesteps below t, in the end ``end``."""
        return float(self._between(torch.tensor(t - steps).double())) if t >= steps else self.end

    def _between(self, t: Tensor) -> Tensor:
        low, high = self.rho[t.floor().long()], self.rho[t.ceil().long()]
        return torch.where(t == t.floor(), low, torch.exp(torch.lerp(low.log(), high.log(), t - t.floor())))

    def rho_at(self, timesteps: Tensor) -> Tensor:
        """rho at timesteps of any shape, float64 on the CPU; between two timesteps log rho is linear.

        Raises:
            LevyError: a timestep that was not trained (-1 is none), or one of a beta that is none.
        """
        t = timesteps.detach().cpu().double()
        if not ((t >= 0) & (t <= len(self) - 1)).all():
            wrong = float(t[~((t >= 0) & (t <= len(self) - 1))].flatten()[0])
            raise LevyError(f"timestep {wrong:g} is none of the trained ones: give 0 to {len(self) - 1}")
        rho = self._between(t)
        if rho.isnan().any():
            bad, beta = self._first_bad, self.betas[self._first_bad]
            raise LevyError(f"beta {bad} is {beta:g}, so timestep {t.max():g} has no noise level: give betas in (0, 1]")
        return rho

    def signal(self, rho: float) -> float:
        """a at rho."""
        return float(signal_at(torch.tensor(rho, dtype=torch.float64), self.exponent))

    def coefficients(self, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        """(a, gamma) at timesteps, as ``rho_at``."""
        rho = self.rho_at(timesteps)
        signal = signal_at(rho, self.exponent)
        return signal, rho * signal

    def predict(self, kind: str, x: Tensor, out: Tensor, rho: float) -> tuple[Tensor, Tensor]:
        """(x0_hat, eps_hat) of a network that returned ``out`` at x.

        Raises:
            LevyError: it predicts noise where there is no signal.
        """
        if rho == RHO_OF_NO_SIGNAL and kind == "epsilon":
            raise LevyError(
                "at zero terminal SNR x is noise alone, so that epsilon says nothing of the data: train with prediction_type "
                "v_prediction or sample, or begin at an earlier timestep"
            )
        signal = self.signal(rho)
        return PREDICTIONS[kind](x, out, signal, rho * signal)

    def chosen(self, original: DDIMScheduler, steps: int | None, timesteps: Sequence[int] | None) -> list[int]:
        """Timesteps of one's own, or those of DDIMScheduler for a number of steps.

        Raises:
            ArgumentError: timesteps that do not fall or were not trained; a number of steps that is not whole; fewer than one step, more than were trained, or an
                offset that leads past the last one.
        """
        most = len(self) - 1
        if timesteps is not None:
            times = [int(t) for t in timesteps]
            for i, (t, whole) in enumerate(zip(timesteps, times, strict=True)):
                if t != whole:
                    raise ArgumentError(
                        f"timesteps[{i}] is {t}, between two that were trained: give whole numbers, or sigmas"
                    )
            for i, (now, after) in enumerate(pairwise(times)):
                if after >= now:
                    wrong = f"timesteps[{i}] is {now} and timesteps[{i + 1}] is {after}"
                    raise ArgumentError(f"timesteps must fall, but {wrong}")
            if not times or times[-1] < 0 or times[0] > most:
                ends = f"run from {times[0]} to {times[-1]}" if times else "are none"
                raise ArgumentError(f"timesteps {ends}: give some from {most} down to 0")
            return times
        if steps is None or not 1 <= steps <= len(self) or steps != int(steps):
            raise ArgumentError(f"{steps} inference steps of {len(self)} trained ones: give 1 to {len(self)}")
        original.set_timesteps(steps)
        # rounding in np.arange gives diffusers' "trailing" a superfluous -1 for some numbers of steps
        times = [t for t in original.timesteps.tolist() if t >= 0]
        if times[0] > most:
            raise ArgumentError(f"steps_offset leads to timestep {times[0]}, past {most}: take fewer steps")
        return times

    def times_of(self, sigmas: Sequence[float]) -> list[float]:
        """The time at which the network is asked at each of n + 1 levels of one's own but the last, where sampling ends.

        float32 [n]; the inverse of ``rho_at``, and the nearest end outside.

        Raises:
            ArgumentError: fewer than two, or levels that do not fall to 0 or above.
        """
        if len(sigmas) < 2 or not all(0 <= after < now < inf for now, after in pairwise(sigmas)):
            given = ", ".join(f"{sigma:g}" for sigma in sigmas)
            raise ArgumentError(
                f"sigmas are {given}: give at least two that fall, the last, where sampling ends, 0 or above"
            )
        known = self.rho[: self._first_bad].log().numpy()
        times = np.interp(np.log(np.asarray(sigmas[:-1], dtype=float)), known, np.arange(len(known)))
        return torch.tensor(times, dtype=torch.float32).tolist()


@dataclass(frozen=True)
class Visits:
    """What a sampling loop visits: n times, rho at them and, last, where it ends, [n + 1], and rho after each step, [n].

    Args:
        repeats: steps at the first time that come before.
    """

    times: list[float]
    rho: list[float]
    after: list[float]
    repeats: int = 0

    @property
    def timesteps(self) -> list[float]:
        """One for each step, the repeated first: [repeats + n]."""
        return [*self.times[:1] * self.repeats, *self.times]

    @property
    def sigmas(self) -> Tensor:
        """rho of each step and of the end, float32 [repeats + n + 1]."""
        return torch.tensor([*self.rho[:1] * self.repeats, *self.rho], dtype=torch.float32)

    def ends(self, position: int) -> tuple[float, float]:
        """rho before and after a step."""
        k = max(position - self.repeats, 0)
        return self.rho[k], self.after[k]

    def position(self, t: float, expected: int | None) -> int | None:
        """The step of time t: ``expected``, if it is that one's; None where t is not visited."""
        places = [i for i, time in enumerate(self.timesteps) if time == t]
        if not places or expected in places:
            return expected if places else None
        begins = expected is None or expected >= len(self.timesteps)
        return places[0 if begins else -1]  # of the two equal ones, the first only begins a loop
