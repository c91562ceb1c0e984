"""The probability flow with adaptive steps: an error tolerance in the place of a grid."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from levy_core.base.errors import LevyError
from levy_core.base.seeds import Streams
from levy_core.process.noise import Noise
from levy_core.process.parametrisation import check_shape, spread
from levy_core.sampling.loop import EpsHat, not_finite

SAFETY, SHRINK, GROW = 0.9, 0.2, 5.0
FIRST = 0.05  # first step, as a share of rho


@dataclass(frozen=True)
class Adaptive:
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
    labels: Tensor,
    rho_max: float,
    rho_min: float,
    tolerance: float = 1e-3,
    most_evaluations: int = 1000,
    device: str | torch.device = "cpu",
) -> Adaptive:
    """Solves ``dy = eps_hat d rho`` from rho_max to rho_min with the pair of Bogacki and Shampine (orders 3 and 2).

    Every sample has its own steps, so that it does not depend on its batch. A step is accepted if the root mean square
    over coordinates of ``error / (1 + |y|)`` is at most ``tolerance``: absolute for data of order 1, relative while
    y is large. Three evaluations a step; the last one of an accepted step is the first of the next.

    Args:
        predictor: eps_hat(y [B, *shape], rho [B], label [B]), with different rho in a batch.
        tolerance: of one step.

    Raises:
        LevyError: ends out of order, a tolerance out of range, a prediction that is not finite, or a sample that is not
            done after ``most_evaluations``; names the sample.

    Source: Bogacki and Shampine (1989), A 3(2) pair of Runge-Kutta formulas.
    """
    if not 0 < rho_min < rho_max < float("inf"):
        raise LevyError(f"rho_min is {rho_min} and rho_max {rho_max}, but 0 < rho_min < rho_max must hold")
    if not 0 < tolerance < 1:
        raise LevyError(f"tolerance is {tolerance}, but must lie between 0 and 1")
    b = len(indices)
    y = (rho_max * noise.sample(shape, Streams.of_samples(seed, "sample", indices))).to(device)
    labels = labels.to(device)
    rho = torch.full((b,), float(rho_max), dtype=torch.float64, device=device)
    h = FIRST * rho
    evaluations = torch.zeros(b, dtype=torch.int64, device=device)

    def slope(rows: Tensor, at: Tensor, level: Tensor) -> Tensor:
        evaluations[rows] += 1
        eps = predictor(at, level.to(at.dtype), labels[rows])
        check_shape(eps, at)
        bad = not_finite(eps)
        if bad:
            raise LevyError(
                f"the network returned NaN or infinity at rho = {float(level[bad[0]]):.4g} for the sample with index "
                f"{indices[int(rows[bad[0]])]}: look at the training loss"
            )
        return eps

    rows = torch.arange(b, device=device)
    first = slope(rows, y, rho)
    while len(rows):
        if int(evaluations.max()) + 3 > most_evaluations:
            slow = indices[int(evaluations.argmax())]
            raise LevyError(
                f"the sample with index {slow} is at rho = {float(rho[rows].max()):.4g} after {int(evaluations.max())} "
                f"evaluations: raise the tolerance ({tolerance}) or most_evaluations"
            )
        last = h[rows] >= rho[rows] - rho_min
        step = torch.where(last, rho[rows] - rho_min, h[rows])
        at, level = y[rows], rho[rows]
        down = spread(-step, at).to(at.dtype)
        k1 = first[rows]
        k2 = slope(rows, at + down / 2 * k1, level - step / 2)
        k3 = slope(rows, at + down * 3 / 4 * k2, level - step * 3 / 4)
        reached = at + down * (2 / 9 * k1 + 1 / 3 * k2 + 4 / 9 * k3)
        arrival = torch.where(last, rho_min, level - step)
        k4 = slope(rows, reached, arrival)
        error = down * (-5 / 72 * k1 + 1 / 12 * k2 + 1 / 9 * k3 - 1 / 8 * k4)
        norm = (error / (1 + torch.maximum(at.abs(), reached.abs()))).flatten(1).double().square().mean(1).sqrt()
        accepted = norm <= tolerance
        moved = rows[accepted]
        y[moved], rho[moved], first[moved] = reached[accepted], arrival[accepted], k4[accepted]
        factor = (SAFETY * (tolerance / norm.clamp(min=1e-30)) ** (1 / 3)).clamp(SHRINK, GROW)
        h[rows] = step * factor
        rows = rows[~(accepted & last)]
    return Adaptive(y.float().cpu(), evaluations.cpu())
