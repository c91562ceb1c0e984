"""Probabilities of rare events, from systems of steered particles.

An event is that a number m(x0) exceeds a threshold u. Particles are steered by ``h = exp(strength min(m - u, 0))``, which is bounded,
so that its mean exists under heavy tails, too, and leaves particles that are in the event alike. The strength is found by pilot
systems, each steered a little more than the one before, as in multilevel splitting; the systems that are estimated from share no random
number with them, so that the probability is without bias, and their spread is its error.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import exp

import numpy as np
import torch
from torch import Tensor

from levy_core.base.errors import LevyError
from levy_core.base.pareto import FEWEST
from levy_core.base.seeds import generator
from levy_core.sampling.particles import effective_share
from levy_core.sampling.steering import Potential, Steered

Measure = Callable[[Tensor, Tensor], Tensor]
FLOOR = -500.0  # of log h: h stays positive wherever a particle may be
PILOTS = 15
ENOUGH, WANTED = 0.2, 0.4  # share of steered particles in the event
KEPT = 0.2  # effective share of a pilot's particles under the next one's strength
SHARE = 0.9  # of the intervals
BELOW = 2  # thresholds of a table below that of the event


@dataclass(frozen=True)
class Excess:
    """log h, float64 [n], of a measure float64 [n]; strength in 1 over its units."""

    measure: Measure
    threshold: float
    strength: float

    def __call__(self, x0: Tensor, start: Tensor) -> Tensor:
        if self.strength == 0:  # of a value without end, 0 times the excess would be NaN
            return torch.zeros(len(x0), dtype=torch.float64)
        short = (self.measure(x0, start) - self.threshold).clamp(max=0)
        return (self.strength * short).clamp(min=FLOOR)


@dataclass(frozen=True)
class Estimate:
    """Probability of an event, its interval, and how many independent samples in the event would tell as much: the effective sample
    size of the particles at the start, each with the weight of all that come from it."""

    probability: float
    low: float
    high: float
    effective: float


@dataclass(frozen=True, eq=False)
class Ensemble:
    """R systems of n particles: the measure of each, float64 [R, n], its log weight (``Steered``) and its particle at the start."""

    values: Tensor
    log_weights: Tensor
    start: Tensor

    def exceedance(self, threshold: float) -> Estimate:
        """P(m > threshold), without bias, and its interval of ``SHARE`` by the spread over the systems, on the scale of logarithms.

        Thresholds are compared within one set of weights: a higher one is never more probable.
        """
        weights = self.log_weights.exp() * (self.values > threshold)
        each = weights.mean(1)
        mean = float(each.mean())
        if mean == 0:
            return Estimate(0.0, 0.0, 0.0, 0.0)
        lines = torch.zeros_like(weights).scatter_add_(1, self.start, weights)
        effective = float(weights.sum() ** 2 / (lines**2).sum())
        return Estimate(min(1.0, mean), *_interval(each, mean), effective)

    def thresholds(self, threshold: float, count: int = 9) -> list[float]:
        """Evenly spaced thresholds about that of the event, with it: from ``BELOW`` steps below it, since far below few particles carry the
        weight and intervals hold less often than they say, to the highest of which ``FEWEST`` effective samples are left."""
        above = self.values[self.values > threshold].sort().values
        reached = [float(above[int(share * (len(above) - 1))]) for share in np.linspace(0, 1, 21)]
        enough = lambda level: self.exceedance(level).effective >= FEWEST
        step = (max(filter(enough, reached), default=threshold) - threshold) / (count - 1 - BELOW)
        if not (np.isfinite(step) and step > 0):
            return [threshold]
        digit = 10.0 ** (np.floor(np.log10(step)) - 1)
        step = float(np.floor(step / digit) * digit)  # of two digits, for people
        spaced = [float(f"{threshold + k * step:.10g}") for k in range(-BELOW, count - BELOW) if k]
        return sorted([threshold, *filter(enough, spaced)])

    def choose(self, threshold: float, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """(system, particle), int64 [n] each: n different particles in the event, as their weights say, as few as can be of one start.

        Raises:
            LevyError: fewer particles are in the event.
        """
        weights = (self.log_weights.exp() * (self.values > threshold)).flatten()
        found = int((weights > 0).sum())
        if found < n:
            raise LevyError(
                f"{n} members of the event are asked for, but {found} of {len(weights)} particles are in it: ask for fewer, or for more particles"
            )
        size = self.values.shape[1]
        lines = (torch.arange(len(self.values))[:, None] * size + self.start).flatten()
        # Neighbours are of one start, and the places that choose lie far apart.
        order = torch.argsort(lines, stable=True)
        chosen = order[_choose_evenly(weights[order], n, generator(seed, "members"))]
        return chosen // size, chosen % size


def _interval(each: Tensor, mean: float) -> tuple[float, float]:
    from scipy.stats import t

    systems = len(each)
    relative = float(each.std()) / mean / systems**0.5
    reach = float(t.ppf((1 + SHARE) / 2, systems - 1)) * relative
    return mean * exp(-reach), min(1.0, mean * exp(reach))


def _choose_evenly(weights: Tensor, n: int, g: torch.Generator) -> Tensor:
    """n different places of weights [m], at most n of them 0: each with probability n w, at most 1, by one uniform (Madow 1949)."""
    share = n * weights / weights.sum()
    while bool((share > 1).any()):  # what is chosen for sure leaves the rest to the others
        sure = share >= 1
        rest = weights * ~sure
        share = torch.where(
            sure, 1.0, (n - int(sure.sum())) * rest / rest.sum().clamp(min=torch.finfo(rest.dtype).tiny)
        )
    edges = share.cumsum(0) / share.sum() * n
    places = torch.arange(n, dtype=torch.float64) + torch.rand(1, generator=g, dtype=torch.float64)
    return torch.searchsorted(edges, places, right=True).clamp(max=len(weights) - 1)


def find_strength(draw: Callable[[Potential, int], Steered], measure: Measure, threshold: float) -> tuple[float, int]:
    """The strength at which about half the particles end in the event, and how many pilots found it; 0 where the event is not rare.

    Args:
        draw: a pilot of a potential and its number, of random numbers of its own.

    Raises:
        LevyError: no strength gets there.
    """
    strength = 0.0
    for number in range(PILOTS):
        pilot = draw(Excess(measure, threshold, strength), number)
        values = measure(pilot.samples, pilot.start)
        steered = pilot.log_weights + pilot.log_h
        reached = float((torch.softmax(steered, 0) * (values > threshold)).sum())
        if reached >= ENOUGH:
            return strength, number + 1
        strength += _more(steered, (threshold - values).clamp(min=0), values > threshold)
    raise LevyError(
        f"{PILOTS} pilots, each steered more than the one before, do not reach the event, which may be impossible for this model: take a less "
        "extreme threshold, or more particles or steps"
    )


def _more(log_w: Tensor, short: Tensor, inside: Tensor) -> float:
    """How much the strength may rise: until ``KEPT`` of the particles carry the weight, or ``WANTED`` of it is in the event."""
    known = short[(short > 0) & short.isfinite()]
    scale = float(known.std()) if len(known) > 1 else 1.0
    now, found = effective_share(log_w), 0.0
    for rise in np.geomspace(0.01, 100, 81) / (scale or 1.0):
        raised = log_w + (-float(rise) * short).clamp(min=FLOOR)
        share = float((torch.softmax(raised, 0) * inside).sum())
        if effective_share(raised) < KEPT * now or share > WANTED:
            break
        found = float(rise)
    return found


def check_effective(estimate: Estimate, particles: int) -> None:
    """Refuses a probability that rests on too little.

    Raises:
        LevyError: the effective sample size is below ``FEWEST``.
    """
    if estimate.effective < FEWEST:
        raise LevyError(
            f"the probability would rest on the equivalent of {estimate.effective:.1f} independent samples of {particles} particles, and at least "
            f"{FEWEST} are needed: raise the particles or the steps, or take a less extreme threshold"
        )
