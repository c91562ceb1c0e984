"""Losses on the residual of the noise, ``w(rho) (eps_hat - e)``: pointwise loss x weight x median of means."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from levy_core.base.errors import LevyError, choose
from levy_core.process.noise import Noise, StudentT
from levy_core.process.parametrisation import Units, broadcast, out_scale


@dataclass(frozen=True)
class Loss:
    """A loss of the residual, [B, *S] -> [B], and the order of the noise moment that its expectation needs.

    The second argument says which values count, bool [B, *S]; None: all.
    """

    value: Callable[[Tensor, Tensor | None], Tensor]
    moment: float


def mean_over_pixels(elementwise: Tensor, valid: Tensor | None) -> Tensor:
    """[B, *S] -> [B], over the values that count alone."""
    if valid is None:
        return elementwise.flatten(1).mean(1)
    return elementwise.where(valid, 0).flatten(1).sum(1) / valid.flatten(1).sum(1).clamp(min=1)


LOSSES = {
    "squared": Loss(lambda r, valid: mean_over_pixels(r**2, valid), moment=2),
    # smooth L1, the loss of LIM's code: grows linearly, so one large draw of the noise does not own a batch.
    "huber": Loss(
        lambda r, valid: mean_over_pixels(F.smooth_l1_loss(r, torch.zeros_like(r), reduction="none"), valid), moment=1
    ),
    # DLPM (arXiv 2407.18609), the unsquared norm of a sample, per square root of its dimension.
    "l2-norm": Loss(lambda r, valid: torch.sqrt(mean_over_pixels(r**2, valid) + 1e-12), moment=1),
}


def gamma_power(rho: Tensor, units: Units, noise: Noise, dim: int) -> Tensor:
    """The weight of the gamma-power divergence between two Student-t laws of scale rho whose means are x_0 and D.

    For equal scales s, degrees of freedom k and dimension d, and gamma = -2 / (k + d), the divergence is
    ``const * s**(-2 - d gamma / (1 + gamma)) |mean difference|**2``: a squared error of the denoiser with this weight.
    The law is the denoising posterior's, k = nu + d with scale proportional to rho (arXiv 2410.14171, section 3). Here
    per unit of eps_hat: the root of the weight, times rho, which is ``rho**(d / (nu + 2 d - 2))``: from the plain noise
    weight (nu large) halfway to the unweighted error of x_0 (d large).

    Raises:
        LevyError: a noise law other than Student-t.
    """
    if not isinstance(noise, StudentT):
        raise LevyError(f"the weight gamma-power belongs to Student-t noise, not to {noise}: choose another weight")
    degrees = noise.nu + dim
    gamma = -2 / (degrees + dim)
    return rho ** (-dim * gamma / (1 + gamma) / 2)


# Weights of the residual of eps_hat, functions of (rho [B], units, noise, dimension of a sample).
WEIGHTS: dict[str, Callable[[Tensor, Units, Noise, int], Tensor]] = {
    "noise": lambda rho, units, noise, dim: torch.ones_like(rho),
    # 1 / c_out of the denoiser's residual rho (e - eps_hat): unit weight of EDM's network output at every level.
    "edm": lambda rho, units, noise, dim: rho / out_scale(rho, units),
    "data": lambda rho, units, noise, dim: rho,  # the error of x_0
    "velocity": lambda rho, units, noise, dim: 1 + rho,  # the error of v = e - x_0
    "gamma-power": gamma_power,
}


@dataclass(frozen=True)
class ResidualLoss:
    """A loss of the residual of the noise.

    Args:
        loss, weight: keys of ``LOSSES`` and ``WEIGHTS``.
        groups, draws: noise is drawn ``groups * draws`` times per sample; means over the draws of a group, then the median
            over groups (DLPM's median of means). 1, 1: the plain loss.
        allow_infinite: train although the expectation is infinite.

    Raises:
        LevyError: an unknown name, an even or too small number of groups, or an infinite expectation.
    """

    loss: str
    weight: str = "noise"
    groups: int = 1
    draws: int = 1
    allow_infinite: bool = False

    def check(self, noise: Noise) -> None:
        """Refuses a loss whose expectation is infinite under ``noise``.

        The median of G independent values is finite in mean if half of them, (G + 1) / 2, may be large together.
        """
        choose("loss", self.loss, LOSSES)
        choose("weight", self.weight, WEIGHTS)
        if self.groups < 1 or self.draws < 1 or self.groups % 2 == 0:
            raise LevyError(f"groups is {self.groups} and draws {self.draws}: both must be at least 1, groups odd")
        WEIGHTS[self.weight](torch.ones(1), Units.of(noise, 0.5), noise, 1)  # refuses a law that it does not know
        finite = noise.moments * (self.groups + 1) / 2
        if LOSSES[self.loss].moment >= finite and not self.allow_infinite:
            others = [key for key, other in LOSSES.items() if other.moment < finite]
            raise LevyError(
                f"the loss {self.loss!r} has an infinite expectation under {noise}: it needs a moment of order "
                f"{LOSSES[self.loss].moment}, and only orders below {finite:g} are finite. Choose one of {', '.join(others)}, "
                "a median over groups of draws (groups: 3), or set allow_infinite: true"
            )

    @property
    def repeats(self) -> int:
        """Noise draws per sample."""
        return self.groups * self.draws

    def __call__(
        self, eps_hat: Tensor, e: Tensor, rho: Tensor, units: Units, noise: Noise, valid: Tensor | None = None
    ) -> Tensor:
        """Loss per sample, [B]: eps_hat and e are [repeats * B, *S] (the batch repeated as a whole), rho [repeats * B].

        With ``valid``, bool [repeats * B, *S], the mean over a sample is taken over its valid values alone.
        """
        weight = WEIGHTS[self.weight](rho, units, noise, e[0].numel())
        each = LOSSES[self.loss].value(broadcast(weight, e) * (eps_hat - e), valid)
        if self.repeats == 1:
            return each
        return each.view(self.groups, self.draws, -1).mean(1).median(0).values
