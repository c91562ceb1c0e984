"""The probability flow with adaptive steps: an error tolerance in the place of a grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import reduce

import torch
from torch import Tensor

from levy_core.base.conditions import Condition, move, rows_of
from levy_core.base.errors import LevyError
from levy_core.base.seeds import Streams
from levy_core.process.noise import Noise
from levy_core.process.parametrisation import broadcast, check_shape
from levy_core.sampling.guidance import EpsHat
from levy_core.sampling.loop import not_finite

SAFETY, SHRINK, GROW = 0.9, 0.2, 5.0
FIRST = 0.05  # first step, as a share of rho


@dataclass(frozen=True)
class Tableau:
    """A pair of Runge-Kutta formulas of one set of slopes, the last of which is the first of the next step.

    Attributes:
        c, a: of each slope between the ends its place in the step and the weights of the slopes before it.
        b: weights of the step. b_low: those of the less exact one, which weighs the last slope too. order: of b.
    """

    c: tuple[Fraction, ...]
    a: tuple[tuple[Fraction, ...], ...]
    b: tuple[Fraction, ...]
    b_low: tuple[Fraction, ...]
    order: int

    @property
    def error(self) -> list[float]:
        return [float(high - low) for high, low in zip((*self.b, Fraction(0)), self.b_low, strict=True)]


# Bogacki and Shampine (1989), A 3(2) pair of Runge-Kutta formulas.
BOGACKI_SHAMPINE = Tableau(
    c=(Fraction(1, 2), Fraction(3, 4)),
    a=((Fraction(1, 2),), (Fraction(0), Fraction(3, 4))),
    b=(Fraction(2, 9), Fraction(1, 3), Fraction(4, 9)),
    b_low=(Fraction(7, 24), Fraction(1, 4), Fraction(1, 3), Fraction(1, 8)),
    order=3,
)


@dataclass(frozen=True)
class AdaptiveSamples:
    """Samples, float32 [B, *shape] on the CPU, and the network evaluations that each of them took, int64 [B]."""

    samples: Tensor
    evaluations: Tensor


@torch.inference_mode()
def sample_adaptive(
    predictor: EpsHat,
    noise: Noise,
    seed: int,
    indices: Sequence[int],
    shape: Sequence[int],
    cond: Condition,
    rho_max: float,
    rho_min: float,
    tolerance: float = 1e-3,
    most_evaluations: int = 1000,
    device: str | torch.device = "cpu",
) -> AdaptiveSamples:
    """Solves ``dy = eps_hat d rho`` from rho_max to rho_min with the pair of Bogacki and Shampine (orders 3 and 2).

    Every sample has its own steps, so that it does not depend on its batch. A step is accepted if the root mean square
    over coordinates of ``error / (1 + |y|)`` is at most ``tolerance``: absolute for data of order 1, relative while
    y is large. Three evaluations per step; the last one of an accepted step is the first of the next.

    Args:
        predictor: eps_hat(y [B, *shape], rho [B], cond), with different rho in a batch.
        tolerance: of one step.

    Raises:
        LevyError: ends out of order, a tolerance out of range, a prediction that is not finite, or a sample that is not
            done after ``most_evaluations``; names the sample.
    """
    if not 0 < rho_min < rho_max < float("inf"):
        raise LevyError(f"rho_min is {rho_min} and rho_max {rho_max}, but 0 < rho_min < rho_max must hold")
    if not 0 < tolerance < 1:
        raise LevyError(f"tolerance is {tolerance}, but must lie between 0 and 1")
    b = len(indices)
    y = (rho_max * noise.sample(shape, Streams.of_samples(seed, "sample", indices))).to(device)
    cond = move(cond, device)
    rho = torch.full((b,), float(rho_max), dtype=torch.float64, device=device)
    h = FIRST * rho
    evaluations = torch.zeros(b, dtype=torch.int64, device=device)

    def slope(rows: Tensor, at: Tensor, level: Tensor) -> Tensor:
        evaluations[rows] += 1
        eps = predictor(at, level.to(at.dtype), rows_of(cond, rows))
        check_shape(eps, at)
        bad = not_finite(eps)
        if bad:
            raise LevyError(
                f"the network returned NaN or infinity at rho = {float(level[bad[0]]):.4g} for the sample with index "
                f"{indices[int(rows[bad[0]])]}: look at the training loss"
            )
        return eps

    pair = BOGACKI_SHAMPINE
    places, weights, errors = list(map(float, pair.c)), list(map(float, pair.b)), pair.error
    rows = torch.arange(b, device=device)
    first = slope(rows, y, rho)
    while len(rows):
        if int(evaluations.max()) + len(weights) > most_evaluations:
            slow = indices[int(evaluations.argmax())]
            raise LevyError(
                f"the sample with index {slow} is at rho = {float(rho[rows].max()):.4g} after {int(evaluations.max())} "
                f"evaluations: raise the tolerance ({tolerance}) or most_evaluations"
            )
        last = h[rows] >= rho[rows] - rho_min
        step = torch.where(last, rho[rows] - rho_min, h[rows])
        at, level = y[rows], rho[rows]
        down = broadcast(-step, at).to(at.dtype)
        slopes = [first[rows]]
        for place, before in zip(places, pair.a, strict=True):
            within = at
            for weight, k in zip(before, slopes, strict=True):
                within = within + down * float(weight) * k
            slopes.append(slope(rows, within, level - step * place))
        reached = at + down * _weighted(weights, slopes)
        arrival = torch.where(last, rho_min, level - step)
        slopes.append(slope(rows, reached, arrival))
        error = down * _weighted(errors, slopes)
        norm = (error / (1 + torch.maximum(at.abs(), reached.abs()))).flatten(1).double().square().mean(1).sqrt()
        accepted = norm <= tolerance
        moved = rows[accepted]
        y[moved], rho[moved], first[moved] = reached[accepted], arrival[accepted], slopes[-1][accepted]
        factor = (SAFETY * (tolerance / norm.clamp(min=1e-30)) ** (1 / pair.order)).clamp(SHRINK, GROW)
        h[rows] = step * factor
        rows = rows[~(accepted & last)]
    return AdaptiveSamples(y.float().cpu(), evaluations.cpu())


def _weighted(weights: list[float], slopes: list[Tensor]) -> Tensor:
    return reduce(torch.add, (weight * k for weight, k in zip(weights, slopes, strict=True)))
