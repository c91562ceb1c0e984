"""How large the residual of each noise level is, by a running mean over training."""

from math import log

import torch
from torch import Tensor

from levy_core.process.schedule import Schedule

BINS = 32
DECAY = 0.99  # per step, so that about 100 steps are remembered
PRIOR = 1.0  # samples that a bin is given of the mean over all levels


class LevelSizes:
    """Running means of a loss in bins over log rho, each value shared by hat functions between its two neighbours.

    A weight that is to keep the minimiser of a loss may depend on the level and on what was known before the draw of e, not
    on e itself: a step takes its sizes from the steps before it, and is added to them afterwards.

    Args:
        schedule: its two ends are the outermost bins; levels beyond count as theirs.

    Attributes:
        loss, count: decayed sums of the losses and of the number of samples, float32 [BINS]. steps: taken so far.
    """

    def __init__(self, schedule: Schedule):
        ends = torch.tensor([schedule.t_min, schedule.t_max], dtype=torch.float64)
        low, high = (log(rho) for rho in schedule.ratio(ends).tolist())
        self.low, self.width = low, (high - low) / (BINS - 1)
        self.loss, self.count, self.steps = torch.zeros(BINS), torch.zeros(BINS), torch.tensor(0)

    def _hats(self, rho: Tensor) -> Tensor:
        """How much of each level belongs to each bin, [B, BINS]; rows sum to 1."""
        at = ((rho.log() - self.low) / self.width).clamp(0, BINS - 1)
        return (1 - (at[:, None] - torch.arange(BINS, device=rho.device)).abs()).clamp(min=0)

    def size(self, rho: Tensor) -> Tensor:
        """Root of the mean loss at levels rho [B], over the steps learnt so far, [B]; 1 before the first.

        Bins are shrunk towards the mean over all levels, so that one without samples has a size, too.
        """
        loss, count = self.loss.to(rho.device), self.count.to(rho.device)
        if not self.steps:
            return torch.ones_like(rho)
        mean = (loss + PRIOR * loss.sum() / count.sum()) / (count + PRIOR)
        return (self._hats(rho) * mean).sum(1).clamp(min=1e-12).sqrt()

    def sums(self, rho: Tensor, loss: Tensor) -> Tensor:
        """What samples of levels rho [B] and losses [B] add, float32 [2 * BINS]: those of parts of a batch add up."""
        hats = self._hats(rho)
        return torch.cat([(hats * loss[:, None]).sum(0), hats.sum(0)])

    def learn(self, sums: Tensor) -> None:
        """Adds the sums of a whole batch. The decay warms up, so that the first steps of a network are soon forgotten."""
        step = int(self.steps)
        decay = min(DECAY, (1 + step) / (10 + step))
        loss, count = sums.chunk(2)
        self.loss = decay * self.loss.to(sums.device) + loss
        self.count = decay * self.count.to(sums.device) + count
        self.steps = self.steps + 1

    def state(self) -> dict[str, Tensor]:
        return {"levels.loss": self.loss, "levels.count": self.count, "levels.steps": self.steps}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Goes on from ``state()``."""
        self.loss, self.count, self.steps = state["levels.loss"], state["levels.count"], state["levels.steps"]
