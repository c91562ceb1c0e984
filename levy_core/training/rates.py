"""Learning rates over a training, as factors of the highest."""

from collections.abc import Callable
from math import cos, pi
from typing import Literal

LrSchedule = Literal["constant", "cosine", "inverse-sqrt"]


def _warm_up(step: int, warmup: int) -> float:
    return min(1.0, step / max(1, warmup))


def constant(step: int, warmup: int, steps: int) -> float:
    """Stays after the warm-up."""
    return _warm_up(step, warmup)


def cosine(step: int, warmup: int, steps: int) -> float:
    """Falls to 0 at the step after the last, by half a cosine (Loshchilov and Hutter 2017, arXiv 1608.03983, eq. 5, one cycle)."""
    if step <= warmup:
        return _warm_up(step, warmup)
    return (1 + cos(pi * (step - warmup) / (steps + 1 - warmup))) / 2


def inverse_sqrt(step: int, warmup: int, steps: int) -> float:
    """Falls as the root of the warm-up over the step (Vaswani et al. 2017, arXiv 1706.03762, eq. 3; EDM2, arXiv 2312.02696, eq. 67)."""
    return min(_warm_up(step, warmup), (max(1, warmup) / step) ** 0.5)


# (step from 1, steps of the warm-up, steps in all) -> factor
LR_SCHEDULES: dict[LrSchedule, Callable[[int, int, int], float]] = {
    "constant": constant,
    "cosine": cosine,
    "inverse-sqrt": inverse_sqrt,
}
