"""Guides: what bends a predictor towards a condition while it samples. A guide is a row of ``GUIDES``; a solver names it.

A guide wraps a predictor and is called as one, so that it goes with every noise law, solver, grid and search.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from levy_core.base.conditions import LABEL, Condition

EpsHat = Callable[[Tensor, Tensor, Condition], Tensor]


@dataclass(frozen=True)
class Guide:
    """A guide of the table.

    Attributes:
        wrap: (predictor, strength, what each entry of a condition holds where nothing is asked for) -> predictor.
        evaluations: of the network, per evaluation of the guided predictor.
        follows: the entry of the condition that it follows; samples that ask for nothing there cannot be guided.
    """

    wrap: Callable[[EpsHat, float, Condition], EpsHat]
    evaluations: int
    follows: str | None


@dataclass(frozen=True)
class ClassifierFree:
    """``eps_hat(no class) + strength (eps_hat(class) - eps_hat(no class))``: 0 is no class, 1 the class, more exaggerates it.

    It mixes the velocities of two flows, for every noise law; its samples are not those of a mixture of powers of their
    densities. Source: Ho and Salimans (2022), arXiv 2207.12598, with ``strength = 1 + w``.
    """

    predictor: EpsHat
    strength: float
    absent: Condition

    def __call__(self, y: Tensor, rho: Tensor, cond: Condition) -> Tensor:
        nothing = {**cond, **{name: value.to(y.device).expand_as(cond[name]) for name, value in self.absent.items()}}
        return torch.lerp(self.predictor(y, rho, nothing), self.predictor(y, rho, cond), self.strength)


GUIDES: dict[str, Guide] = {
    "none": Guide(lambda predictor, strength, absent: predictor, evaluations=1, follows=None),
    "classifier-free": Guide(ClassifierFree, evaluations=2, follows=LABEL),
}
