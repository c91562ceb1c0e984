"""Steered sampling: weighted particles of ``q(x0) ~ p(x0) h(x0)``, with what they say of p, for any positive function h.

Particles move as samples do, and at each level of noise are weighed by ``h(x0_hat) / h(x0_hat before)``. The weights of a path
multiply to h of its end, so that weighted means divided by h are means of the sampler's own law, whatever h and the noise law are:
no gradient of h and no score enter. Where few particles carry the weight they are drawn anew by it, and the noise that comes back
parts the copies.

Source: Singhal et al., Feynman-Kac steering (arXiv 2501.06848).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from levy_core.base.conditions import Condition, move
from levy_core.base.errors import LevyError
from levy_core.base.philox import streams_of_samples
from levy_core.base.seeds import generator
from levy_core.process.noise import Noise
from levy_core.sampling.guidance import EpsHat
from levy_core.sampling.loop import begin, gradients_of, solve
from levy_core.sampling.particles import effective_share, resample
from levy_core.sampling.solver import StepTable

Potential = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Steered:
    """One system of particles.

    Attributes:
        samples: float32 [n, *S] on the CPU.
        start: int64 [n], the particle at the start from which each comes; particles of one start are alike.
        log_weights: float64 [n]; the mean of ``exp(log_weights) f(samples)`` over all n is without bias that of f under the sampler's
            own law. They are divided by h already.
        log_h: float64 [n], of the samples.
        effective: effective sample size at every row of the table, a share of n, before resampling there; and at the end.
        resamplings: how often the particles were drawn anew on the way.
    """

    samples: Tensor
    start: Tensor
    log_weights: Tensor
    log_h: Tensor
    effective: tuple[float, ...]
    resamplings: int


@dataclass(frozen=True)
class _InParts:
    """A predictor that sees ``size`` particles at a time."""

    predictor: EpsHat
    size: int

    def __call__(self, y: Tensor, rho: Tensor, cond: Condition) -> Tensor:
        return torch.cat([self.predictor(*part) for part in self._parts(y, rho, cond)])

    def mixing(self, y: Tensor, rho: Tensor, cond: Condition, eps_hat: Tensor, probe: Tensor) -> Tensor:
        whole = zip(self._parts(y, rho, cond), eps_hat.split(self.size), probe.split(self.size), strict=True)
        return torch.cat([self.predictor.mixing(*part, eps, sign) for part, eps, sign in whole])  # type: ignore[attr-defined]

    def _parts(self, y: Tensor, rho: Tensor, cond: Condition) -> list[tuple[Tensor, Tensor, Condition]]:
        ends = range(0, len(y), self.size)
        cut = lambda values: [values[first : first + self.size] for first in ends]
        conditions = [{name: values[first : first + self.size] for name, values in cond.items()} for first in ends]
        return list(zip(cut(y), cut(rho), conditions, strict=True))


def steer(
    predictor: EpsHat,
    table: StepTable,
    noise: Noise,
    potential: Potential,
    seed: int,
    indices: Sequence[int],
    shape: Sequence[int],
    cond: Condition,
    resample_below: float = 0.5,
    batch: int = 250,
    device: str | torch.device = "cpu",
) -> Steered:
    """Draws one system of particles, which start where samples ``indices`` of ``loop.sample`` start, and with h = 1 end as they do.

    A particle depends on all others of its system. Systems of other indices are independent, and their spread is the error.

    Args:
        table: of a solver whose noise comes back, without a boost; not of the posterior family.
        potential: log h, float64 [n], finite, of x0_hat [n, *S] and the particle at the start from which each row comes, int64 [n],
            whose condition it has.
        cond: one row per particle.
        resample_below: effective sample size, a share of n, under which particles are drawn anew by weight; 0: never.
        batch: particles in one network evaluation.

    Raises:
        LevyError: another table; a potential that is not finite; as ``sample``.
        NotFiniteError: the network returns a value that is not finite.
    """
    check_table(table)
    system = _System(potential, table, seed, indices, resample_below, device)
    streams = streams_of_samples(seed, "sample", indices, device)
    with gradients_of(predictor):
        y, _ = begin(table, noise, streams, shape, device)
        parts: EpsHat = predictor if len(indices) <= batch else _InParts(predictor, batch)
        samples = solve(parts, table, noise, streams, y, move(cond, device), indices, select=system.select).cpu()
    return system.end(samples)


def check_table(table: StepTable) -> None:
    """Refuses what cannot be steered.

    Raises:
        LevyError: the posterior family, a table without noise, a boosted start.
    """
    if table.jumps is not None or table.boost != 1:
        raise LevyError(
            "particles move by a Markov process from its own start: choose sde-e with an eta above 0, without a boost"
        )
    if not bool((table.noise > 0).any()):
        raise LevyError(
            "no noise comes back in this table (ode, or eta 0), so that copies of a particle would stay copies and a rare event would be "
            "one sample many times: choose sde-e with an eta above 0"
        )


class _System:
    """Weights and ancestry of particles under way."""

    def __init__(
        self,
        potential: Potential,
        table: StepTable,
        seed: int,
        indices: Sequence[int],
        below: float,
        device: str | torch.device,
    ) -> None:
        n = len(indices)
        self._potential, self._below, self._device = potential, below, device
        self._key = (seed, "steering", int(indices[0]), n)
        self._last_noise = int((table.noise > 0).nonzero().max())
        self._start = torch.arange(n)
        self._log_w, self._log_h = torch.zeros(n, dtype=torch.float64), torch.zeros(n, dtype=torch.float64)
        self._log_scale, self._effective, self._resamplings = 0.0, list[float](), 0

    def select(self, k: int, x0: Tensor) -> Tensor | None:
        """Weighs particles by what they are about to become, and draws them anew where it is time."""
        self._weigh(x0)
        if self._effective[-1] >= self._below or k > self._last_noise:
            return None
        chosen = resample(self._log_w, generator(*self._key, k))
        self._log_scale += mean_of(self._log_w)
        self._start, self._log_h = self._start[chosen], self._log_h[chosen]
        self._log_w, self._resamplings = torch.zeros_like(self._log_w), self._resamplings + 1
        return chosen.to(self._device)

    def _weigh(self, x0: Tensor) -> None:
        log_h = self._potential(x0, self._start).double().cpu()
        if not torch.isfinite(log_h).all():
            raise LevyError("the potential is NaN or infinite: it must be finite wherever particles may be")
        self._log_w = self._log_w + log_h - self._log_h
        self._log_h = log_h
        self._effective.append(effective_share(self._log_w))

    def end(self, samples: Tensor) -> Steered:
        self._weigh(samples)
        weights = self._log_scale + self._log_w - self._log_h
        return Steered(samples, self._start, weights, self._log_h, tuple(self._effective), self._resamplings)


def mean_of(log_values: Tensor) -> float:
    """The logarithm of the mean of values [n] that are given by their logarithms."""
    return float(torch.logsumexp(log_values, 0)) - float(torch.tensor(len(log_values)).double().log())
