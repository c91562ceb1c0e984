"""Correlated fields of 16 values of which 5 are seen, their exact laws, and draws in float64."""

from math import inf, pi

import torch
from torch import Tensor

from levy_core.base.seeds import Streams
from levy_core.observations.observation import Observation
from levy_core.observations.operators import mask
from levy_core.observations.oracles import Mixture
from levy_core.process.noise import Gaussian, Noise
from levy_core.process.schedule import SCHEDULES
from levy_core.sampling.guidance import EpsHat
from levy_core.sampling.loop import begin, solve
from levy_core.sampling.oracles import energy_distance, mean_distance
from levy_core.sampling.solver import Solver, StepTable, tabulate

D = 16
AT = torch.arange(D, dtype=torch.float64)
SCATTER = torch.exp(-(AT[:, None] - AT).abs() / 4)
SEEN = mask(torch.isin(torch.arange(D), torch.tensor([1, 4, 7, 11, 14])))


def one_regime(noise: Noise | None = None, degrees: float = inf, size: int = 24) -> Mixture:
    """Fields of correlation length 4 about 0."""
    return Mixture(
        noise or Gaussian(), torch.zeros(1, D).double(), SCATTER[None], torch.ones(1).double(), degrees, size
    )


def three_regimes() -> Mixture:
    """Three patterns of amplitude 2, with weather of half the size about each."""
    means = 2 * torch.stack([torch.cos(pi * AT / D), torch.sin(2 * pi * AT / D), -torch.ones(D).double()])
    return Mixture(Gaussian(), means, 0.25 * SCATTER.expand(3, D, D), torch.tensor([0.5, 0.3, 0.2]).double())


def table(steps: int, discretisation: str = "2m-data", exponent: float = 2.0, eta: float = 0.0) -> StepTable:
    """From rho 20 to 0, Karras."""
    solver = Solver(
        "sde-e" if eta else "ode",
        discretisation,
        "karras",
        steps,
        eta=eta,
        rho_max=20,
        rho_min=0.02,
        denoise=True,
    )
    return tabulate(solver, SCHEDULES["cosine"](exponent))


def draw(predictor: EpsHat, steps: StepTable, noise: Noise, n: int, shape: tuple[int, ...] = (D,)) -> Tensor:
    """What ``sample`` draws, in float64 [n, *shape]."""
    streams = Streams.of_samples(0, "sample", range(n))
    with torch.no_grad():
        y, path = begin(steps, noise, streams, shape)
        return solve(predictor, steps, noise, streams, y.double(), {}, range(n), path)


def compare(drawn: Tensor, law: Mixture) -> tuple[float, float]:
    """(energy distance, width) of draws [n, D], both in units of the law's E|X - X'|."""
    exact = law.data(2000, (D,), seed=9)
    unit = mean_distance(exact, exact)
    width = mean_distance(drawn, drawn) * len(drawn) / (len(drawn) - 1)
    return energy_distance(drawn, exact) / unit, width / unit


def observe_each(oracle: Mixture, n: int, fields: Tensor) -> tuple[Observation, list[Mixture]]:
    """What is seen of each field [k, D], for n samples of each, and the exact law given it."""
    values = SEEN.apply(fields)
    return Observation(SEEN, values.repeat_interleave(n, 0)), [oracle.given(Observation(SEEN, v)) for v in values]
