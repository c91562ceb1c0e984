"""A few samples of a network in training, by the simplest of samplers: what training shows must not depend on the code of solvers, which would make it stale."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from levy_core.base.conditions import Condition, move, rows_of
from levy_core.base.philox import streams_of_samples
from levy_core.process.design import Design
from levy_core.process.parametrisation import Predictor

EVALUATIONS = 12
BEND = 1 / 7  # rho**BEND falls linearly (Karras et al. 2022, eq. 5)


@torch.no_grad()
def draw_preview(
    predictor: Predictor, design: Design, shape: Sequence[int], cond: Condition, seed: int, together: int
) -> Tensor:
    """Samples of the flow ``dy/drho = eps_hat`` by Euler's method, from the schedule's largest rho to 0, float32 [B, *shape] on the CPU.

    They are those of the solver ``ode`` with ``ei-noise`` on the grid ``karras`` and a last step to rho = 0, and draw from
    streams of their own.

    Args:
        cond: one row per sample in every entry, on any device. seed: with the number of a sample, its noise. together: samples that the
            network sees at a time, at most.
    """
    ends = torch.tensor([design.schedule.t_max, design.schedule.t_min], dtype=torch.float64)
    first, last = design.schedule.ratio(ends).tolist()
    falling = torch.linspace(first**BEND, last**BEND, EVALUATIONS, dtype=torch.float64) ** (1 / BEND)
    levels = [*falling.tolist(), 0.0]
    device = next(predictor.parameters()).device
    n = len(next(iter(cond.values())))
    noise, drawn = first * design.noise.sample(shape, streams_of_samples(seed, "sample", range(n), device)), []
    for rows, y in zip(torch.arange(n).split(together), noise.to(device).split(together), strict=True):
        own = move(rows_of(cond, rows), device)
        for rho, after in pairwise(levels):
            y = y + (after - rho) * predictor(y, torch.full((len(rows),), rho, device=device), own)
        drawn.append(y.cpu())
    return torch.cat(drawn)
