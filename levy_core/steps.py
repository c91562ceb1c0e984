"""Solvers as tables.

A solver family says how strong the drift is and how much noise comes back; a discretisation turns a grid of times into
per-step weights. Together they make a ``StepTable`` for

    y <- keep * y + drift * eps_hat(y, rho) + noise * e_new

in y = x / a coordinates. A new method is a row of ``FAMILIES`` or ``DISCRETISATIONS``.

Source: Popov et al., Improved sampling algorithms for Levy-Ito diffusion models (ICLR).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from levy_core.errors import LevyError, choose
from levy_core.schedule import GRIDS, Cosine


@dataclass(frozen=True)
class Family:
    """A reverse process ``dX = (mu - kappa sigma**p S) dt + sigma eta**(1/p) dL`` for noise of exponent p."""

    kappa: Callable[[float, float], float]
    noise: Callable[[float], float]
    uses_eta: bool = False


FAMILIES = {
    # LIM's approximate reverse SDE. Exact at p = 2; below, it does not converge to the data: on c * SaS(alpha) data it
    # ends at scale c * (alpha - 1)**(-1 / alpha).
    "sde-a": Family(kappa=lambda p, eta: p, noise=lambda eta: 1.0),
    # The exact family of the improved-sampling paper: the marginals of the forward process for every eta >= 0.
    "sde-e": Family(kappa=lambda p, eta: 1 + eta, noise=lambda eta: eta, uses_eta=True),
    # The probability flow: sde-e at eta = 0 (DDIM at p = 2).
    "ode": Family(kappa=lambda p, eta: 1.0, noise=lambda eta: 0.0),
}


@dataclass(frozen=True)
class Weights:
    """Per step: keep, the drift at kappa = 1 and the noise at eta = 1; float64 [n]."""

    keep: Tensor
    drift: Tensor
    noise: Tensor


def euler_maruyama(schedule: Cosine, t: Tensor) -> Weights:
    """Euler-Maruyama in t: ``x' = (1 + beta h / p) x - kappa (beta h / p) gamma**(1-p) eps + (eta beta h)**(1/p) e``."""
    p, now, after = schedule.exponent, t[:-1], t[1:]
    growth = schedule.rate(now) * (now - after) / p
    a_after = schedule.signal(after)
    return Weights(
        keep=(1 + growth) * schedule.signal(now) / a_after,
        drift=-growth * schedule.scale(now) ** (1 - p) / a_after,
        noise=(p * growth) ** (1 / p) / a_after,
    )


def ei_score(schedule: Cosine, t: Tensor) -> Weights:
    """Exponential integrator with the score frozen over a step (LIM's own): exact in the linear part of the SDE."""
    p, now, after = schedule.exponent, t[:-1], t[1:]
    a_after = schedule.signal(after)
    gain = a_after / schedule.signal(now)
    return Weights(
        keep=torch.ones_like(gain),
        drift=-(gain - 1) * schedule.scale(now) ** (1 - p) / a_after,
        noise=(gain**p - 1) ** (1 / p) / a_after,
    )


def ei_noise(schedule: Cosine, t: Tensor) -> Weights:
    """Exponential integrator with the noise frozen: exact when eps_hat is constant; with the ODE it is DDIM."""
    p, rho = schedule.exponent, schedule.ratio(t)
    return Weights(
        keep=torch.ones_like(rho[1:]),
        drift=rho[1:] - rho[:-1],
        noise=(rho[:-1] ** p - rho[1:] ** p) ** (1 / p),
    )


DISCRETISATIONS = {"euler-maruyama": euler_maruyama, "ei-score": ei_score, "ei-noise": ei_noise}


@dataclass(frozen=True)
class Solver:
    """A sampler setting: family x discretisation x grid x steps x eta. Its ``label`` is how tables and plots name it.

    Raises:
        LevyError: an unknown name, fewer than one step, or a negative or non-finite eta.
    """

    family: str
    discretisation: str
    grid: str
    steps: int
    eta: float = 0.0

    def __post_init__(self) -> None:
        choose("solver", self.family, FAMILIES)
        choose("discretisation", self.discretisation, DISCRETISATIONS)
        choose("grid", self.grid, GRIDS)
        if self.steps < 1:
            raise LevyError(f"steps is {self.steps}, but a sampler takes at least 1 step")
        if not 0 <= self.eta < float("inf"):
            raise LevyError(f"eta is {self.eta}, but must be a finite number of at least 0")
        if not self.uses_eta:
            object.__setattr__(self, "eta", 0.0)  # so that equal samplers compare and hash equal

    @property
    def uses_eta(self) -> bool:
        """Whether eta changes this solver."""
        return FAMILIES[self.family].uses_eta

    @property
    def label(self) -> str:
        """For example ``SDE-E(0.5) ei-noise``."""
        family = self.family.upper() + (f"({self.eta:g})" if self.uses_eta else "")
        return f"{family} {self.discretisation}"


@dataclass(frozen=True)
class StepTable:
    """What a solver does, step by step: rho [n + 1] falling, keep, drift and noise [n], float64."""

    rho: Tensor
    keep: Tensor
    drift: Tensor
    noise: Tensor

    @property
    def nfe(self) -> int:
        """Network evaluations per sample."""
        return len(self.keep)


def tabulate(solver: Solver, schedule: Cosine) -> StepTable:
    """The table of a solver on a schedule."""
    p, family = schedule.exponent, FAMILIES[solver.family]
    t = GRIDS[solver.grid](schedule, solver.steps)
    weights = DISCRETISATIONS[solver.discretisation](schedule, t)
    return StepTable(
        rho=schedule.ratio(t),
        keep=weights.keep,
        drift=family.kappa(p, solver.eta) * weights.drift,
        noise=family.noise(solver.eta) ** (1 / p) * weights.noise,
    )
