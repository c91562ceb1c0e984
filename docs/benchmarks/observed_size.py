"""What the guide interpolation costs: python docs/benchmarks/observed_size.py [--large VALUES]

Processor time of an evaluation with the guide over one without it, of the networks of the default runs, in alternating rounds. With --large, so many
values at stations on two variables of 721 x 1440 cells and a covariance of 50 EOFs, four samples drawn by five evaluations of a predictor that
costs nothing: processor seconds per evaluation, and memory of the process in GB.
"""

import argparse
import resource
import time
from statistics import median, quantiles

import torch

from levy_core.base.conditions import LABEL
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.observations.covariance import Covariance
from levy_core.observations.guides import observe
from levy_core.observations.observation import Observation
from levy_core.observations.operators import points
from levy_core.process.design import Design
from levy_core.process.noise import Gaussian
from levy_core.sampling.guidance import EpsHat
from levy_core.sampling.loop import sample
from levy_core.sampling.solver import Solver, tabulate

EOFS = 50


def covariance(size: int, eofs: int) -> Covariance:
    """Of smooth patterns and a diagonal."""
    at, patterns = torch.linspace(0, 1, size, dtype=torch.float64), torch.empty(size, eofs, dtype=torch.float64)
    for k in range(eofs):
        patterns[:, k] = torch.sin(torch.pi * (k + 1) * at) / (k + 1)
    return Covariance(torch.zeros(size).double(), patterns, torch.full((size,), 0.1).double())


def stations(shape: tuple[int, ...], number: int) -> Observation:
    """As many places for every channel, all 1 with a std of 0.1."""
    g = torch.Generator().manual_seed(0)
    at = torch.rand(number, 2, generator=g) * torch.tensor([shape[1] - 1.0, shape[2] - 1.0])
    operator = points(shape, at)
    return Observation(operator, torch.ones(operator.rows), 0.1)


def share(shape: tuple[int, ...], batch: int, number: int, rounds: int = 150) -> tuple[float, list[float]]:
    """Processor seconds of an evaluation of the default network, and quartiles of what the guide adds to it, as a share."""
    design = Design.from_mapping({"preset": "edm"})
    predictor = design.predictor(UNet(UNetConfig(shape, 10, (16, 32)))).eval()
    guided = observe(
        predictor, stations(shape, number), design.noise, covariance=covariance(torch.Size(shape).numel(), EOFS)
    )
    y, rho, cond = torch.randn(batch, *shape), torch.ones(batch), {LABEL: torch.zeros(batch, dtype=torch.long)}
    taken: dict[str, list[float]] = {"without": [], "with": []}
    with torch.inference_mode():
        guided(y, rho, cond)  # makes what is kept per level
        for _ in range(rounds):
            for name, asked in (("without", predictor), ("with", guided)):
                begun = time.thread_time()
                asked(y, rho, cond)
                taken[name].append(time.thread_time() - begun)
    ratios = [b / a - 1 for a, b in zip(taken["without"], taken["with"], strict=True)]
    return median(taken["without"]), quantiles(ratios, n=4)


def large(number: int, steps: int, n: int) -> dict[str, float]:
    """Processor seconds per evaluation of n samples that the guide adds, with what it makes once per level and without, and GB."""
    shape, noise = (2, 721, 1440), Gaussian()
    of_data = covariance(torch.Size(shape).numel(), EOFS)
    solver = Solver("ode", "2m-data", "karras", steps, rho_max=20, rho_min=0.02, denoise=True)
    table = tabulate(solver, Design.from_mapping({"preset": "edm"}).schedule)
    law = lambda y, rho, cond: y * (rho / (1 + rho**2)).view(-1, 1, 1, 1)  # of data of variance 1

    def seconds(predictor: EpsHat) -> float:
        begun = time.thread_time()
        sample(predictor, table, noise, 0, range(n), shape, {})
        return (time.thread_time() - begun) / steps

    alone = seconds(law)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    guided = observe(law, stations(shape, number // 2), noise, covariance=of_data)
    first, again = seconds(guided), seconds(guided)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "without": alone,
        "first": first - alone,
        "again": again - alone,
        "patterns": of_data.patterns.numel() * 8 / 2**30,
        "before": before / 2**20,
        "peak": peak / 2**20,
    }


def main() -> None:
    """Prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--large", metavar="VALUES", type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.large:
        found = large(arguments.large, 5, 4)
        print(f"| {' | '.join(found)} |\n|{'---|' * len(found)}\n| {' | '.join(f'{v:.2f}' for v in found.values())} |")
        return
    print("| samples | observed values | ms per evaluation | the guide adds |\n|---|---|---|---|")
    for shape, batch, number in (((1, 8, 8), 200, 32), ((2, 20, 24), 100, 24), ((2, 20, 24), 100, 200)):
        seconds, (low, middle, high) = share(shape, batch, number)
        print(
            f"| {batch} of {shape} | {number * shape[0]} | {1000 * seconds:.0f} | {middle:.1%} ({low:.1%} to {high:.1%}) |",
            flush=True,
        )


if __name__ == "__main__":
    main()
