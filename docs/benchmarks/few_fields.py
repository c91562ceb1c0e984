"""Few fields, on cells and on the coefficients of their EOFs, for about the same training time.

    python docs/benchmarks/few_fields.py            # about a quarter of an hour of one free core
    python docs/benchmarks/few_fields.py 0          # one seed of the three

500 training fields of ``docs/benchmarks/weather.py``'s data on 8 x 16 cells, with larger scales (nu 4, slope 3), against 20,000 of the truth. Of t-EDM with
EOFs two more rows: without what the EOFs leave (``none``), and with white noise of its variance in its place (``white``). Each design also with the
marginal step: after sampling (``mapped``), fitted to 2,000 other samples and the training fields, and before training (``scored``: normal scores, of EDM).
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from weather import DESIGNS, LEVEL, LEVELS, anomalies, train_and_draw

from levy_core.base.seeds import Streams
from levy_core.datasets.fields.normal_scores import NormalScores
from levy_core.datasets.fields.quantile_mapping import QuantileMapping
from levy_core.metrics.fields import spatial
from levy_core.nets.latent import Latent


@dataclass(frozen=True)
class Few:
    """Few fields with large scales; steps on cells and on coefficients that take about the same time."""

    shape: tuple[int, int] = (8, 16)
    slope: float = 3.0
    nu: float = 4.0
    data: int = 500
    samples: int = 1000
    truth: int = 20_000
    channels: tuple[int, ...] = (16, 32)
    batch: int = 32
    steps: tuple[int, int] = (300, 5000)
    latents: tuple[float, ...] = (0.9,)
    mapped: int = 2000
    seeds: tuple[int, ...] = (0, 1, 2)

    def fields(self, seed: int, n: int) -> np.ndarray:
        """Float64 [n, H, W]."""
        return anomalies(self.nu, seed, n, self.shape, self.slope).double().numpy()[:, 0]


# LIM's network predicts the noise, EDM's the field itself: LIM with the one and with the other.
DENOISER = {"param": "denoiser", "weight": "edm", "sigma_data": LEVELS["sigma_data"]}
LIM = {f"LIM {alpha:g}": {"preset": "lim", "alpha": alpha} for alpha in (1.8, 2.0)}
FEW = {**DESIGNS, **LIM, **{f"{name}, denoiser": design | DENOISER for name, design in LIM.items()}}


class Truth:
    """What fields are held against."""

    def __init__(self, few: Few):
        self.few, fields = few, few.fields(10_000, few.truth)
        self.pairs = spatial.pairs_by_distance(np.ones(few.shape, bool))
        self.of_truth = self.measures(fields)

    def measures(self, x: np.ndarray) -> dict[str, Any]:
        """Of fields [n, H, W]: 99.9 % of cells, 99 % of the means of fields, joint exceedance by distance, power by scale, roughness."""
        power = spatial.field_power(x)
        return {
            "q999": np.quantile(x, LEVEL),
            "mean99": np.quantile(np.abs(x.mean((1, 2))), 0.99),
            "joint": np.array([spatial.joint_exceedance(x, pairs) for pairs in self.pairs]),
            "power": spatial.damped_power(power, spatial.variances(power, self.few.shape), 1.0),
            "rough": np.median(np.abs(np.diff(x, axis=2)).mean((1, 2))),
        }

    def compare(self, x: np.ndarray) -> tuple[float, float, float, float, float]:
        """Ratios of quantile, area mean and roughness; errors of joint exceedance and, in logarithms, of power."""
        found, real = self.measures(x), self.of_truth
        ratios = [float(found[name] / real[name]) for name in ("q999", "mean99", "rough")]
        power = np.log(found["power"] / real["power"])
        return (
            *ratios,
            float(np.sqrt(((found["joint"] - real["joint"]) ** 2).mean())),
            float(np.sqrt((power**2).mean())),
        )


def add_rest(latent: Latent, z: torch.Tensor, seed: int, rest: str) -> torch.Tensor:
    """Fields of coefficients, and what the EOFs leave: as a model draws it, not at all, or without its patterns."""
    streams, fields = Streams.of_samples(seed, "rest", range(len(z))), latent.decode(z)
    if rest == "white":
        return fields + ((latent.rest**2).sum(0) + latent.white**2).sqrt() * streams.normal(latent.shape)
    return fields if rest == "none" else fields + latent.draw_rest(streams)


def rows_of(few: Few) -> Iterator[tuple[str, int, float, tuple[float, ...]]]:
    """Name, seed, seconds of training and what ``Truth.compare`` gives; ``training`` and ``fresh`` are fields of the generator."""
    truth = Truth(few)
    for seed in few.seeds:
        data = few.fields(seed, few.data)
        yield "training", seed, 0.0, truth.compare(data)
        yield "fresh", seed, 0.0, truth.compare(few.fields(1000 + seed, few.samples))
        for name, settings in FEW.items():
            for eofs in (*few.latents, None):
                chosen = settings | {"eofs": eofs} | ({"nu": few.nu} if name == "t-EDM" else {})
                title = f"{name}, {'cells' if eofs is None else f'eofs {eofs:g}'}"
                rests = ("gaussian", "none", "white") if eofs and name == "t-EDM" else ("gaussian",)
                made, seconds = draw(few, chosen, data, seed, rests)
                for rest, fields in made.items():
                    yield (
                        title if rest == "gaussian" else f"{title}, {rest}",
                        seed,
                        seconds,
                        truth.compare(fields[: few.samples]),
                    )
                mapping = QuantileMapping.fit(made["gaussian"][few.samples :], data)
                yield f"{title}, mapped", seed, seconds, truth.compare(mapping.forward(made["gaussian"][: few.samples]))
                if name == "EDM":  # heavy-tailed noise and light-tailed scores exclude each other
                    scores = NormalScores.fit(data)
                    made, seconds = draw(few, chosen, scores.forward(data), seed, ("gaussian",))
                    yield (
                        f"{title}, scored",
                        seed,
                        seconds,
                        truth.compare(scores.inverse(made["gaussian"][: few.samples])),
                    )


def draw(
    few: Few, settings: dict[str, Any], data: np.ndarray, seed: int, rests: tuple[str, ...]
) -> tuple[dict[str, np.ndarray], float]:
    """Samples [N, H, W] of a design trained on fields [n, H, W], by what stands for what the EOFs leave, and seconds of training."""
    steps, known = few.steps[bool(settings["eofs"])], torch.from_numpy(data)[:, None].float()
    x, latent, seconds = train_and_draw(settings, known, few.channels, few.batch, steps, few.samples + few.mapped, seed)
    fields = {rest: add_rest(latent, x, seed, rest) if latent else x for rest in rests}
    return {rest: made.double().numpy()[:, 0] for rest, made in fields.items()}, seconds


def main(arguments: list[str]) -> None:
    """Prints one row per run, then the means over seeds, each with its smallest and largest."""
    torch.set_num_threads(1)
    found: dict[str, list[tuple[float, ...]]] = {}
    print("fields                   seed seconds   q999 mean99  rough  joint  power")
    for name, seed, seconds, row in rows_of(Few(seeds=tuple(map(int, arguments)) or Few.seeds)):
        found.setdefault(name, []).append(row)
        print(f"{name:24} {seed:4d} {seconds:7.0f} " + " ".join(f"{value:6.2f}" for value in row), flush=True)
    for name, rows in found.items():
        cells = [f"{np.mean(v):.2f} ({min(v):.2f}, {max(v):.2f})" for v in zip(*rows, strict=True)]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main(sys.argv[1:])
