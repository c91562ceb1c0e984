"""Which samples a training step takes, and which of them without their class."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from levy_core.base.conditions import LABEL, Condition
from levy_core.base.errors import LevyError
from levy_core.base.seeds import generator
from levy_core.training.augmentation import draw_shifts

if TYPE_CHECKING:
    from levy_core.training.trainer import TrainConfig


class BalancedRows:
    """Draws rows so that class c, of n_c samples, has a probability proportional to ``n_c**(1 - balance)``; within a class
    all samples are equally likely. So each sample of class c weighs ``n_c**(-balance)``.

    Args:
        labels: int64 [N], from 0. balance: 0 draws as the samples are, 1 every class equally often.
    """

    def __init__(self, labels: Tensor, balance: float):
        # Powers by Python and a sum in order: the same bits on every processor.
        weights = torch.tensor([max(n, 1) ** -balance for n in labels.bincount().tolist()], dtype=torch.float64)
        self._cumulative = weights[labels].cumsum(0)

    def draw(self, size: int, g: torch.Generator) -> Tensor:
        """int64 [size]."""
        u = torch.rand(size, generator=g, dtype=torch.float64)
        return torch.searchsorted(self._cumulative, u * self._cumulative[-1], right=True)


@dataclass(frozen=True)
class Drawn:
    """What decides a batch beside its noise.

    Attributes:
        rows: of the samples, int64 [B]. mirrored: bool [B]; None: no sample is. dropped: trained without their class, bool [B].
        shifts: pixels, int64 [B, 2]; None: no sample is shifted.
        rest: draws what is left.
    """

    rows: Tensor
    mirrored: Tensor | None
    dropped: Tensor
    shifts: Tensor | None
    rest: torch.Generator


class Drawing:
    """The draws of every step for the whole batch, keyed by (seed, step): equal in every process, and in every repetition.

    Rows that lose their class are drawn as the samples are, at every step, because without a class the network learns the
    proportions of the classes. Rows with their class are drawn by ``BalancedRows`` in the balanced phase, the last
    ``config.balance_phase`` of the steps (at least one), and as the samples are before.

    Args:
        n: number of samples. cond, absent: as for ``Trainer``.

    Raises:
        LevyError: classes are to be balanced, and a sample has none.
    """

    def __init__(self, config: "TrainConfig", n: int, cond: Condition, absent: Condition):
        self.config, self.n = config, n
        self.first_balanced = config.steps - max(1, round(config.balance_phase * config.steps))
        self._balanced = None
        for key in ("balance", "class_balancing"):
            value = getattr(config, key)
            if value > 0 and (LABEL not in cond or (LABEL in absent and bool((cond[LABEL] == absent[LABEL]).any()))):
                raise LevyError(
                    f"train.{key} is {value:g}, but there are samples without a class: "
                    f"set train.{key} to 0, or bring data with classes"
                )
        if config.balance > 0:
            self._balanced = BalancedRows(cond[LABEL], config.balance)

    def __call__(self, step: int) -> Drawn:
        """The draws of a step, which is counted from 0."""
        config, g = self.config, generator(self.config.seed, "batch", step)
        rows = torch.randint(self.n, (config.batch,), generator=g)
        mirrored = torch.rand(config.batch, generator=g) < 0.5 if config.flip else None
        dropped = torch.rand(config.batch, generator=g) < config.label_dropout
        if self._balanced is not None and step >= self.first_balanced:
            rows = torch.where(dropped, rows, self._labelled_rows(step, "balance"))
        shifts = draw_shifts(config.batch, config.crop, config.seed, step) if config.crop else None
        return Drawn(rows, mirrored, dropped, shifts, g)

    def other_rows(self, step: int) -> Tensor:
        """Further rows, drawn as those with their class are, int64 [B]: their classes are compared with those of the batch."""
        return self._labelled_rows(step, "other")

    def _labelled_rows(self, step: int, purpose: str) -> Tensor:
        g = generator(self.config.seed, purpose, step)
        if self._balanced is not None and step >= self.first_balanced:
            return self._balanced.draw(self.config.batch, g)
        return torch.randint(self.n, (self.config.batch,), generator=g)
