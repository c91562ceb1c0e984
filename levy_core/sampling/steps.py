"""Solvers as tables.

A family says how strong the drift is and how much noise comes back; a discretisation turns a grid of noise levels into
weights. Together they make a ``StepTable``, one row per network evaluation, for

    y <- keep * y + sum_j weights[j] * h[j] + noise * e_new

in y = x / a coordinates, where h[0], h[1], ... are the newest predictions: eps_hat or x0_hat = y - rho eps_hat.
A new method is a row of ``FAMILIES`` or ``DISCRETISATIONS``.

Sources: Popov et al., Improved sampling algorithms for Levy-Ito diffusion models (ICLR); Song et al. (2021), DDIM;
Shariatian et al., DLPM (arXiv 2407.18609); Karras et al. (2022), EDM; Lu et al. (2022), DPM-Solver++.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from levy_core.process.schedule import Schedule, rates
from levy_core.sampling.grids import Levels


@dataclass(frozen=True)
class Family:
    """A reverse process ``dX = (mu - kappa sigma**p S) dt + sigma c**(1/p) dL`` for noise of exponent p.

    Args:
        kappa: of (p, eta). strength: c of eta.
        update: for families that are no SDE but a rule from level to level, (drift, noise) of (rho, rho', p, eta).
        ancestral: the coefficients follow from the path's mixing variables, which are drawn first.
        most_eta: the largest eta with a meaning; None where eta is not used.
    """

    kappa: Callable[[float, Tensor], Tensor]
    strength: Callable[[Tensor], Tensor]
    update: Callable[[Tensor, Tensor, float, Tensor], tuple[Tensor, Tensor]] | None = None
    most_eta: float | None = None
    ancestral: bool = False


def _split(up: Tensor, now: Tensor, after: Tensor, p: float) -> tuple[Tensor, Tensor]:
    return (after**p - up**p).clamp(min=0) ** (1 / p) - now, up


def _ddim(now: Tensor, after: Tensor, p: float, eta: Tensor) -> tuple[Tensor, Tensor]:
    return _split(eta * (now**p - after**p) ** (1 / p) * after / now, now, after, p)


def _dlim(now: Tensor, after: Tensor, p: float, eta: Tensor) -> tuple[Tensor, Tensor]:
    return _split(eta * after, now, after, p)


FAMILIES = {
    # LIM's approximate reverse SDE. Exact at p = 2; below, it does not converge to the data: on c * SaS(alpha) data it
    # ends at scale c * (alpha - 1)**(-1 / alpha).
    "sde-a": Family(kappa=lambda p, eta: p + 0 * eta, strength=lambda eta: 1 + 0 * eta),
    # The exact family of the improved-sampling paper: the marginals of the forward process for every eta >= 0.
    "sde-e": Family(kappa=lambda p, eta: 1 + eta, strength=lambda eta: eta, most_eta=inf),
    # The probability flow: sde-e at eta = 0 (DDIM and DLIM at eta 0, EDM's Euler).
    "ode": Family(kappa=lambda p, eta: 1 + 0 * eta, strength=lambda eta: 0 * eta),
    # DDIM's rule at any p: noise eta times the posterior's. As the steps shrink it becomes sde-e(eta**p).
    "split-ddim": Family(lambda p, eta: 1 + eta, lambda eta: eta, update=_ddim, most_eta=1),
    # DLIM's rule: noise eta rho'. It does not shrink with the step, so for eta > 0 it does not converge to the data: on
    # c * SaS(alpha) data many steps end at scale eta c (p (1 - (1 - eta**p)**(1/p)))**(-1/p), at most c.
    "split-dlim": Family(lambda p, eta: 1 + eta, lambda eta: eta, update=_dlim, most_eta=1),
    # DDPM's and DLPM's ancestral sampling: the mixing variables of the whole path are drawn first and the coefficients
    # follow from them. Exact in the limit at p = 2. Below, the network's E[e | y] stands in for
    # E[e | y, A], an error that the large jumps keep alive: DLPM's samples are narrower than the data.
    "posterior": Family(lambda p, eta: 2 + 0 * eta, lambda eta: 1 + 0 * eta, ancestral=True),
}


@dataclass(frozen=True)
class Process:
    """What a discretisation works on: levels, schedule, kappa and c (float64 [n]) of each step; of a fitted table its rows."""

    levels: Levels
    schedule: Schedule
    kappa: Tensor
    strength: Tensor
    rows: tuple[tuple[float, ...], ...] = ()

    @property
    def p(self) -> float:
        return self.schedule.exponent

    @property
    def ends(self) -> tuple[Tensor, Tensor]:
        """rho before and after each step."""
        return self.levels.rho[:-1], self.levels.rho[1:]

    @property
    def exact_noise(self) -> Tensor:
        """The scale of the noise that comes back over a step where y itself is not contracted."""
        now, after = self.ends
        return (self.strength * (now**self.p - after**self.p)) ** (1 / self.p)


@dataclass(frozen=True)
class Weights:
    """Of each row: level evaluated [rows + 1] (the last is where sampling ends), keep, weights [rows, m], noise [rows]."""

    rho: Tensor
    keep: Tensor
    weights: Tensor
    noise: Tensor


def euler_maruyama(process: Process) -> Weights:
    """Euler-Maruyama in t on x: ``x' = (1 - h a'/a) x - kappa h a rho_t eps + a (c p rho**(p-1) rho_t h)**(1/p) e``.

    For scale-preserving schedules this is the ``(1 + beta h / p) x - ...`` of the papers.
    """
    t, (now, _) = process.levels.t, process.ends
    signal, signal_after = process.schedule.signal(t[:-1]), process.schedule.signal(t[1:])
    signal_rate, ratio_rate = rates(process.schedule, t[:-1])
    h = t[:-1] - t[1:]
    gain = signal / signal_after
    return Weights(
        rho=process.levels.rho,
        keep=(1 - h * signal_rate) * gain,
        weights=(-process.kappa * h * ratio_rate * gain)[:, None],
        noise=(process.strength * process.p * now ** (process.p - 1) * ratio_rate * h) ** (1 / process.p) * gain,
    )


NODES, NODE_WEIGHTS = np.polynomial.legendre.leggauss(24)


def _quadrature(f: Callable[[np.ndarray], np.ndarray], start: float, end: float) -> float:
    half = (end - start) / 2
    return half * float(NODE_WEIGHTS @ f(start + half * (NODES + 1)))


def ei_score(process: Process) -> Weights:
    """Exponential integrator with the score of x frozen over a step (LIM's own): exact in the linear part of the SDE.

    drift = ``-kappa / p gamma**(1-p) int a**(p-1) d(rho**p)``, by quadrature in log(1 + rho**p).
    """
    p, now = process.p, process.ends[0]
    w = torch.log1p(process.levels.rho**p).tolist()

    def integrand(u: np.ndarray) -> np.ndarray:
        rho = torch.from_numpy(np.expm1(u) ** (1 / p))
        return process.schedule.signal_at(rho).numpy() ** (p - 1) * np.exp(u)

    mass = torch.tensor([_quadrature(integrand, b, a) for a, b in pairwise(w)], dtype=torch.float64)
    frozen = process.schedule.scale(process.levels.t[:-1]) ** (1 - p)
    return Weights(
        rho=process.levels.rho,
        keep=torch.ones_like(now),
        weights=(-process.kappa / p * frozen * mass)[:, None],
        noise=process.exact_noise,
    )


AMPLIFICATION = 5.0


def _multistep(kernel: Callable[[np.ndarray], np.ndarray], nodes: list[float], start: float, end: float) -> list[float]:
    """Weights of predictions at ``nodes`` (newest first): integrals of kernel times the Lagrange polynomials.

    Old nodes are left out while the weights would amplify errors more than fivefold, as on a step many times longer than
    the one before (the last of a grid uniform in t); order 3 on equal steps amplifies 3.7 times.
    """

    def basis(j: int, points: list[float]) -> Callable[[np.ndarray], np.ndarray]:
        others = [x for i, x in enumerate(points) if i != j]
        return lambda u: kernel(u) * np.prod([(u - x) / (points[j] - x) for x in others], axis=0)

    for count in range(len(nodes), 0, -1):
        points = nodes[:count]
        weights = [_quadrature(basis(j, points), start, end) for j in range(count)]
        if sum(map(abs, weights)) <= AMPLIFICATION * abs(sum(weights)):
            break
    return weights


def noise_prediction(process: Process, order: int) -> Weights:
    """Exponential integrator with eps_hat a polynomial in rho through the last ``order`` evaluations.

    Order 1, the noise frozen, is exact when eps_hat is constant; with the ODE it is DDIM. Order 2 is Adams-Bashforth.
    """
    rho = process.levels.rho.tolist()
    weights = torch.zeros(len(rho) - 1, order, dtype=torch.float64)
    for k in range(len(rho) - 1):
        nodes = [rho[k - j] for j in range(min(order, k + 1))]
        row = _multistep(np.ones_like, nodes, rho[k], rho[k + 1])
        weights[k, : len(row)] = process.kappa[k] * torch.tensor(row, dtype=torch.float64)
    return Weights(process.levels.rho, torch.ones_like(process.kappa), weights, process.exact_noise)


def data_prediction(process: Process, order: int) -> Weights:
    """Exponential integrator with x0_hat a polynomial in lambda = -log rho through the last ``order`` evaluations.

    Exact when x0_hat is constant. ODE: ``y' = r y + rho' int exp(lambda) x0_hat d lambda``, r = rho' / rho; SDE: r**kappa
    and noise ``rho' (c (1 - r**(p (kappa - 1))) / (kappa - 1))**(1/p)``: DPM-Solver++ and its SDE form at p = 2.
    A step to rho = 0 takes the newest x0_hat. Interpolation is exact, so order 3 is third order; the published 3M
    halves its quadratic term.
    """
    p, rho, kappa = process.p, process.levels.rho, process.kappa
    now, after = process.ends
    shrink = after / now
    weights = torch.zeros(len(kappa), order, dtype=torch.float64)
    for k in range(len(kappa)):
        if after[k] == 0:
            weights[k, 0] = 1
            continue
        nodes = [-float(torch.log(rho[k - j] / rho[k])) for j in range(min(order, k + 1))]
        h, strength = -float(torch.log(shrink[k])), float(kappa[k])

        def kernel(u: np.ndarray, h: float = h, strength: float = strength) -> np.ndarray:
            return strength * np.exp(-strength * (h - u))

        row = _multistep(kernel, nodes, 0.0, h)
        weights[k, : len(row)] = torch.tensor(row, dtype=torch.float64)
    excess = (kappa - 1).clamp(min=1e-300)
    spread = -torch.expm1(p * excess * torch.log(shrink)) / excess
    noise = torch.where(process.strength > 0, after * (process.strength * spread) ** (1 / p), 0.0)
    return Weights(rho, shrink**kappa, weights, noise)


def heun(process: Process) -> Weights:
    """Heun's method in rho (EDM's sampler): an Euler row, then a row that corrects it at the level reached.

    The correction ``y + h/2 (eps' - eps)`` needs the two newest predictions only. There is none at rho = 0.
    """
    rho, (now, after) = process.levels.rho, process.ends
    rows: list[tuple[float, list[float]]] = []
    for a, b in zip(now.tolist(), after.tolist(), strict=True):
        rows.append((a, [b - a, 0.0]))
        if b > 0:
            rows.append((b, [(b - a) / 2, (a - b) / 2]))
    levels = torch.tensor([level for level, _ in rows] + [float(rho[-1])], dtype=torch.float64)
    weights = torch.tensor([w for _, w in rows], dtype=torch.float64)
    return Weights(levels, torch.ones(len(rows)).double(), weights, torch.zeros(len(rows)).double())


def fitted(process: Process) -> Weights:
    """The rows of a table that was fitted to a model (``fitting``): level, keep, and the weights of x0_hat, newest first."""
    width = max(len(row) for row in process.rows) - 2
    weights = [[*row[2:], *[0.0] * (width + 2 - len(row))] for row in process.rows]
    keep = torch.tensor([row[1] for row in process.rows], dtype=torch.float64)
    return Weights(process.levels.rho, keep, torch.tensor(weights, dtype=torch.float64), torch.zeros_like(keep))


@dataclass(frozen=True)
class Discretisation:
    """How a family becomes rows.

    Args:
        predicts: what the rows weigh: eps_hat ("noise") or x0_hat ("data").
        order: of convergence on the ODE; None: its rows are fitted to a model at one number of steps.
        evaluations: rows per step.
    """

    weights: Callable[[Process], Weights]
    predicts: Literal["noise", "data"]
    order: int | None
    evaluations: int = 1


DISCRETISATIONS = {
    "euler-maruyama": Discretisation(euler_maruyama, "noise", order=1),
    "ei-score": Discretisation(ei_score, "noise", order=1),
    "ei-noise": Discretisation(lambda process: noise_prediction(process, 1), "noise", order=1),
    "ei-data": Discretisation(lambda process: data_prediction(process, 1), "data", order=1),
    "2m-noise": Discretisation(lambda process: noise_prediction(process, 2), "noise", order=2),
    "2m-data": Discretisation(lambda process: data_prediction(process, 2), "data", order=2),
    "3m-data": Discretisation(lambda process: data_prediction(process, 3), "data", order=3),
    "heun": Discretisation(heun, "noise", order=2, evaluations=2),
    "fitted": Discretisation(fitted, "data", order=None),
}


def discretisations_of(family: str) -> list[str]:
    """The discretisations that a family can be combined with."""
    return [name for name in DISCRETISATIONS if fits(family, name)]


def fits(family: str, discretisation: str) -> bool:
    """Whether the two can be combined: rules from level to level freeze the noise, Heun's corrector is the ODE's, and so is what is fitted."""
    if FAMILIES[family].update or FAMILIES[family].ancestral:
        return discretisation == "ei-noise"
    return family == "ode" or discretisation not in ("heun", "fitted")
