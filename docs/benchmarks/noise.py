"""Rates of drawing noise, side by side with torch.randn and scipy: python docs/benchmarks/noise.py [--draws 1e9] [--device cuda]

Rates of one run compare; machines and loads differ between runs. --draws also counts values that are not finite. The second table
is of the noise that a GPU draws itself, on --device: `cpu` (the default) runs the same code.
"""

import argparse
import platform
import statistics
import time

import torch
from scipy import stats

from levy_core.base.philox import PhiloxStreams
from levy_core.base.seeds import BatchStream, Streams
from levy_core.process.noise import Gaussian, Stable, StudentT
from levy_core.training.drawing import draw_noise

BATCH, SHAPE = 128, (3, 32, 32)
VALUES = BATCH * 3 * 32 * 32
STEP, STEP_SHAPE = 256, (3, 64, 64)  # the rows of a training step on a GPU
STEP_VALUES = STEP * 3 * 64 * 64


def rate(draw, values=VALUES, rounds=3, wait=lambda: None):
    """Million values per second: the median of rounds. ``wait`` returns when the device has drawn."""
    draw()
    seconds = []
    for _ in range(rounds):
        wait()
        begun = time.perf_counter()
        draw()
        wait()
        seconds.append(time.perf_counter() - begun)
    return values / statistics.median(seconds) / 1e6


def rates(alpha: float) -> dict[str, float]:
    """Of every way to draw, taken in turn so that a busy machine is busy for all."""
    generator, source = torch.Generator().manual_seed(0), BatchStream(BATCH, "benchmark")
    streams = Streams.of_samples(0, "benchmark", range(BATCH))
    ways = {
        "torch.randn": (lambda: torch.randn(BATCH, *SHAPE, generator=generator), VALUES),
        "isotropic": (lambda: Stable(alpha).sample(SHAPE, source), VALUES),
        "isotropic, per-sample seeds": (lambda: Stable(alpha).sample(SHAPE, streams), VALUES),
        "Student-t": (lambda: StudentT(4.0).sample(SHAPE, source), VALUES),
        "independent": (lambda: Stable(alpha, isotropic=False).sample(SHAPE, source), VALUES),
        "independent, per-sample seeds": (lambda: Stable(alpha, isotropic=False).sample(SHAPE, streams), VALUES),
        "scipy levy_stable.rvs": (lambda: stats.levy_stable.rvs(alpha, 0, size=VALUES), VALUES),
    }
    turns = [{name: rate(*way) for name, way in ways.items()} for _ in range(5)]
    return {name: statistics.median(turn[name] for turn in turns) for name in ways}


def own_rates(alpha: float, device: torch.device) -> dict[str, tuple[float, float]]:
    """Of noise that a device draws itself: million values per second, and the rate over that of torch.randn on it in the same round."""
    generator = torch.Generator(device).manual_seed(0)
    rows, laws = range(STEP), {"Gaussian": Gaussian(), "isotropic": Stable(alpha), "Student-t": StudentT(4.0)}
    laws["independent"] = Stable(alpha, isotropic=False)
    ways = {"torch.randn": lambda: torch.randn(STEP, *STEP_SHAPE, generator=generator, device=device)}
    for name, law in laws.items():
        if device.type == "cpu":
            ways[f"{name}, of a CPU's own"] = lambda law=law: draw_noise(
                law, STEP_SHAPE, (0,), 1, slice(0, STEP), False
            )
        for fused in (False, True):
            way = lambda law=law, fused=fused: law.sample(STEP_SHAPE, PhiloxStreams([0] * STEP, rows, device, fused))
            ways[f"{name}, {'fused' if fused else 'not fused'}"] = way
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    turns = [{name: rate(way, STEP_VALUES, 1, wait) for name, way in ways.items()} for _ in range(9)]
    shares = {name: statistics.median(turn[name] / turn["torch.randn"] for turn in turns) for name in ways}
    return {name: (statistics.median(turn[name] for turn in turns), shares[name]) for name in ways}


def count_not_finite(draws: int) -> int:
    """Of ``draws`` values over alpha 1.05 to 2, isotropic (many samples of 4) and independent."""
    bad, kinds = 0, [(alpha, iso) for alpha in (1.05, 1.2, 1.5, 1.8, 1.99, 2.0) for iso in (True, False)]
    block = 4_000_000
    for alpha, isotropic in kinds:
        source = BatchStream(block // 4, "finite", str(alpha))
        for _ in range(max(1, draws // len(kinds) // block)):
            e = Stable(alpha, isotropic).sample((4,), source)
            bad += int((~torch.isfinite(e.bfloat16())).sum())
    return bad


def main() -> None:
    """Prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=lambda text: int(float(text)), default=0, help="also check so many draws")
    parser.add_argument("--device", type=torch.device, default="cpu", help="of the second table: cpu or cuda")
    arguments = parser.parse_args()
    for threads in dict.fromkeys((1, torch.get_num_threads())):
        torch.set_num_threads(threads)
        print(
            f"\n{platform.machine()}, torch {torch.__version__}, {threads} thread(s), batch {BATCH} of {SHAPE}, alpha 1.5\n"
        )
        print("| noise | million values per second | of randn | of scipy |\n|---|---|---|---|")
        found = rates(1.5)
        for name, value in found.items():
            print(
                f"| {name} | {value:.1f} | {value / found['torch.randn']:.2f} | {value / found['scipy levy_stable.rvs']:.1f} |"
            )
    torch.set_num_threads(1)
    device = torch.cuda.get_device_name() if arguments.device.type == "cuda" else f"{platform.machine()}, 1 thread"
    print(f"\n{device}, torch {torch.__version__}, batch {STEP} of {STEP_SHAPE}, alpha 1.5\n")
    print("| noise as a GPU draws it | million values per second | of randn |\n|---|---|---|")
    for name, (value, share) in own_rates(1.5, arguments.device).items():
        print(f"| {name} | {value:.1f} | {share:.2f} |")
    if arguments.draws:
        print(
            f"\nnot finite in bfloat16, of {arguments.draws:,} draws at alpha 1.05 to 2: {count_not_finite(arguments.draws)}"
        )


if __name__ == "__main__":
    main()
