"""The second head's term: the ordinary score, grad log p_rho(y), beside eps_hat."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from levy_core.base.conditions import Condition
from levy_core.process.loss import mean_over_pixels
from levy_core.process.parametrisation import broadcast
from levy_core.training.objective import Batch, Extended

PredictBoth = Callable[[Tensor, Tensor, Condition], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class WithScore(Extended):
    """Another objective, and the squared error of the second head: ``|rho score + e / A|**2``, a mean over the values of a sample.

    Its minimiser is ``score = -E[e / A | y] / rho`` under every law, and e / A = z / sqrt(A) has all moments. The first head
    is trained by the other objective alone. ``predict`` returns eps_hat and the score, and the batch has ``mixing``.
    Source: denoising score matching, Vincent (2011), given A.
    """

    def __call__(self, predict: PredictBoth, batch: Batch) -> Tensor:
        scores = []

        def eps_hat(y: Tensor, rho: Tensor, cond: Condition) -> Tensor:
            found, score = predict(y, rho, cond)
            if cond is batch.cond:  # not what the other objective may ask beside it, of other conditions
                scores.append(score)
            return found

        loss = self.objective(eps_hat, batch)
        assert batch.mixing is not None
        error = (broadcast(batch.rho, batch.e) * scores[0] + batch.e / batch.mixing) ** 2
        return loss + mean_over_pixels(error, batch.valid).view(self.repeats, -1).mean(0)
