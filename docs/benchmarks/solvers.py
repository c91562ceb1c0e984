"""Energy distance against network evaluations, without a network: python docs/benchmarks/solvers.py [--n 10000 --seeds 2]

Every solver draws from the exact oracle of nine modes (levy_core.sampling.oracles.nine_modes, weights 1 % to 30 %, LIM's cosine
schedule) and is compared with data of the same law. Prints Markdown tables. The floor is what two sets of data give.
"""

import argparse
import platform

import torch

from levy_core.base.seeds import BatchStream
from levy_core.process.noise import Stable
from levy_core.process.schedule import Cosine
from levy_core.sampling.loop import begin, solve
from levy_core.sampling.oracles import mean_distance, nine_modes
from levy_core.sampling.solver import Solver, tabulate

STEPS = (5, 10, 20, 50)
NARROW = {"rho_max": 20.0, "rho_min": 0.03, "denoise": True}  # chosen once, for all alphas and steps
FIRST_ORDER = {  # on the grid uniform in t
    "SDE-A euler-maruyama": ("sde-a", "euler-maruyama", 0.0, "constant"),
    "SDE-A ei-score": ("sde-a", "ei-score", 0.0, "constant"),
    "SDE-E(0.1) euler-maruyama": ("sde-e", "euler-maruyama", 0.1, "constant"),
    "SDE-E(0.1) euler-maruyama, quiet end": ("sde-e", "euler-maruyama", 0.1, "quiet-end"),
    "SDE-E(0.5) ei-noise": ("sde-e", "ei-noise", 0.5, "constant"),
    "SDE-E(0.5) ei-noise, quiet end": ("sde-e", "ei-noise", 0.5, "quiet-end"),
    "ODE euler-maruyama": ("ode", "euler-maruyama", 0.0, "constant"),
    "ODE ei-score": ("ode", "ei-score", 0.0, "constant"),
    "ODE ei-noise (DDIM, DLIM)": ("ode", "ei-noise", 0.0, "constant"),
    "split-ddim(0.5)": ("split-ddim", "ei-noise", 0.5, "constant"),
    "posterior (DLPM)": ("posterior", "ei-noise", 0.0, "constant"),
}
HIGHER = {
    "ODE 2m-noise, uniform t": ("ode", "2m-noise", 0.0, {"grid": "uniform-t"}),
    "ODE 2m-noise, log rho": ("ode", "2m-noise", 0.0, NARROW),
    "ODE 2m-data, Karras": ("ode", "2m-data", 0.0, {**NARROW, "grid": "karras"}),
    "ODE 2m-data, log rho": ("ode", "2m-data", 0.0, NARROW),
    "ODE 3m-data, log rho": ("ode", "3m-data", 0.0, NARROW),
    "ODE 3m-data, log rho, from the schedule's own rho": ("ode", "3m-data", 0.0, {**NARROW, "rho_max": None}),
    "SDE-E(0.1) 2m-data, log rho": ("sde-e", "2m-data", 0.1, NARROW),
    "ODE heun, log rho": ("ode", "heun", 0.0, NARROW),
}


def draw(oracle, noise, solver, n, seed):
    """Samples [n, 2] of a solver."""
    table, source = tabulate(solver, Cosine(noise.alpha)), BatchStream(n, "benchmark", seed)
    y, ancestral = begin(table, noise, source, (2,))
    with torch.inference_mode():
        return solve(oracle, table, noise, source, y, torch.zeros(n), range(n), ancestral)


def rows():
    """(name, whether first-order on the uniform grid, N -> Solver)."""
    for name, (family, discretisation, eta, eta_schedule) in FIRST_ORDER.items():
        yield name, True, [Solver(family, discretisation, "uniform-t", n, eta, eta_schedule) for n in STEPS]
    for name, (family, discretisation, eta, options) in HIGHER.items():
        options = {"grid": "uniform-log-rho", **options}
        yield name, False, [Solver(family, discretisation, steps=n, eta=eta, **options) for n in STEPS]


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=10_000, help="samples per seed")
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    n, seeds = arguments.n, range(arguments.seeds)
    print(
        f"{platform.machine()}, torch {torch.__version__}, {n} samples per seed, {len(seeds)} seeds; mean (range over seeds)."
    )
    for alpha in (1.2, 1.5, 1.8):
        noise = Stable(alpha)
        oracle = nine_modes(noise)
        data = [oracle.data(n, (2,), seed=100 + s) for s in seeds]
        within = [mean_distance(x, x) for x in data]

        def distance(x, s, data=data, within=within):
            return 2 * mean_distance(x, data[s]) - mean_distance(x, x) - within[s]

        floor = [distance(oracle.data(n, (2,), seed=200 + s), s) for s in seeds]
        floor_mean = sum(floor) / len(floor)
        print(f"\n### alpha {alpha}: floor {floor_mean:.5f} ({min(floor):.5f} to {max(floor):.5f})\n")
        print("| solver | " + " | ".join(f"N = {k}" for k in STEPS) + " |\n|---|" + "---|" * len(STEPS))
        table = {}
        for name, first, solvers in rows():
            values = [[distance(draw(oracle, noise, solver, n, s), s) for s in seeds] for solver in solvers]
            table[name] = first, [sum(v) / len(v) for v in values]
            print(
                f"| {name} | " + " | ".join(f"{sum(v) / len(v):.5f} ({max(v) - min(v):.5f})" for v in values) + " |",
                flush=True,
            )
        at = STEPS.index
        best = {k: min((means[at(k)], name) for name, (_, means) in table.items()) for k in (10, 20)}
        first = min((means[at(10)], name) for name, (is_first, means) in table.items() if is_first)
        print(
            f"\nN = 10: {best[10][1]} {best[10][0]:.5f}, best first-order on the uniform grid {first[1]} {first[0]:.5f}: "
            f"ratio {best[10][0] / first[0]:.2f}. N = 20: {best[20][1]} {best[20][0]:.5f} = {best[20][0] / floor_mean:.2f} floors."
        )


if __name__ == "__main__":
    main()
