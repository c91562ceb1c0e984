"""Integrators of phase space on nine modes, without a network: python docs/benchmarks/phase.py [--n 4000 --seeds 2]

Every integrator draws from the exact oracle of nine modes (levy_core.sampling.oracles.nine_modes, Gaussian noise) on the path published for
CIFAR-10, beside ordinary solvers. Prints a Markdown table: the mean distance to the end points of the exact flow from equal starts, and the
energy distance to data. N counts every evaluation, the last of which returns x0_hat.
"""

import argparse
import platform
from collections.abc import Iterator

import torch
from torch import Tensor

from levy_core.base.errors import NotFiniteError
from levy_core.base.seeds import BatchStream
from levy_core.process.noise import Gaussian
from levy_core.process.schedule import Cosine
from levy_core.sampling.oracles import mean_distance, nine_modes
from levy_core.sampling.phase.integrators import INTEGRATORS, Integrator, tabulate_phase
from levy_core.sampling.phase.loop import follow
from levy_core.sampling.phase.process import PhasePath
from levy_core.sampling.phase.tables import BlockTable, of_step_table
from levy_core.sampling.solver import Solver, tabulate

STEPS = (10, 20, 50)
PATH, NOISE = PhasePath(), Gaussian()
ORACLE = nine_modes(NOISE)
QUADRATIC = {"grid": "quadratic", "rho_max": None, "rho_min": 0.009}  # t from 1 to 0.001, the published striding
NOISY = ("euler-maruyama", "sscs", "naive-oba", "reduced-oba", "reduced-oba-early")
ROOT = ("ddim", "2m", "3m")
BENDS = ((0.0, "identity"), *((b, d) for d in ("identity", "ones") for b in (-0.3, -0.15, -0.05, 0.05, 0.15, 0.3)))


def ordinary(discretisation: str, steps: int) -> BlockTable:
    """The flow on the ordinary path, Karras's grid from 20 to 0.02."""
    solver = Solver("ode", discretisation, "karras", steps, rho_max=20.0, rho_min=0.02, denoise=True)
    return of_step_table(tabulate(solver, Cosine(2.0)))


def rows() -> Iterator[tuple[str, str, list[list[BlockTable | str]]]]:
    """(name, key of the exact flow, per N the tables to choose the best of, or why there is none)."""
    for name in ("ei-data", "2m-data", "3m-data"):
        yield f"**ordinary `ode {name}`**", "ordinary", [[ordinary(name, n)] for n in STEPS]
    for name in INTEGRATORS:
        if name == "conjugate-root":
            continue
        grid = {} if name in ROOT else QUADRATIC
        key = "none" if name in NOISY else "phase" if name in ROOT else "published"
        yield f"`{name}`", key, [[attempt(Integrator(name, **grid), n)] for n in STEPS]
    for name in ("conjugate", "conjugate-root", "conjugate-vv"):
        settings = [Integrator(name, bend=bend, direction=direction, **QUADRATIC) for bend, direction in BENDS]
        yield f"`{name}`, best of 13 bends", "published", [[attempt(setting, n) for setting in settings] for n in STEPS]


def attempt(setting: Integrator, steps: int) -> BlockTable | str:
    """The table, or what is said where it blows up."""
    try:
        return tabulate_phase(PATH, setting, steps)
    except NotFiniteError as error:
        return str(error)


def draw(table: BlockTable, n: int, seed: int) -> Tensor:
    """Samples [n, 2]."""
    with torch.inference_mode():
        return follow(ORACLE, table, NOISE, BatchStream(n, "benchmark", seed), (2,), {}, range(n))


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=4_000, help="samples per seed")
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    n, seeds = arguments.n, range(arguments.seeds)
    data = [ORACLE.data(n, (2,), seed=100 + s) for s in seeds]
    within = [mean_distance(x, x) for x in data]
    references = {
        "ordinary": ordinary("3m-data", 400),
        "phase": tabulate_phase(PATH, Integrator("3m"), 400),
        "published": tabulate_phase(PATH, Integrator("3m", rho_max=None, rho_min=0.009), 400),
    }
    exact = {key: [draw(table, n, s) for s in seeds] for key, table in references.items()}

    def energy(drawn: list[Tensor]) -> float:
        pairs = zip(drawn, data, within, strict=True)
        return sum((2 * mean_distance(x, y) - mean_distance(x, x) - inner) for x, y, inner in pairs) / len(seeds)

    def measure(table: BlockTable, key: str) -> tuple[float, float]:
        drawn = [draw(table, n, s) for s in seeds]
        away = [float((x - y).norm(dim=1).mean()) for x, y in zip(drawn, exact.get(key, drawn), strict=True)]
        return sum(away) / len(seeds), energy(drawn)

    floor = energy([ORACLE.data(n, (2,), seed=200 + s) for s in seeds])
    print(
        f"{platform.machine()}, torch {torch.__version__}, {n} samples per seed, {len(seeds)} seeds; floor {floor:.4f}.\n"
    )
    print("| integrator | " + " | ".join([f"N = {k}" for k in STEPS] * 2) + " |\n|---|" + "---|" * (2 * len(STEPS)))
    for name, key, cells in rows():
        found: list[tuple[float, float] | None] = []
        for tables in cells:
            measured = [measure(table, key) for table in tables if isinstance(table, BlockTable)]
            found.append(min(measured, key=lambda pair: pair[1]) if measured else None)
        away = ["" if key == "none" else "fails" if pair is None else f"{pair[0]:.3f}" for pair in found]
        distance = ["fails" if pair is None else f"{pair[1]:.4f}" for pair in found]
        print(f"| {name} | " + " | ".join([*away, *distance]) + " |", flush=True)


if __name__ == "__main__":
    main()
