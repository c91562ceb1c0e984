"""What the guide interpolation costs: python docs/benchmarks/observed_size.py [--large]

Time of an evaluation with the guide over one without it, of the networks of the default runs, in alternating rounds. With --large, stations on
two variables of 721 x 1440 cells and a covariance of 50 EOFs, drawn with a predictor that costs nothing: seconds, and the peak of memory.
"""

import argparse
import resource
import time
from statistics import median

import torch

from levy_core.base.conditions import LABEL
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.observations.covariance import Covariance
from levy_core.observations.guides import observe
from levy_core.observations.observation import Observation
from levy_core.observations.operators import points
from levy_core.process.design import Design
from levy_core.process.noise import Gaussian
from levy_core.sampling.loop import sample
from levy_core.sampling.solver import Solver, tabulate

EOFS = 50


def covariance(size: int, eofs: int) -> Covariance:
    """Of smooth patterns and a diagonal."""
    at = torch.linspace(0, 1, size, dtype=torch.float64)[:, None]
    patterns = torch.sin(torch.pi * at * torch.arange(1, eofs + 1)) / torch.arange(1, eofs + 1)
    return Covariance(torch.zeros(size).double(), patterns, torch.full((size,), 0.1).double())


def stations(shape: tuple[int, ...], number: int) -> Observation:
    """As many places for every channel, all 1 with a std of 0.1."""
    g = torch.Generator().manual_seed(0)
    at = torch.rand(number, 2, generator=g) * torch.tensor([shape[1] - 1.0, shape[2] - 1.0])
    operator = points(shape, at)
    return Observation(operator, torch.ones(operator.rows), 0.1)


def share(shape: tuple[int, ...], batch: int, number: int, rounds: int = 15) -> tuple[float, float]:
    """Seconds of an evaluation of the default network, and median of what the guide adds to it, as a share."""
    design = Design.from_mapping({"preset": "edm"})
    predictor = design.predictor(UNet(UNetConfig(shape, 10, (16, 32)))).eval()
    guided = observe(
        predictor, stations(shape, number), design.noise, covariance=covariance(torch.Size(shape).numel(), EOFS)
    )
    y, rho, cond = torch.randn(batch, *shape), torch.ones(batch), {LABEL: torch.zeros(batch, dtype=torch.long)}
    taken: dict[str, list[float]] = {"without": [], "with": []}
    with torch.no_grad():
        guided(y, rho, cond)  # makes what is kept per level
        for _ in range(rounds):
            for name, asked in (("without", predictor), ("with", guided)):
                begun = time.perf_counter()
                asked(y, rho, cond)
                taken[name].append(time.perf_counter() - begun)
    ratios = [b / a - 1 for a, b in zip(taken["without"], taken["with"], strict=True)]
    return median(taken["without"]), median(ratios)


def large(number: int, steps: int, n: int) -> tuple[float, float]:
    """Seconds of drawing, and the peak of the process in GB."""
    shape, noise = (2, 721, 1440), Gaussian()
    of_data = covariance(torch.Size(shape).numel(), EOFS)
    solver = Solver("ode", "2m-data", "karras", steps, rho_max=20, rho_min=0.02, denoise=True)
    table = tabulate(solver, Design.from_mapping({"preset": "edm"}).schedule)
    law = lambda y, rho, cond: y * (rho / (1 + rho**2)).view(-1, 1, 1, 1)  # of data of variance 1
    guided = observe(law, stations(shape, number // 2), noise, covariance=of_data)
    begun = time.perf_counter()
    sample(guided, table, noise, 0, range(n), shape, {})
    return time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.large:
        print("| stations | evaluations | samples | seconds | peak, GB |\n|---|---|---|---|---|")
        for steps in (5, 10):
            seconds, peak = large(1000, steps, 4)
            print(f"| 1,000 | {steps} | 4 | {seconds:.0f} | {peak:.1f} |", flush=True)
        return
    print("| samples | observed values | ms per evaluation | the guide adds |\n|---|---|---|---|")
    for shape, batch, number in (((1, 8, 8), 200, 32), ((2, 20, 24), 100, 24), ((2, 20, 24), 100, 200)):
        seconds, added = share(shape, batch, number)
        print(f"| {batch} of {shape} | {number * shape[0]} | {1000 * seconds:.0f} | {added:.1%} |", flush=True)


if __name__ == "__main__":
    main()
