"""Guides: what bends a predictor towards a condition while it samples. A guide is a row of ``GUIDES``; a solver names it.

A guide wraps a predictor and is called as one, so that it goes with every noise law, solver, grid and search.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import torch
from torch import Tensor

from levy_core.base.conditions import LABEL, Condition

EpsHat = Callable[[Tensor, Tensor, Condition], Tensor]


@dataclass(frozen=True)
class Interval:
    """Noise levels at which a guide acts, ``low < rho <= high``. Source: Kynkäänniemi et al. (2024), arXiv 2404.07724."""

    high: float = inf
    low: float = 0.0

    def holds(self, rho: Tensor) -> Tensor:
        """Whether each level lies in it; compared in float32, as a network is told rho, so that counts of evaluations agree."""
        rho = rho.float()
        return (rho > self.low) & (rho <= self.high)


@dataclass(frozen=True)
class Guide:
    """A guide of the table.

    Attributes:
        wrap: (predictor, strength, interval, what each entry of a condition holds where nothing is asked for) -> predictor.
        evaluations: of the network, per evaluation of the guided predictor inside the interval, at a strength; outside it is one.
        follows: the entry of the condition that it follows; samples that ask for nothing there cannot be guided.
    """

    wrap: Callable[[EpsHat, float, Interval, Condition], EpsHat]
    evaluations: Callable[[float], int]
    follows: str | None


@dataclass(frozen=True)
class ClassifierFree:
    """``eps_hat(no class) + strength (eps_hat(class) - eps_hat(no class))``: 0 is no class, 1 the class, more exaggerates it.

    Both come from one call of the predictor, in which the rows inside the interval stand twice. Outside it, the class alone.
    It mixes the velocities of two flows, for every noise law; its samples are not those of a mixture of powers of their
    densities. Source: Ho and Salimans (2022), arXiv 2207.12598, with ``strength = 1 + w``.
    """

    predictor: EpsHat
    strength: float
    interval: Interval
    absent: Condition

    def __call__(self, y: Tensor, rho: Tensor, cond: Condition) -> Tensor:
        if self.strength == 1:
            return self.predictor(y, rho, cond)
        twice = self.interval.holds(rho).nonzero().flatten()
        nothing = {name: values[twice] for name, values in cond.items()}
        nothing |= {name: value.to(y.device).expand_as(nothing[name]) for name, value in self.absent.items()}
        if self.strength == 0:
            return self.predictor(y, rho, {name: cond[name].index_copy(0, twice, nothing[name]) for name in cond})
        both = {name: torch.cat([cond[name], nothing[name]]) for name in cond}
        given, without = self.predictor(
            torch.cat([y, y[twice]]), torch.cat([rho, rho[twice]]), both
        ).split([len(y), len(twice)])  # fmt: skip
        return given.index_copy(0, twice, torch.lerp(without, given[twice], self.strength))

    @staticmethod
    def evaluations(strength: float) -> int:
        """At strengths 0 and 1 one of the two predictions has no weight and is not asked for."""
        return 1 if strength in (0, 1) else 2


GUIDES: dict[str, Guide] = {
    "none": Guide(lambda predictor, strength, interval, absent: predictor, lambda strength: 1, follows=None),
    "classifier-free": Guide(ClassifierFree, ClassifierFree.evaluations, follows=LABEL),
}
