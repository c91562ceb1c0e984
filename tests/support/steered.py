"""Ensembles of steered particles on exact laws, as `levy event` draws them."""

import torch
from torch import Tensor

from levy_core.process.schedule import SCHEDULES
from levy_core.sampling.events import Ensemble, Excess, find_strength
from levy_core.sampling.oracles import Scale, Student
from levy_core.sampling.solver import Solver, StepTable, tabulate
from levy_core.sampling.steering import Potential, Steered, steer

D, SYSTEMS = 4, 10


def table(exponent: float = 2.0) -> StepTable:
    """From rho 80 to 0 in 40 steps."""
    solver = Solver("sde-e", "3m-data", "uniform-log-rho", 40, 0.5, rho_max=80.0, rho_min=0.02, denoise=True)
    return tabulate(solver, SCHEDULES["cosine"](exponent))


def first(x0: Tensor, start: Tensor) -> Tensor:
    """The measure: one value of the field."""
    return x0[:, 0].double()


def ensemble_of(oracle: Scale | Student, threshold: float, size: int, seed: int) -> Ensemble:
    """Ten systems of so many particles, fields of four values."""
    steps = table(oracle.noise.exponent)

    def draw(potential: Potential, seed: int, at: int) -> Steered:
        return steer(oracle, steps, oracle.noise, potential, seed, range(at, at + size), (D,), {})

    strength, _ = find_strength(lambda potential, k: draw(potential, 10**6 + 100 * seed + k, 0), first, threshold)
    systems = [draw(Excess(first, threshold, strength), seed, r * size) for r in range(SYSTEMS)]
    columns = zip(*((first(s.samples, s.start), s.log_weights, s.start) for s in systems), strict=True)
    return Ensemble(*map(torch.stack, columns))
