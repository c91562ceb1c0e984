"""What a training step minimises: ``objective(predictor, batch) -> loss of each sample, [B]``.

The trainer draws the batch, steps and averages, whatever the objective: a student of another model, or a second head of the
network, is an objective and not another trainer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from levy_core.base.conditions import Condition
from levy_core.base.devices import send
from levy_core.process.design import Design
from levy_core.process.loss import LEVEL_WEIGHTS
from levy_core.process.parametrisation import broadcast
from levy_core.training.levels import LevelSizes

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
        mixing: A of ``e = sqrt(A) z``, with sides of 1 where coordinates share it; None: nobody asked for it.
    """

    x0: Tensor
    rho: Tensor
    e: Tensor
    cond: Condition
    valid: Tensor | None
    other: Condition | None = None
    mixing: Tensor | None = None

    @property
    def y(self) -> Tensor:
        """What the network sees: ``x0 + rho e``."""
        return self.x0 + broadcast(self.rho, self.e) * self.e

    def split(self, parts: int, repeats: int) -> list["Batch"]:
        """Its samples in so many parts of about equal size, each with all its draws of the noise."""
        if parts == 1:
            return [self]
        n = len(self.x0) // repeats
        slices = [slice(n * i // parts, n * (i + 1) // parts) for i in range(parts)]
        return [
            self._each(lambda t, own=own: t.unflatten(0, (repeats, n))[:, own].flatten(0, 1))  # type: ignore[misc]
            for own in slices
        ]

    def to(self, device: torch.device) -> "Batch":
        """All of it on a device; a GPU copies while the processor goes on."""
        return self._each(lambda t: send(t, device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        entries = lambda cond: None if cond is None else {name: change(values) for name, values in cond.items()}
        tensors = lambda t: None if t is None else change(t)
        cond = {name: change(values) for name, values in self.cond.items()}
        return Batch(
            change(self.x0), change(self.rho), change(self.e), cond, tensors(self.valid), entries(self.other), tensors(self.mixing)
        )  # fmt: skip


class Objective(Protocol):
    """An objective of training. One that learns of the batches keeps what it learns: the methods beside the call are its own."""

    @property
    def repeats(self) -> int:
        """Draws of the noise per sample."""

    def __call__(self, predict: Callable[..., Any], batch: Batch) -> Tensor:
        """The loss of each sample, [B], of the network seen as ``eps_hat(y, rho, cond)``."""

    def sums(self) -> Tensor:
        """What the samples of the last call add to the state, float32 [K] on their device: those of all processes add up."""
        return torch.empty(0)

    def learn(self, sums: Tensor) -> None:
        """Takes in the sums of the whole batch, after the step."""

    def state(self) -> dict[str, Tensor]:
        """What was learnt, as flat tensors."""
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Goes on from ``state()``."""


class NoiseResidual(Objective):
    """A design's own objective: its loss of the residual ``eps_hat - e``, over a power of the size of its level so far."""

    def __init__(self, design: Design):
        self.design = design
        self.power = LEVEL_WEIGHTS[design.loss.level_weight]
        self.levels = LevelSizes(design.schedule) if self.power else None
        self._sums = torch.empty(0)

    @property
    def repeats(self) -> int:
        return self.design.loss.repeats

    def __call__(self, predict: Predict, batch: Batch) -> Tensor:
        y, design = batch.y, self.design
        eps_hat = predict(y, batch.rho, batch.cond)
        loss = design.loss(eps_hat, batch.e, y, batch.rho, design.units, design.noise, batch.valid)
        if self.levels is None:
            return loss
        rho = batch.rho[: len(loss)]
        self._sums = self.levels.sums(rho, loss.detach())
        return loss / self.levels.size(rho) ** self.power

    def sums(self) -> Tensor:
        return self._sums

    def learn(self, sums: Tensor) -> None:
        if self.levels is not None:
            self.levels.learn(sums)

    def state(self) -> dict[str, Tensor]:
        return {} if self.levels is None else self.levels.state()

    def restore(self, state: dict[str, Tensor]) -> None:
        if self.levels is not None:
            self.levels.restore(state)


@dataclass(frozen=True)
class Extended(Objective):
    """Another objective and a term beside it; what is learnt of the batches is the other's."""

    objective: Objective

    @property
    def repeats(self) -> int:
        return self.objective.repeats

    def sums(self) -> Tensor:
        return self.objective.sums()

    def learn(self, sums: Tensor) -> None:
        self.objective.learn(sums)

    def state(self) -> dict[str, Tensor]:
        return self.objective.state()

    def restore(self, state: dict[str, Tensor]) -> None:
        self.objective.restore(state)
