"""Whether the search for a sampler earns its place, on exact oracles: python docs/benchmarks/searching.py [--law ring] [--searches 8]

At each budget and number of evaluations: Bayesian proposals (TPE) against random ones, both with the same successive halving, with and
without a judgement on fresh seeds that is paid from the same budget; and the best of the samplers that it begins with. Every sampler
found is then measured with samples that no search has seen. Prints a Markdown table. What a search begins with was chosen on the nine
modes; nobody has looked at a solver on the ring.
"""

import argparse
import platform
from dataclasses import dataclass
from functools import cache
from math import cos, isfinite, nan, pi, sin

import numpy as np
import optuna
import torch

from levy_core.base.seeds import BatchStream
from levy_core.process.noise import Gaussian, Stable
from levy_core.process.schedule import Cosine, Exploding, Schedule
from levy_core.sampling.loop import begin, solve
from levy_core.sampling.oracles import Modes, mean_distance, nine_modes
from levy_core.sampling.search import rungs, search
from levy_core.sampling.solver import Solver, tabulate
from levy_core.sampling.space import Space
from tasks.runtime.progress import bar

RING = tuple((1.5 * cos(k * pi / 4), 1.5 * sin(k * pi / 4)) for k in range(8))


@dataclass(frozen=True, eq=False)
class Law:
    """What samples are drawn of, without a network."""

    oracle: Modes
    schedule: Schedule


LAWS = {
    "nine": Law(nine_modes(Stable(1.5)), Cosine(1.5)),
    "ring": Law(
        Modes(Gaussian(), RING, (0.01, 0.02, 0.03, 0.05, 0.1, 0.15, 0.24, 0.4), 0.15), Exploding(2.0, sigma_max=80.0)
    ),
}
SPACE = Space(
    solvers=("ode", "sde-e"),
    discretisations=("euler-maruyama", "ei-noise", "2m-data", "3m-data"),
    grids=("uniform-t", "uniform-log-rho", "karras"),
    eta_schedules=("constant", "falling"),
    limits=("none",),
    eta=(0.01, 1.0),
    rho_max=(5.0, 200.0),
    rho_min=(0.005, 0.2),
)
COUNTS = rungs(50, 2, 200)  # samples of a trial
DATA, N = 2000, 6000  # data that score it; samples and data of the final measure
FINAL = 10**6  # a seed of no search
PROPOSALS = {"TPE": optuna.samplers.TPESampler, "random": lambda seed, **_: optuna.samplers.RandomSampler(seed=seed)}


def draw(law: Law, solver: Solver, n: int, seed: int) -> torch.Tensor:
    """Samples [n, 2]."""
    table, source = tabulate(solver, law.schedule), BatchStream(n, "searching", seed)
    y, ancestral = begin(table, law.oracle.noise, source, (2,))
    with torch.inference_mode():
        return solve(law.oracle, table, law.oracle.noise, source, y, torch.zeros(n), range(n), ancestral)


@cache
def data(law: Law, n: int, seed: int) -> tuple[torch.Tensor, float]:
    """Data of the mixture, and their mean distance from each other."""
    drawn = law.oracle.data(n, (2,), seed=seed)
    return drawn, float(mean_distance(drawn, drawn)) * n / (n - 1)


class Energy:
    """Energy distance of the first n samples of one seed to data of the mixture, without bias."""

    def __init__(self, law: Law, seed: int, size: int = DATA):
        self.law, self.seed, self.size = law, seed, size

    def __call__(self, solver: Solver, n: int) -> float:
        drawn, (real, within) = draw(self.law, solver, n, self.seed), data(self.law, self.size, self.seed)
        if not torch.isfinite(drawn).all():
            return nan
        return float(2 * mean_distance(drawn, real) - mean_distance(drawn, drawn) * n / (n - 1)) - within


@cache
def measure(law: Law, solver: Solver) -> float:
    """What a sampler is worth."""
    return Energy(law, FINAL, N)(solver, N)


def row(law: Law, proposals: str, judged: bool, steps: int, budget: int, searches: int) -> np.ndarray:
    """The worth of what each search found."""
    tpe, optuna.samplers.TPESampler = optuna.samplers.TPESampler, PROPOSALS[proposals]
    try:
        found = [
            search(
                Energy(law, seed), law.schedule, SPACE, steps, budget, COUNTS, seed,
                fresh=(lambda k, seed=seed: Energy(law, 1000 + 10 * seed + k)) if judged else None,
            )
            for seed in range(searches)
        ]  # fmt: skip
    finally:
        optuna.samplers.TPESampler = tpe
    return np.array([measure(law, one.best.solver) for one in found])


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--law", choices=LAWS, default="nine")
    parser.add_argument("--searches", type=int, default=8, help="of each row, with seeds of their own")
    parser.add_argument("--budgets", default="3000,8000,20000")
    parser.add_argument("--steps", default="5,8")
    arguments = parser.parse_args()
    budgets, steps = ([int(n) for n in text.split(",")] for text in (arguments.budgets, arguments.steps))
    law = LAWS[arguments.law]
    print(
        f"{platform.machine()}, torch {torch.__version__}, {arguments.law}, {arguments.searches} searches per entry; energy distance x 1000."
    )
    print(
        "\n| evaluations | proposals | judged on fresh seeds | " + " | ".join(f"{b:,} samples" for b in budgets) + " |"
    )
    print("|---|---|---|" + "---|" * len(budgets))
    rows = [(n, p, judged) for n in steps for p in PROPOSALS for judged in (False, True)]
    for n, proposals, judged in bar(rows, "rows", unit="row"):
        values = [1000 * row(law, proposals, judged, n, budget, arguments.searches) for budget in budgets]
        cells = [f"{v.mean():.2f} ± {v.std(ddof=1) / len(v) ** 0.5:.2f}" for v in values]
        print(f"| {n} | {proposals} | {'yes' if judged else 'no'} | {' | '.join(cells)} |", flush=True)
    for n in steps:
        starts = [
            Solver(*s["form"].split(" "), **{k: v for k, v in s.items() if k not in ("form", "guide")}, steps=n)
            for s in SPACE.starts(law.schedule)
        ]
        worth = [1000 * measure(law, start) for start in starts]
        print(f"\n{n} evaluations, what a search begins with: {', '.join(f'{w:.2f}' for w in worth if isfinite(w))}")


if __name__ == "__main__":
    main()
