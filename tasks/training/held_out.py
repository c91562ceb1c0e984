"""The loss of samples that nothing is trained on, along a training."""

import hashlib
from math import isnan, nan, prod

import numpy as np
import torch
from torch import nn

from levy_core.base.conditions import PLACE, repeat, rows_of
from levy_core.base.patches import Cover
from levy_core.base.rows import read_rows, thin_rows
from levy_core.base.seeds import generator
from levy_core.nets.latent import Latent
from levy_core.training.batches import sample_shape
from levy_core.training.trainer import Trainer
from tasks.kinds.kind import TrainingData

CURVE = ("loss", "grad_norm", "held_out_loss")  # of a step; the last is NaN but for some
Point = tuple[float, float, float]
SAMPLES, VALUES = 256, 2**24  # that are looked at, and their values in all, at most
SEED = 0
POINTS, FEWEST_STEPS = 20, 50  # losses per training, and steps between two


class HeldOut:
    """Some of the samples that nothing is trained on, spread evenly, as the network sees samples.

    Args:
        cover: patches on them, as many as there would be small samples, at places that are the same at every step; None: whole samples.

    Attributes:
        hash: of them; empty where there are none.
    """

    def __init__(self, training: TrainingData, latent: Latent | None, steps: int, cover: Cover | None = None):
        self._steps, self._every = steps, max(FEWEST_STEPS, steps // POINTS)
        self._samples, self.hash = None, ""
        if training.held_out is None:
            return
        data, cond = training.held_out
        rows = thin_rows(len(data), min(SAMPLES, max(1, VALUES // prod(sample_shape(data)))), 1)
        x0, cond = read_rows(data, rows), rows_of(cond, torch.from_numpy(rows))
        if cover:
            again = SAMPLES // len(rows)
            places = cover.draw(again * len(rows), generator(SEED, "places"))
            x0 = torch.cat([cover.cut(x0, some) for some in places.split(len(rows))])
            cond = repeat(cond, again) | {PLACE: places}
        self._samples = latent.encode(x0) if latent else x0, cond
        self.hash = hashlib.sha256(np.ascontiguousarray(x0.numpy()).tobytes()).hexdigest()

    def loss(self, trainer: Trainer, step: int, curve: list[Point]) -> float:
        """The loss after a step, where one is due and the trainer stands there; else NaN. ``curve``: the steps before."""
        if self._samples is None or step != trainer.step:
            return nan
        before = next((i + 1 for i in reversed(range(len(curve))) if not isnan(curve[i][2])), 0)
        due = step - before >= self._every or step == self._steps
        return trainer.held_out_loss(*self._samples) if due else nan

    def loss_of(self, trainer: Trainer, net: nn.Module) -> float:
        """The loss of a network as training weighs it; NaN where nothing is held out."""
        return nan if self._samples is None else trainer.held_out_loss(*self._samples, net)
