"""Probabilities of events of exact laws, the table of docs/events.md: python docs/benchmarks/events.py

Fields of four values, an event of one of them; 20 runs of `levy event`'s 2,000 particles each, by seeds 0 to 19.
"""

import time

import torch
from scipy import stats

from levy_core.process.noise import Gaussian, Stable, StudentT
from levy_core.sampling.events import FEWEST
from levy_core.sampling.oracles import Scale, Student
from tests.support.steered import SYSTEMS, ensemble_of

RUNS, SIZE = 20, 200
LAWS = (
    ("Gaussian", Scale(Gaussian()), stats.norm()),
    ("Student-t, 4 degrees; Gaussian", Student(Gaussian(), 4.0), stats.t(4)),
    ("Student-t, 4 degrees; Student-t, 5", Student(StudentT(5.0), 4.0), stats.t(4)),
    ("stable, alpha 1.7", Scale(Stable(1.7)), stats.levy_stable(1.7, 0)),
)


def main() -> None:
    """One line per law and probability."""
    torch.set_num_threads(1)
    print(
        "| data; noise | probability | mean / true | variance of counting / variance | in the interval | effective | refused | s |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, oracle, law in LAWS:
        for probability in (1e-2, 1e-3, 1e-4):
            threshold, begun = float(law.isf(probability)), time.process_time()
            found = [ensemble_of(oracle, threshold, SIZE, seed).exceedance(threshold) for seed in range(RUNS)]
            each = torch.tensor([e.probability for e in found], dtype=torch.float64)
            gain = probability * (1 - probability) / (SIZE * SYSTEMS) / float(each.var())
            hits = sum(e.low <= probability <= e.high for e in found)
            effective = sorted(e.effective for e in found)[RUNS // 2]
            refused = sum(e.effective < FEWEST for e in found)
            spent = (time.process_time() - begun) / RUNS
            print(
                f"| {name} | {probability:g} | {float(each.mean()) / probability:.2f} | {gain:.1f} | {hits} of {RUNS} | {effective:.0f} | "
                f"{refused} | {spent:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
