"""Losses between ``eps_hat`` and the noise ``e``: [B, *S] x [B, *S] -> [B]."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from levy_core.errors import LevyError, choose
from levy_core.noise import Noise


@dataclass(frozen=True)
class Loss:
    """A loss per sample and the order of the noise moment that its expectation needs."""

    value: Callable[[Tensor, Tensor], Tensor]
    moment: float


def _mean_over_pixels(elementwise: Tensor) -> Tensor:
    return elementwise.flatten(1).mean(1)


LOSSES = {
    "squared": Loss(lambda eps, e: _mean_over_pixels((eps - e) ** 2), moment=2),
    # smooth L1, the loss of LIM's code: grows linearly, so one large draw of the noise does not own a batch.
    "huber": Loss(lambda eps, e: _mean_over_pixels(F.smooth_l1_loss(eps, e, reduction="none")), moment=1),
    # DLPM (arXiv 2407.18609), the unsquared norm of a sample, per square root of its dimension.
    "l2-norm": Loss(lambda eps, e: torch.sqrt(_mean_over_pixels((eps - e) ** 2) + 1e-12), moment=1),
}


def loss_for(name: str, noise: Noise) -> Loss:
    """The loss called ``name``, if its expectation is finite under ``noise``.

    Raises:
        LevyError: an unknown name, or a loss whose expectation is infinite under the noise law.
    """
    loss = choose("loss", name, LOSSES)
    if loss.moment >= noise.moments:
        finite = [key for key, other in LOSSES.items() if other.moment < noise.moments]
        raise LevyError(
            f"the loss {name!r} has an infinite expectation under {noise}: it needs a moment of order {loss.moment}, "
            f"and only orders below {noise.moments} are finite. Choose one of {', '.join(finite)}"
        )
    return loss
