"""What a training step minimises: ``objective(predictor, batch) -> loss of each sample, [B]``.

The trainer draws the batch, steps and averages, whatever the objective: a student of another model, or a second head of the
network, is an objective and not another trainer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from torch import Tensor

from levy_core.base.conditions import Condition
from levy_core.process.design import Design
from levy_core.process.loss import mean_over_pixels
from levy_core.process.parametrisation import broadcast

Predict = Callable[[Tensor, Tensor, Condition], Tensor]
PredictBoth = Callable[[Tensor, Tensor, Condition], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Batch:
    """This process's rows of a batch, each with ``repeats`` draws of the noise (the batch repeated as a whole), on its device.

    Attributes:
        x0: float32 [repeats * B, *S]; missing values are 0. rho: noise levels [repeats * B]. e: noise, as x0.
        cond: the condition, [repeats * B, ...] per entry.
        valid: which values were there, bool as x0; None: all.
        mixing: A of ``e = sqrt(A) z``, with sides of 1 where coordinates share it; None: the objective does not ask.
    """

    x0: Tensor
    rho: Tensor
    e: Tensor
    cond: Condition
    valid: Tensor | None
    mixing: Tensor | None = None

    @property
    def y(self) -> Tensor:
        """What the network sees: ``x0 + rho e``."""
        return self.x0 + broadcast(self.rho, self.e) * self.e


class Objective(Protocol):
    """An objective of training.

    One with a true ``score_head`` gets a batch with ``mixing``, and a ``predict`` that returns eps_hat and the score.
    """

    @property
    def repeats(self) -> int:
        """Draws of the noise per sample."""

    def __call__(self, predict: Callable[..., Any], batch: Batch) -> Tensor:
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


@dataclass(frozen=True)
class WithScore:
    """Another objective, and the squared error of the second head: ``|rho score + e / A|**2``, a mean over the values of a sample.

    Its minimiser is ``score = -E[e / A | y] / rho`` under every law, and e / A = z / sqrt(A) has all moments. The first head
    is trained by the other objective alone. Source: denoising score matching, Vincent (2011), given A.
    """

    inner: Objective
    score_head: ClassVar[bool] = True

    @property
    def repeats(self) -> int:
        return self.inner.repeats

    def __call__(self, predict: PredictBoth, batch: Batch) -> Tensor:
        scores = []

        def eps_hat(y: Tensor, rho: Tensor, cond: Condition) -> Tensor:
            found, score = predict(y, rho, cond)
            if cond is batch.cond:  # not what the other objective may ask beside it, of other conditions
                scores.append(score)
            return found

        loss = self.inner(eps_hat, batch)
        assert batch.mixing is not None
        error = (broadcast(batch.rho, batch.e) * scores[0] + batch.e / batch.mixing) ** 2
        return loss + mean_over_pixels(error, batch.valid).view(self.repeats, -1).mean(0)


def objective_of(design: Design) -> Objective:
    """A design's own objective."""
    own = NoiseResidual(design)
    return WithScore(own) if design.score_head else own
