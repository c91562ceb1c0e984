"""The class-balancing term: predictions for different classes at one noisy sample draw near.

Source: Qin et al. (2023), Class-Balancing Diffusion Models (arXiv 2305.00562), eq. 6 and 7.
"""

from dataclasses import dataclass

from torch import Tensor

from levy_core.base.conditions import Condition
from levy_core.process.design import Design
from levy_core.process.loss import LOSSES, TAIL_WEIGHTS, WEIGHTS
from levy_core.process.parametrisation import broadcast
from levy_core.training.objective import Batch, Extended, Predict

COMMITMENT = 0.25  # gamma of the paper


@dataclass(frozen=True)
class ClassBalancing(Extended):
    """Another objective and, for rows with a class c, with a class c' drawn for each (``batch.other``), sg a constant for the gradient:

        strength t [ l(eps(y, c) - sg eps(y, c')) + l(sg eps(y, c) - eps(y, c')) / 4 ]

    t = rho / (1 + rho), the time of straight paths, in place of the paper's step of its schedule over their number: it serves
    every schedule. l is the squared error, as in the paper, with the design's weights of rho and y; smooth L1 where neither the
    law has a second moment nor the weight of y bounds the square: predictions grow with |y| at most linearly, as networks
    do, so l needs no moment that the law lacks.
    A row without its class has c' = c, and adds nothing.

    Costs a second prediction, with its gradient, per step.

    Args:
        objective: the first prediction that it asks for must be the batch's. strength: tau times the paper's number of
            steps, which is 1 there.
    """

    design: Design
    strength: float

    def __call__(self, predict: Predict, batch: Batch) -> Tensor:
        predictions: list[Tensor] = []

        def keep(y: Tensor, rho: Tensor, cond: Condition) -> Tensor:
            predictions.append(predict(y, rho, cond))
            return predictions[-1]

        assert batch.other is not None
        loss = self.objective(keep, batch)
        own, other = predictions[0], predict(batch.y, batch.rho, batch.other)
        time = batch.rho / (1 + batch.rho)
        attraction = self._distance(own, other.detach(), batch)
        commitment = self._distance(other, own.detach(), batch)
        term = time * (attraction + COMMITMENT * commitment)
        return loss + self.strength * term.view(self.repeats, -1).mean(0)

    def _distance(self, one: Tensor, other: Tensor, batch: Batch) -> Tensor:
        """[repeats * B]."""
        design, tail = self.design, TAIL_WEIGHTS[self.design.loss.tail_weight]
        weight = WEIGHTS[design.loss.weight](batch.rho, design.units, design.noise, one[0].numel())
        loss = LOSSES["squared" if design.noise.moments > 2 - tail.order else "huber"]
        bounded = tail.value(batch.y, batch.rho, design.units, batch.valid)
        return bounded * loss.value(broadcast(weight, one) * (one - other), batch.valid)
