"""What a training step minimises: ``objective(predictor, batch) -> loss of each sample, [B]``.

The trainer draws the batch, steps and averages, whatever the objective: a student of another model, or a second head of the
network, is an objective and not another trainer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from levy_core.base.conditions import Condition
from levy_core.process.design import Design
from levy_core.process.parametrisation import broadcast

Predict = Callable[[Tensor, Tensor, Condition], Tensor]


@dataclass(frozen=True)
class Batch:
    """This process's rows of a batch, each with ``repeats`` draws of the noise (the batch repeated as a whole), on its device.

    Attributes:
        x0: float32 [repeats * B, *S]; missing values are 0. rho: noise levels [repeats * B]. e: noise, as x0.
        cond: the condition, [repeats * B, ...] per entry.
        valid: which values were there, bool as x0; None: all.
        other: as cond, with another class, drawn as those of rows with a class are; equal to cond in rows without their class.
            None: nobody asked for it.
    """

    x0: Tensor
    rho: Tensor
    e: Tensor
    cond: Condition
    valid: Tensor | None
    other: Condition | None = None

    @property
    def y(self) -> Tensor:
        """What the network sees: ``x0 + rho e``."""
        return self.x0 + broadcast(self.rho, self.e) * self.e


class Objective(Protocol):
    """An objective of training."""

    @property
    def repeats(self) -> int:
        """Draws of the noise per sample."""

    def __call__(self, predict: Predict, batch: Batch) -> Tensor:
        """The loss of each sample, [B], of the network seen as ``eps_hat(y, rho, cond)``."""


@dataclass(frozen=True)
class NoiseResidual:
    """A design's own objective: its loss of the residual ``eps_hat - e``."""

    design: Design

    @property
    def repeats(self) -> int:
        return self.design.loss.repeats

    def __call__(self, predict: Predict, batch: Batch) -> Tensor:
        eps_hat, design = predict(batch.y, batch.rho, batch.cond), self.design
        return design.loss(eps_hat, batch.e, batch.rho, design.units, design.noise, batch.valid)
