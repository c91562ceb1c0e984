"""Corrected guidance: particles with weights, whose law is ``p(x | nothing)**(1 - w) p(x | cond)**w`` and not only near it.

Guidance moves samples by ``v = (1 - w) eps_u + w eps_c``, the velocities without and with the condition. That is no flow of
the densities' powers; what it misses is a weight. If q is proportional to ``prod_i p_i**b_i`` at every rho, with p_i carried
by eps_i, the continuity equation gives for particles that move by ``dy = v d rho``

    d log W = g d rho,    g = div(v - sum_i b_i eps_i) + sum_i b_i (v - eps_i) . s_i,    s_i = grad log p_i

and for guidance ``g = w (1 - w) (eps_c - eps_u) . (s_u - s_c)``, for every noise law. With ``s = -eps / rho`` in the place of
the score, which is true of Gaussian noise alone, the weights are wrong.

Source: Skreta et al., Feynman-Kac correctors (arXiv 2503.02819), there for Gaussian noise.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from levy_core.base.conditions import Condition, move
from levy_core.base.errors import LevyError, NotFiniteError
from levy_core.base.philox import streams_of_samples
from levy_core.base.seeds import generator
from levy_core.process.noise import Noise
from levy_core.sampling.loop import apply_row, begin, check_output
from levy_core.sampling.solver import StepTable


class HasScore(Protocol):
    """What gives eps_hat and the score, such as ``Predictor`` and the oracles."""

    def both(self, y: Tensor, rho: Tensor, cond: Condition) -> tuple[Tensor, Tensor]:
        """Each [B, *S]."""
        ...


@dataclass(frozen=True)
class Particles:
    """One system of particles.

    Attributes:
        samples: float32 [n, *S] on the CPU. log_weights: float64 [n]; the weights sum to 1.
        resampled: as many samples of equal weight, drawn from them; some stand in it more than once.
        effective: effective sample size at every row of the table, a share of n, before resampling there; and at the end.
        resamplings: how often the particles were drawn anew on the way.
    """

    samples: Tensor
    log_weights: Tensor
    resampled: Tensor
    effective: tuple[float, ...]
    resamplings: int


def sample_corrected(
    predictor: HasScore,
    table: StepTable,
    noise: Noise,
    seed: int,
    n: int,
    shape: Sequence[int],
    cond: Condition,
    absent: Condition,
    strength: float,
    resample_below: float = 0.5,
    batch: int = 250,
    device: str | torch.device = "cpu",
) -> Particles:
    """Draws n particles of one system; they start where samples 0 to n of ``loop.sample`` start.

    The weights compare particles with each other, so that a sample depends on all others and on n: estimates from one
    system have no error bars of independent samples; draw several, by seed. In many dimensions few particles carry the
    weight: look at ``effective``.

    Args:
        table: of a deterministic solver, without a limit.
        cond: what all particles are asked to be, one row per entry. absent: what each entry holds where nothing is asked for.
        strength: w of ``p(x | nothing)**(1 - w) p(x | cond)**w``; 1 is the condition itself, without weights.
        resample_below: effective sample size, a share of n, under which particles are drawn anew by weight; 0: never.
        batch: particles in one network evaluation.

    Raises:
        LevyError: a table that adds noise, limits x0_hat or is boosted; more than one row of the condition, a model without score.
        NotFiniteError: the network returns a value that is not finite.
    """
    if table.jumps is not None or bool((table.noise > 0).any()) or table.limit != "none" or table.boost != 1:
        raise LevyError(
            "weights belong to the flow itself: choose ode, or eta 0, without a limit on x0_hat and without a boost"
        )
    for name, values in cond.items():
        if len(values) != 1:
            raise LevyError(
                f"the condition has {len(values)} rows of {name}, but particles that are weighed against each other are "
                "asked for one thing: give one row, and draw one system per class"
            )
    asked = move(cond, device)
    nothing = {**asked, **{name: value.to(device).view(1) for name, value in absent.items()}}
    log_w = torch.zeros(n, dtype=torch.float64)
    newest: deque[Tensor] = deque(maxlen=table.weights.shape[1])
    effective, resamplings, before = [], 0, torch.zeros(n, dtype=torch.float64)
    with torch.inference_mode():
        y, _ = begin(table, noise, streams_of_samples(seed, "sample", range(n), device), shape, device)
        for k in range(table.nfe):
            level = float(table.rho[k])
            parts = [_velocity_and_rate(predictor, part, level, asked, nothing, strength) for part in y.split(batch)]
            v, rate = (torch.cat(column) for column in zip(*parts, strict=True))
            check_output(v, y, k, table, range(n))
            if not torch.isfinite(rate).all():
                raise NotFiniteError(
                    f"the score is NaN or infinite at step {k + 1} of {table.nfe} (rho = {level:.4g}): look at the training loss"
                )
            if k > 0:
                log_w += (before + rate) / 2 * float(table.rho[k] - table.rho[k - 1])
            newest.appendleft(v if table.predicts == "noise" else y - level * v)
            effective.append(effective_share(log_w))
            if effective[-1] < resample_below:
                chosen = resample(log_w, generator(seed, "particles", k))
                y, rate, resamplings = y[chosen.to(y.device)], rate[chosen], resamplings + 1
                newest = deque((h[chosen.to(h.device)] for h in newest), maxlen=newest.maxlen)
                log_w = torch.zeros_like(log_w)
            y, before = apply_row(table, k, y, newest), rate
        # At rho = 0 both velocities of data with a density are 0, so that the rate ends there.
        last = before / 2 if table.rho[-1] == 0 else before
        log_w += last * float(table.rho[-1] - table.rho[-2])
        effective.append(effective_share(log_w))
        samples = y.cpu()
        drawn = samples[resample(log_w, generator(seed, "particles", "last"))]
    return Particles(samples, log_w - torch.logsumexp(log_w, 0), drawn, tuple(effective), resamplings)


def _velocity_and_rate(
    predictor: HasScore, y: Tensor, level: float, asked: Condition, nothing: Condition, strength: float
) -> tuple[Tensor, Tensor]:
    """v [B, *S], and g [B], float64 on the CPU."""
    rho = torch.full((len(y),), level, device=y.device, dtype=y.dtype)
    rows = lambda cond: {name: values.expand(len(y), *values.shape[1:]) for name, values in cond.items()}
    eps_c, score_c = predictor.both(y, rho, rows(asked))
    eps_u, score_u = predictor.both(y, rho, rows(nothing))
    product = ((eps_c - eps_u).double() * (score_u - score_c).double()).flatten(1).sum(1).cpu()
    return torch.lerp(eps_u, eps_c, strength), strength * (1 - strength) * product


def effective_share(log_w: Tensor) -> float:
    """Effective sample size of weights [n], a share of n: (sum W)**2 / (n sum W**2)."""
    return float(torch.exp(2 * torch.logsumexp(log_w, 0) - torch.logsumexp(2 * log_w, 0))) / len(log_w)


def resample(log_w: Tensor, g: torch.Generator) -> Tensor:
    """Systematic resampling: int64 [n], where i stands n W_i times, rounded up or down. One uniform decides all."""
    n = len(log_w)
    places = (torch.arange(n, dtype=torch.float64) + torch.rand(1, generator=g, dtype=torch.float64)) / n
    edges = torch.softmax(log_w, 0).cumsum(0)
    edges = edges / edges[-1].clone()  # rounding leaves no place beyond the last
    return torch.searchsorted(edges, places, right=True).clamp(max=n - 1)
