"""What the network predicts, and its conversion to ``eps_hat(y, rho)``, which is ``E[e | y]`` if the loss is minimised by the mean.

A parametrisation is a row: out = (eps_hat - shift y) / factor, where shift and factor depend on rho alone.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from levy_core.base.conditions import Condition
from levy_core.base.errors import LevyError
from levy_core.process.noise import Noise, Stable, StudentT
from levy_core.process.schedule import signal_at


@dataclass(frozen=True)
class Units:
    """What a conversion depends on beside rho: p, the standard deviation of the noise and of the data."""

    exponent: float
    deviation: float = 1.0
    sigma_data: float = 0.5

    @classmethod
    def of(cls, noise: Noise, sigma_data: float) -> "Units":
        return cls(noise.exponent, noise.deviation, sigma_data)


@dataclass(frozen=True)
class Parametrisation:
    """Functions of (rho, units): the network sees ``scale y``, and ``eps_hat = shift y + factor out``."""

    scale: Callable[[Tensor, Units], Tensor]
    shift: Callable[[Tensor, Units], Tensor] | None  # None: 0
    factor: Callable[[Tensor, Units], Tensor]


def _preserving(rho: Tensor, units: Units) -> Tensor:
    return signal_at(rho, units.exponent)


def _powers(rho: Tensor, units: Units) -> tuple[Tensor, float, float]:
    return (rho * units.deviation) ** units.exponent, units.sigma_data**units.exponent, units.exponent


def skip(rho: Tensor, units: Units) -> Tensor:
    """EDM's c_skip at any p: ``sd**p / (sd**p + rho**p)``, the best linear denoiser of stable data of scale sd."""
    r, s, _ = _powers(rho, units)
    return s / (s + r)


def _noise_share(rho: Tensor, units: Units) -> Tensor:
    # 1 - c_skip without cancellation, so that eps_hat is right at rho = 0.002 in float32
    r, s, _ = _powers(rho, units)
    return r / (s + r)


def out_scale(rho: Tensor, units: Units) -> Tensor:
    """EDM's c_out at any p: the scale of ``x0 - c_skip y``, so that the network's target has scale 1."""
    r, s, p = _powers(rho, units)
    return (s * _noise_share(rho, units) ** p + r * skip(rho, units) ** p) ** (1 / p)


def in_scale(rho: Tensor, units: Units) -> Tensor:
    """EDM's c_in at any p: the reciprocal of the scale of y, ``(sd**p + rho**p)**(-1/p)``."""
    r, s, p = _powers(rho, units)
    return (s + r) ** (-1 / p)


PARAMETRISATIONS = {
    "noise": Parametrisation(_preserving, None, lambda rho, u: 1 + 0 * rho),
    # LIM's network predicts -e / alpha; the fractional score is S = -(1 / alpha) gamma**(1 - alpha) eps_hat.
    "lim-score": Parametrisation(_preserving, None, lambda rho, u: -u.exponent + 0 * rho),
    # EDM: D = c_skip y + c_out F(c_in y), eps_hat = (y - D) / rho. With Student-t noise sigma is replaced by its standard
    # deviation sigma sqrt(nu / (nu - 2)) (t-EDM, arXiv 2410.14171); with stable noise squares become p-th powers.
    "denoiser": Parametrisation(
        in_scale,
        lambda rho, u: _noise_share(rho, u) / rho,
        lambda rho, u: -out_scale(rho, u) / rho,
    ),
    # Flow: v = e - x_0 at x = y / (1 + rho), so e_hat = x + v / (1 + rho).
    "velocity": Parametrisation(
        lambda rho, u: 1 / (1 + rho), lambda rho, u: 1 / (1 + rho), lambda rho, u: 1 / (1 + rho)
    ),
}


def advise(param: str, noise: Noise) -> str:
    """What measurements speak against a parametrisation under a noise law, in a line for people; "" for nothing."""
    if param not in ("noise", "lim-score") or not isinstance(noise, Stable):
        return ""
    return (
        "what its network is off by at a high noise level rho is off by rho times that in x0; LIM and DLPM have half the FID with "
        "param: denoiser (docs/designs.md)"
    )


def score_of(out: Tensor, y: Tensor, rho: Tensor, noise: Noise, units: Units) -> Tensor:
    """The score [B, *S] from the output of a network's second head, y [B, *S] and rho [B].

    A correction of the score of data of the noise's own law and scale sigma_data, as EDM's is of the best linear denoiser.
    What it learns from, e / A = z / sqrt(A), has order one at every rho, as 1/A has all moments; far out it falls as the
    root of E[1/A | y], where that score is right for bounded data, and so does the factor of the output.
    """
    scale = broadcast(1 / (in_scale(rho, units) * units.deviation), y)
    at = y / scale
    precision = noise.precision(at)
    return -precision * at / scale - precision.sqrt() * out / broadcast(rho, y)


def broadcast(values: Tensor, like: Tensor) -> Tensor:
    """[B] -> [B, 1, ...] with as many dimensions as ``like``."""
    return values.view(-1, *[1] * (like.dim() - 1))


def eps_of(name: str, out: Tensor, y: Tensor, rho: Tensor, units: Units) -> Tensor:
    """eps_hat [B, *S] from a network's output, y [B, *S] and rho [B]."""
    row = PARAMETRISATIONS[name]
    eps = broadcast(row.factor(rho, units), y) * out
    return eps if row.shift is None else eps.addcmul(broadcast(row.shift(rho, units), y), y)


def check_shape(out: Tensor, y: Tensor) -> None:
    """Refuses a prediction of another shape than its input: broadcasting would hide it.

    Raises:
        LevyError: names both shapes.
    """
    if out.shape != y.shape:
        raise LevyError(
            f"the network returned {list(out.shape)} for an input of {list(y.shape)}: the shapes must be the same"
        )


class Predictor(nn.Module):
    """A network seen as ``eps_hat``, whatever it predicts.

    The network is called as ``net(x, log_rho, cond)``; x is y scaled to order one.

    Args:
        net: maps ([B, *S], [B], condition) to [B, *S].
        param: a key of ``PARAMETRISATIONS``.
        noise: the noise law.
        sigma_data: standard deviation of the data, for the denoiser's preconditioning.
        score_head: the network returns [B, 2 C, ...], the second half for the score.
    """

    def __init__(self, net: nn.Module, param: str, noise: Noise, sigma_data: float = 0.5, score_head: bool = False):
        super().__init__()
        self.net = net
        self.param = param
        self.noise = noise
        self.units = Units.of(noise, sigma_data)
        self.score_head = score_head

    def forward(self, y: Tensor, rho: Tensor, cond: Condition) -> Tensor:
        """eps_hat, [B, *S], from y [B, *S], rho [B] and the condition (of ``label``, the last class index means 'no class').

        Raises:
            LevyError: the network returns another shape.
        """
        return self._eps_hat(self._outputs(y, rho, cond)[0], y, rho)

    def both(self, y: Tensor, rho: Tensor, cond: Condition) -> tuple[Tensor, Tensor]:
        """eps_hat and the score grad log p_rho(y) = -E[e / A | y] / rho, each [B, *S], from one evaluation.

        Of Gaussian noise A is known, so that the score also follows from eps_hat.

        Raises:
            LevyError: the network returns another shape, or has no second head under noise whose A varies.
        """
        outputs = self._outputs(y, rho, cond)
        eps_hat = self._eps_hat(outputs[0], y, rho)
        if self.score_head:
            return eps_hat, score_of(outputs[1].float(), y, rho, self.noise, self.units)
        if self.noise.exponent < 2 or isinstance(self.noise, StudentT):
            raise LevyError(
                f"the score is asked of a model that gives E[e | y] alone, from which it does not follow under {self.noise}: "
                "train the design with score_head: true"
            )
        return eps_hat, -self.noise.precision(y) * eps_hat / broadcast(rho, y)

    def _outputs(self, y: Tensor, rho: Tensor, cond: Condition) -> tuple[Tensor, ...]:
        """The network's output, per head."""
        scale = PARAMETRISATIONS[self.param].scale(rho, self.units)
        out = self.net(broadcast(scale, y) * y, torch.log(rho), cond)
        outputs = out.chunk(2, dim=1) if self.score_head else (out,)
        check_shape(outputs[-1], y)
        return outputs

    def _eps_hat(self, out: Tensor, y: Tensor, rho: Tensor) -> Tensor:
        return eps_of(self.param, out.float(), y, rho, self.units)

    def mixing(self, y: Tensor, rho: Tensor, cond: Condition, eps_hat: Tensor, probe: Tensor) -> Tensor:
        """E[A | y] of Student-t noise, [B]: ``(nu + E|e|**2) / (nu + d - 2)``, at the price of one more evaluation.

        The network knows E[e | y] only. With q = |e|**2 / nu taken as concentrated given y (exact as nu grows, and where
        y fixes A, as in high dimension), Student-t's form of Tweedie's second-order formula gives
        ``1 + q = (nu + d) (1 + |eps_hat|**2 / nu) / (nu + rho div eps_hat)``; the divergence is a finite difference
        along ``probe``, signs +-1 of shape y (Hutchinson).
        """
        assert isinstance(self.noise, StudentT)
        nu, d = self.noise.nu, y[0].numel()
        step = 1e-2
        moved = self(y + broadcast(step * rho, y) * probe, rho, cond)
        divergence = ((moved - eps_hat) * probe).flatten(1).sum(1) / step  # of eps_hat, times rho
        norm = (eps_hat**2).flatten(1).sum(1)
        q = (nu + d) * (1 + norm / nu) / (nu + divergence.clamp(0, d)) - 1
        return (nu + nu * torch.maximum(q, norm / nu)) / (nu + d - 2)
