"""What the sampling loop costs beyond the network: python docs/benchmarks/sampling.py

Time: a U-Net on 32 x 32 images; the loop's own share of the time inside ``sample``. Memory: the peak of a process that
samples with 10 and with 1,000 steps.
"""

import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
from memory import peak

from levy_core.base.conditions import of_labels
from levy_core.nets.precision import parameter_count
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.process.noise import Stable
from levy_core.sampling.loop import sample
from levy_core.sampling.solver import Solver, tabulate

SHAPE, BATCH = (3, 32, 32), 32


class Timed(torch.nn.Module):
    """A network that keeps the time spent in it."""

    def __init__(self, net):
        super().__init__()
        self.net, self.seconds = net, 0.0

    def forward(self, *inputs):
        begun = time.perf_counter()
        out = self.net(*inputs)
        self.seconds += time.perf_counter() - begun
        return out


SIZES = {"small": ((32, 64), 1), "middling": ((64, 128, 256), 1)}  # channels and layers; published ones are larger


def unet(size: str) -> UNet:
    """A U-Net with random weights."""
    channels, layers = SIZES[size]
    torch.manual_seed(0)
    return UNet(UNetConfig(SHAPE, 10, channels, layers)).eval()


def overhead(size: str, solver: Solver, isotropic: bool) -> tuple[float, float]:
    """(share of the network's time that the loop adds, milliseconds of one evaluation)."""
    design = Design.from_mapping({"preset": "lim", "isotropic": isotropic})
    net = Timed(unet(size))
    predictor, table = design.predictor(net), tabulate(solver, design.schedule)
    shares = []
    for turn in range(3):
        net.seconds, begun = 0.0, time.perf_counter()
        sample(predictor, table, design.noise, turn, range(BATCH), SHAPE, of_labels(torch.full((BATCH,), 10)))
        total = time.perf_counter() - begun
        if turn:  # the first one warms up
            shares.append((total - net.seconds) / net.seconds)
    return statistics.median(shares), 1000 * net.seconds / table.nfe


def memory_of(steps: int) -> int:
    """Peak MiB of a process that samples with a small network."""
    code = f"from sampling import _sample; _sample({steps})"
    command = [sys.executable, "-c", code]
    return int(subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True).stdout)


def _sample(steps: int) -> None:
    noise = Stable(1.8)
    table = tabulate(Solver("sde-e", "2m-data", "karras", steps, 0.2), Design.from_mapping({"preset": "lim"}).schedule)
    sample(lambda y, rho, cond: 0.9 * y / rho[0], table, noise, 0, range(64), SHAPE, of_labels(torch.zeros(64)))
    print(peak())


def main() -> None:
    """Prints Markdown."""
    print(
        f"{platform.machine()}, torch {torch.__version__}, {torch.get_num_threads()} threads, batch {BATCH} of {SHAPE}"
    )
    for size in SIZES:
        print(f"\nU-Net of {parameter_count(unet(size)):,} parameters\n")
        print("| solver, 10 evaluations | one evaluation, ms | added by the loop |\n|---|---|---|")
        table(size)
    few, many = memory_of(10), memory_of(1000)
    print(f"\npeak memory of a process: {few} MiB with 10 steps, {many} MiB with 1,000 steps")


def table(size: str) -> None:
    """Rows of one network."""
    for solver, isotropic in (
        (Solver("ode", "ei-noise", "karras", 10), True),
        (Solver("ode", "3m-data", "karras", 10, limit="dynamic"), True),
        (Solver("sde-e", "2m-data", "karras", 10, 0.2), True),
        (Solver("sde-e", "2m-data", "karras", 10, 0.2), False),
        (Solver("posterior", "ei-noise", "karras", 10), True),
    ):
        share, milliseconds = overhead(size, solver, isotropic)
        kind = "isotropic" if isotropic else "independent"
        print(f"| {solver.label}, {kind} | {milliseconds:.0f} | {share:.1%} |", flush=True)


if __name__ == "__main__":
    main()
