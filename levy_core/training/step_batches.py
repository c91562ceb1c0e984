"""What one process trains on at each step: its samples as the network is told them, noise levels and noise, all keyed by the step."""

from collections.abc import Sequence

import torch
from torch import Tensor

from levy_core.base.conditions import AUGMENT, LABEL, PLACE, Condition, repeat, rows_of
from levy_core.base.patches import Cover
from levy_core.process.design import Design
from levy_core.training.batches import Data, fill_missing
from levy_core.training.config import TrainConfig
from levy_core.training.drawing import Drawing, draw_noise
from levy_core.training.objective import Batch


class StepBatches:
    """The rows of a process in the batch of each step. What is drawn does not depend on the share.

    Args:
        data, cond, absent: as ``Trainer`` has them. cover: patches of a field, for a network that sees them; None for whole samples.
        repeats: noise levels of a sample (``Objective.repeats``). own_rows: of the batch.

    Attributes:
        fused: whether noise of a device that draws its own is drawn by compiled code.
    """

    def __init__(
        self,
        design: Design,
        config: TrainConfig,
        data: Data,
        cond: Condition,
        absent: Condition,
        cover: Cover | None,
        repeats: int,
        own_rows: slice,
        device: torch.device,
    ):
        self._design, self._config, self._cond, self._absent = design, config, cond, absent
        self._repeats, self._own_rows, self._device = repeats, own_rows, device
        self.cover, self.fused = cover, False
        self.drawing = Drawing(config, len(data), cond, absent, cover)

    def rows(self, step: int) -> Tensor:
        """Which samples they are, int64 [n]."""
        return self.drawing(step).rows[self._own_rows]

    def cut(self, step: int, first: int, x0: Tensor) -> Tensor:
        """Patches of the first and the next of the rows of a step, of whole samples."""
        places = self.drawing(step).places
        assert self.cover
        assert places is not None
        return self.cover.cut(x0, places[self._own_rows][first : first + len(x0)])

    def noise(self, step: int, shape: Sequence[int], fused: bool) -> tuple[Tensor, Tensor | None]:
        """``draw_noise`` of the rows."""
        key, design = (self._config.seed, "noise", step), self._design
        return draw_noise(
            design.noise, shape, key, self._repeats, self._own_rows, design.score_head, self._device, fused
        )

    def batch(self, step: int, x0: Tensor) -> Batch:
        """All of the rows, whose samples are ``x0``, on the CPU but for noise of a device that draws its own."""
        config, own_rows, repeats = self._config, self._own_rows, self._repeats
        drawn = self.drawing(step)
        cond = rows_of(self._cond, drawn.rows)
        if drawn.mirrored is not None:
            x0 = torch.where(drawn.mirrored[own_rows][:, None, None, None], x0.flip(-1), x0)
        if drawn.augment is not None:
            x0 = self.drawing.augmentation.apply(x0, drawn.augment[own_rows])
            cond[AUGMENT] = drawn.augment
        if drawn.places is not None:
            cond[PLACE] = drawn.places
        other = None
        if config.class_balancing > 0:
            other = cond | {LABEL: self._cond[LABEL][self.drawing.other_rows(step)]}
        for name, nothing in self._absent.items():
            for asked in (cond, other) if other else (cond,):
                asked[name][drawn.dropped] = nothing
        rho = self._design.levels.draw(self._design.schedule, config.batch, drawn.rest).float()[own_rows]
        x0, valid = fill_missing(x0)
        own = lambda cond: repeat(rows_of(cond, own_rows), repeats)
        copies = (repeats, *[1] * (x0.dim() - 1))
        e, mixing = self.noise(step, x0.shape[1:], self.fused)
        return Batch(
            x0=x0.repeat(copies),
            rho=rho.repeat(repeats),
            e=e,
            cond=own(cond),
            valid=None if valid is None else valid.repeat(copies),
            other=None if other is None else own(other),
            mixing=mixing,
        )
