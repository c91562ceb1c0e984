"""Losses on the residual of the noise, ``w(rho) (eps_hat - e)``: pointwise loss x weights x median of means.

The ODE that a solver follows is that of the conditional mean ``E[e | y]``. The squared error is minimised by it, and remains so
under every weight that is a function of what the network sees, (y, rho), and of what was known before the draw of e. Other
losses, and a median over draws, are minimised by something else where the law of e given y is not symmetric: where modes
compete, by something nearer to the majority.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from levy_core.base.errors import LevyError, choose
from levy_core.process.noise import Noise, StudentT
from levy_core.process.parametrisation import Units, broadcast, in_scale, out_scale

Minimiser = Literal["mean", "between", "median"]
_LEANS = (
    "which leans to the majority where classes compete, so that rare ones get lost; squared error without groups has the "
    "mean, for heavy noise in the presets lim, dlpm and dlim"
)
MINIMISERS: dict[Minimiser, str] = {  # for people
    "mean": "the conditional mean",
    "between": "something between the conditional mean and a median",
    "median": "the spatial median",
}


def explain_minimiser(minimiser: Minimiser) -> str:
    """What a loss is minimised by, and what follows from it where that is not the mean."""
    name = MINIMISERS[minimiser]
    return name if minimiser == "mean" else f"{name}, {_LEANS}"


@dataclass(frozen=True)
class Loss:
    """A loss of the residual, [B, *S] -> [B], and the order of the noise moment that its expectation needs.

    The second argument says which values count, bool [B, *S]; None: all. ``minimiser`` is the function of y that minimises the
    expectation: the mean of e given y, its spatial median, or something between the two.
    """

    value: Callable[[Tensor, Tensor | None], Tensor]
    moment: float
    minimiser: Minimiser


def mean_over_pixels(elementwise: Tensor, valid: Tensor | None) -> Tensor:
    """[B, *S] -> [B], over the values that count alone."""
    if valid is None:
        return elementwise.flatten(1).mean(1)
    return elementwise.where(valid, 0).flatten(1).sum(1) / valid.flatten(1).sum(1).clamp(min=1)


LOSSES = {
    "squared": Loss(lambda r, valid: mean_over_pixels(r**2, valid), moment=2, minimiser="mean"),
    # smooth L1, the loss of LIM's code: grows linearly, so one large draw of the noise does not own a batch.
    "huber": Loss(
        lambda r, valid: mean_over_pixels(F.smooth_l1_loss(r, torch.zeros_like(r), reduction="none"), valid),
        moment=1,
        minimiser="between",
    ),
    # DLPM (arXiv 2407.18609), the unsquared norm of a sample, per square root of its dimension.
    "l2-norm": Loss(lambda r, valid: torch.sqrt(mean_over_pixels(r**2, valid) + 1e-12), moment=1, minimiser="median"),
}


@dataclass(frozen=True)
class TailWeight:
    """A weight of the loss of a sample, a function of (y [B, *S], rho [B], units, valid) -> [B]; it falls as |y|**-order."""

    value: Callable[[Tensor, Tensor, Units, Tensor | None], Tensor]
    order: float


def cauchy(y: Tensor, rho: Tensor, units: Units, valid: Tensor | None) -> Tensor:
    """``1 / (1 + mean(y**2) / s**2)``, s the scale of y: Cauchy's weight function of robust regression, of what the network sees.

    It bounds the squared error. As ``e = (y - x0) / rho``, ``mean(e**2) <= 2 (mean(y**2) + mean(x0**2)) / rho**2``, and the
    weight times ``mean(y**2)`` stays below ``s**2``: the weighted loss is at most ``2 (s**2 + mean(x0**2)) / rho**2``
    whatever the noise, and so is that of every eps_hat that grows no faster than y, as E[e | y] does. So no moment of
    the noise is needed (in general m - 2 for a loss of order m), but the second of the data.
    """
    return 1 / (1 + mean_over_pixels((broadcast(in_scale(rho, units), y) * y) ** 2, valid))


TAIL_WEIGHTS = {
    "none": TailWeight(lambda y, rho, units, valid: torch.ones_like(rho), order=0),
    "cauchy": TailWeight(cauchy, order=2),
}

# Powers of the running residual size of its noise level that a squared error is divided by (``training.levels``). 1 gives every
# level the weight that an unsquared norm would; 2 is what the learned uncertainty of EDM2 tends to (arXiv 2312.02696, eq. 14).
LEVEL_WEIGHTS = {"none": 0, "residual": 1, "residual-power": 2}


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
        tail_weight, level_weight: keys of ``TAIL_WEIGHTS`` and ``LEVEL_WEIGHTS``. The level's weight has a state, which the
            objective keeps: it is not in the value of this loss.

    Raises:
        LevyError: an unknown name, an even or too small number of groups, a level weight of a loss that is not squared, or
            an infinite expectation.
    """

    loss: str
    weight: str = "noise"
    groups: int = 1
    draws: int = 1
    allow_infinite: bool = False
    tail_weight: str = "none"
    level_weight: str = "none"

    def check(self, noise: Noise) -> None:
        """Refuses a loss whose expectation is infinite under ``noise``.

        The median of G independent values is finite in mean if half of them, (G + 1) / 2, may be large together.
        """
        choose("loss", self.loss, LOSSES)
        choose("weight", self.weight, WEIGHTS)
        tail = choose("tail weight", self.tail_weight, TAIL_WEIGHTS)
        if choose("level weight", self.level_weight, LEVEL_WEIGHTS) and self.loss != "squared":
            raise LevyError(
                f"the level weight {self.level_weight!r} is a power of the size of squared residuals, but the loss is "
                f"{self.loss!r}: set loss to squared, or level_weight to none"
            )
        if self.groups < 1 or self.draws < 1 or self.groups % 2 == 0:
            raise LevyError(f"groups is {self.groups} and draws {self.draws}: both must be at least 1, groups odd")
        WEIGHTS[self.weight](torch.ones(1), Units.of(noise, 0.5), noise, 1)  # refuses a law that it does not know
        finite = noise.moments * (self.groups + 1) / 2
        needed = max(0, LOSSES[self.loss].moment - tail.order)
        if needed >= finite and not self.allow_infinite:
            others = [key for key, other in LOSSES.items() if other.moment < finite]
            raise LevyError(
                f"the loss {self.loss!r} has an infinite expectation under {noise}: it needs a moment of order "
                f"{needed:g}, and only orders below {finite:g} are finite. Set tail_weight: cauchy, which keeps the conditional "
                f"mean, or choose one of {', '.join(others)} or a median over groups of draws (groups: 3), which do not, or "
                "set allow_infinite: true"
            )

    @property
    def repeats(self) -> int:
        """Noise draws per sample."""
        return self.groups * self.draws

    @property
    def minimiser(self) -> Minimiser:
        """What of the law of e given y minimises the expectation. A median over groups has no minimiser that is a mean."""
        return LOSSES[self.loss].minimiser if self.groups == 1 else "between"

    def __call__(
        self,
        eps_hat: Tensor,
        e: Tensor,
        y: Tensor,
        rho: Tensor,
        units: Units,
        noise: Noise,
        valid: Tensor | None = None,
    ) -> Tensor:
        """Loss per sample, [B]: eps_hat, e and y are [repeats * B, *S] (the batch repeated as a whole), rho [repeats * B].

        With ``valid``, bool [repeats * B, *S], the mean over a sample is taken over its valid values alone.
        """
        weight = WEIGHTS[self.weight](rho, units, noise, e[0].numel())
        tail = TAIL_WEIGHTS[self.tail_weight].value(y, rho, units, valid)
        each = tail * LOSSES[self.loss].value(broadcast(weight, e) * (eps_hat - e), valid)
        if self.repeats == 1:
            return each
        return each.view(self.groups, self.draws, -1).mean(1).median(0).values
