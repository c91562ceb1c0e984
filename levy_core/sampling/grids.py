"""Grids: which noise levels a sampler visits, float64."""

from dataclasses import dataclass
from itertools import pairwise
from math import inf, log

import torch
from torch import Tensor

from levy_core.base.errors import LevyError
from levy_core.process.schedule import Schedule


@dataclass(frozen=True)
class Levels:
    """A falling sequence of noise levels: times and their rho, float64 [n + 1]."""

    t: Tensor
    rho: Tensor


def _between(schedule: Schedule, start: float, end: float, steps: int, bend: float) -> Levels:
    # rho**bend falls linearly; bend 0 stands for the logarithm
    if bend == 0:
        rho = torch.linspace(log(start), log(end), steps + 1, dtype=torch.float64).exp()
    else:
        rho = torch.linspace(start**bend, end**bend, steps + 1, dtype=torch.float64) ** (1 / bend)
    return Levels(schedule.time(rho), rho)


def uniform_t(schedule: Schedule, start: float, end: float, steps: int) -> Levels:
    """Uniform in t."""
    first, last = schedule.time(torch.tensor([start, end], dtype=torch.float64)).tolist()
    t = torch.linspace(first, last, steps + 1, dtype=torch.float64)
    return Levels(t, schedule.ratio(t))


def uniform_log_rho(schedule: Schedule, start: float, end: float, steps: int) -> Levels:
    """Uniform in log rho."""
    return _between(schedule, start, end, steps, 0)


def karras(schedule: Schedule, start: float, end: float, steps: int) -> Levels:
    """``rho**(1/7)`` falls linearly. Source: Karras et al. (2022), eq. 5."""
    return _between(schedule, start, end, steps, 1 / 7)


GRIDS = {"uniform-t": uniform_t, "uniform-log-rho": uniform_log_rho, "karras": karras}


def custom(schedule: Schedule, rho: tuple[float, ...]) -> Levels:
    """Levels of one's own.

    Raises:
        LevyError: fewer than two levels, or levels that do not fall to 0 or above; names the place.
    """
    if len(rho) < 2:
        raise LevyError(f"a grid of {len(rho)} levels makes no step: give at least two values of rho")
    for i, (now, after) in enumerate(pairwise(rho)):
        if not 0 <= after < now < inf:
            raise LevyError(
                f"the grid does not fall: rho[{i}] is {now} and rho[{i + 1}] is {after}; "
                "give finite values that fall from noise to data, the last 0 or above"
            )
    levels = torch.tensor(rho, dtype=torch.float64)
    return Levels(schedule.time(levels), levels)


def extent(schedule: Schedule) -> tuple[float, float]:
    """(rho_max, rho_min) of the whole path."""
    rho = schedule.ratio(torch.tensor([schedule.t_max, schedule.t_min], dtype=torch.float64))
    return float(rho[0]), float(rho[1])
