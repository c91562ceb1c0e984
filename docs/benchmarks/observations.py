"""Guides towards observations against exact posteriors, the table of docs/observations.md: python docs/benchmarks/observations.py [--conjugate]

Twelve observations of 5 of 16 correlated values, or of four means of four, 400 samples of each; energy distance and width E|X - X'|, both in units of the
posterior's own width. C-PiGDM at 5, 10, 20 and 50 steps, with two weights, 24 observations, with standard errors between them; --conjugate
measures nothing else.
"""

import argparse

import torch

from levy_core.observations.conditional import Tails, rescale
from levy_core.observations.conjugate import sample_conjugate, vp_levels
from levy_core.observations.guides import observe
from levy_core.observations.observation import Observation
from levy_core.observations.operators import CellMeans, block_mean
from levy_core.observations.oracles import Mixture
from levy_core.process.noise import Gaussian, Noise, StudentT
from levy_core.sampling.solver import StepTable
from tests.support.observed import SEEN, D, compare, draw, observe_each, one_regime, table, three_regimes

COUNT, MANY, SAMPLES = 12, 24, 400
TAILED = StudentT(5.0)


def measure(
    oracle: Mixture, noise: Noise, guide: str, steps: StepTable, fields: torch.Tensor, tails: Tails | None = None
) -> str:
    """Energy distance and width, means over the observations."""
    observation, laws = observe_each(oracle, SAMPLES, fields)
    covariance, c = oracle.covariance(), torch.ones(1)
    if guide == "exact":
        drawn = torch.cat([draw(law, steps, noise, SAMPLES) for law in laws])
    else:
        if tails is not None:
            observation, c = rescale(observation, covariance, tails)
        guided = observe(oracle, observation, noise, guide, covariance)
        drawn = draw(guided, steps, noise, SAMPLES * len(laws)) * c[:, None]
    means = torch.tensor([compare(x, law) for x, law in zip(drawn.split(SAMPLES), laws, strict=True)]).mean(0)
    return f"{means[0]:.3f} ({means[1]:.2f})"


def compare_guides(name: str, oracle: Mixture, noise: Noise, tables: list[StepTable], guides: list[str]) -> None:
    """One line per guide."""
    fields = oracle.data(COUNT, (D,), seed=5)
    for guide in guides:
        print(
            "|",
            name,
            "|",
            guide,
            "|",
            " | ".join(measure(oracle, noise, guide, t, fields) for t in tables),
            "|",
            flush=True,
        )


def compare_conjugate(name: str, oracle: Mixture, seen: CellMeans) -> None:
    """One line per weight of C-PiGDM at 5, 10, 20 and 50 steps of its own: energy distances, with standard errors between observations."""
    fields = oracle.data(MANY, (D,), seed=5).double().view(MANY, *seen.shape)
    values = seen.apply(fields)
    laws = [oracle.given(Observation(seen, v)) for v in values]
    observation = Observation(seen, values.repeat_interleave(SAMPLES, 0))
    flat = lambda y, rho, cond: oracle(y.flatten(1), rho, cond).view_as(y)
    for weight in (8.0, 15.0):
        found = []
        for steps in (5, 10, 20, 50):
            drawn = sample_conjugate(flat, observation, weight, vp_levels(steps), 0, range(SAMPLES * MANY), {})
            parts = zip(drawn.flatten(1).split(SAMPLES), laws, strict=True)
            apart = torch.tensor([compare(x, law)[0] for x, law in parts])
            found.append(f"{apart.mean():.3f} ± {apart.std() / MANY**0.5:.3f}")
        print(f"| {name} | {weight:g} | {' | '.join(found)} |", flush=True)


def compare_extremes() -> None:
    """The largest 12 of 1,000 observations, as they are and rescaled."""
    oracle, tails = one_regime(TAILED, 4.0), Tails(4.0, bounded=False, skewed=False)
    fields = oracle.data(1000, (D,), seed=3)
    seen = SEEN.apply(fields)
    size = ((seen @ torch.linalg.inv(oracle.covariance().observed(SEEN))) * seen).sum(1)
    for guide in ("exact", "interpolation", "jacobian"):
        for given in (None, tails) if guide != "exact" else (None,):
            found = measure(oracle, TAILED, guide, table(20), fields[size.topk(COUNT).indices], given)
            print("extreme,", guide, "rescaled:" if given else "plain:", found, flush=True)


def main() -> None:
    """Prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--conjugate", action="store_true")
    arguments = parser.parse_args()
    for regimes, oracle in (("Gaussian", one_regime()), ("three regimes", three_regimes())):
        compare_conjugate(f"{regimes}, cells", oracle, SEEN)
        compare_conjugate(f"{regimes}, means", oracle, block_mean((1, 1, D), (1, 4)))
    if arguments.conjugate:
        return
    every = ["exact", "interpolation", "jacobian", "pigdm", "projection"]
    second, first = [table(n) for n in (5, 10, 20)], [table(n, "ei-noise") for n in (5, 10, 20)]
    compare_guides("Gaussian, 2m-data", one_regime(), Gaussian(), second, every)
    compare_guides("Gaussian, ei-noise", one_regime(), Gaussian(), first, ["exact", "interpolation", "pigdm"])
    compare_guides("three regimes, 2m-data", three_regimes(), Gaussian(), second, every)
    compare_guides("three regimes, ei-noise", three_regimes(), Gaussian(), first, ["pigdm"])
    compare_guides("Student-t, 2m-data", one_regime(TAILED, 4.0), TAILED, second, [*every[:3], "projection"])
    compare_extremes()
    injecting = [table(n, "ei-noise", eta=0.5) for n in (10, 20, 50)]
    compare_guides("Gaussian, SDE-E(0.5), 10 20 50", one_regime(), Gaussian(), injecting, ["exact", "interpolation"])
    compare_guides(
        "Student-t, SDE-E(0.5), 10 20 50", one_regime(TAILED, 4.0), TAILED, injecting, ["exact", "interpolation"]
    )


if __name__ == "__main__":
    main()
