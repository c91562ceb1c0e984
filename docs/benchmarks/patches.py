"""Whole fields from overlapping patches against a network that sees whole fields, on fields of known law; and what both take of memory.

    python docs/benchmarks/patches.py                   # about ten minutes of one core
    python docs/benchmarks/patches.py 0                 # one seed of the two
    python docs/benchmarks/patches.py ideal             # without training: the exact denoiser of a patch, half a minute
    python docs/benchmarks/patches.py memory patches    # one evaluation of a field of 5 x 721 x 1440; or: whole
    python docs/benchmarks/patches.py memory patches gradient   # with its gradient by the field, as guides ask for it

Anomalies of ``levy_core.datasets.synthetic`` on 40 x 40 cells of a box, independent in time. Networks of equal size see as many cells per step, for as many
steps: 25 patches of 16 x 16, or 4 fields. One network of patches draws with every overlap.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from memory import peak
from weather import LEVELS, TRAIN, anomalies

from levy_core.base.conditions import LABEL, Condition, of_labels
from levy_core.base.patches import Cover, Patches
from levy_core.datasets.synthetic import Synthetic
from levy_core.metrics.fields import spatial
from levy_core.nets.globe import OnPlaces
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.sampling.loop import sample
from levy_core.sampling.solver import Solver, tabulate
from levy_core.training.config import TrainConfig
from levy_core.training.trainer import Trainer

SHAPE, SIDE, SLOPE = (40, 40), (16, 16), 3.0
DEGREES = np.linspace(60, 20, 40), np.linspace(0, 40, 40)
OVERLAPS = (4, 8)
CONTROL_COVER = Cover(
    Patches(SIDE, 0), 32, 32
)  # of a corner that patches without an overlap fill: their seams must be seen
DATA, STEPS, SAMPLES, BATCH, TRUTH = 10_000, 3000, 128, 32, 4000
SOLVER = Solver("ode", "2m-data", "karras", 16, rho_max=80, rho_min=0.01, denoise=True)
LIGHT = 1000.0  # degrees of freedom of fields that are as good as Gaussian
RUNS: dict[str, tuple[dict[str, Any], float, tuple[int, ...]]] = {
    "EDM": ({"preset": "edm", **LEVELS}, LIGHT, (0, 1)),
    "t-EDM": ({"preset": "tedm", "nu": 4.0, **LEVELS}, 4.0, (0,)),
}
TITLES = ("power", "roughness", "across seams / elsewhere", "correlation in a patch", "beyond")


def measure(x: np.ndarray, cover: Cover | None) -> dict[str, Any]:
    """Of fields [n, H, W], each with the weight 1 / (1 + its variance), as of ``damped_power``: power by scale, correlation by distance along rows and
    columns, and the mean squared difference across lines where patches begin or end over that across the others; NaN without patches."""
    power = spatial.field_power(x)
    weights = 1 / (1 + (x**2).mean((1, 2)))
    mean = lambda values: float(weights @ values.mean((1, 2)))
    both = (x, x.transpose(0, 2, 1))
    products = [np.mean([mean(f[:, d:] * f[:, : f.shape[1] - d]) for f in both]) for d in range(x.shape[1])]
    across, elsewhere = [], []
    for axis, fields in enumerate(both if cover else ()):
        assert cover is not None
        starts = {place[axis] for place in cover.places}
        lines = {line for start in starts for line in (start, start + cover.patches.side[axis])}
        squares = np.diff(fields, axis=1) ** 2  # between line - 1 and line
        at = np.isin(np.arange(1, fields.shape[1]), list(lines))
        across, elsewhere = [*across, mean(squares[:, at])], [*elsewhere, mean(squares[:, ~at])]
    return {
        "power": spatial.damped_power(power, spatial.variances(power, x.shape[1:]), 1.0),
        "correlation": np.array(products[1:]) / products[0],
        "rough": np.median(np.sqrt((np.diff(x, axis=2) ** 2).mean((1, 2)))),
        "seams": np.sum(across) / np.sum(elsewhere) if cover else np.nan,
    }


def compare(x: np.ndarray, truth: np.ndarray, cover: Cover | None) -> tuple[float, ...]:
    """As ``TITLES``: RMS of the log ratio of power, ratio of roughness, seams, RMS of the correlation's error within a patch and beyond."""
    found, real = measure(x, cover), measure(truth, cover)
    power, error = np.log(found["power"] / real["power"]), found["correlation"] - real["correlation"]
    rms = lambda values: float(np.sqrt((values**2).mean()))
    rough = float(found["rough"] / real["rough"])
    return rms(power), rough, float(found["seams"]), rms(error[: SIDE[0] - 1]), rms(error[SIDE[0] - 1 :])


def make(shape: tuple[int, int], patches: Patches | None) -> UNet:
    """A network of fields of this shape in the corner of the box."""
    config = UNetConfig((1, *shape), 0, (16, 32), coordinates=True, patches=patches)
    return UNet(config, *(degrees[:size] for degrees, size in zip(DEGREES, shape, strict=True)))


def train(design: Design, data: torch.Tensor, patches: Patches | None, seed: int) -> dict[str, torch.Tensor]:
    """Weights, averaged."""
    torch.manual_seed(seed)
    config: TrainConfig = replace(TRAIN, batch=25 if patches else 4, steps=STEPS, seed=seed)
    cond = of_labels(torch.zeros(len(data), dtype=torch.long))
    trainer = Trainer(design, make(SHAPE, patches), data, cond, {LABEL: torch.tensor(0)}, config, torch.device("cpu"))
    for _ in trainer.run():
        pass
    return trainer.averaged_weights()


def draw(
    design: Design, weights: dict[str, torch.Tensor], shape: tuple[int, int], patches: Patches | None, seed: int
) -> np.ndarray:
    """Samples [n, H, W]."""
    net = make(shape, patches)
    told = net.state_dict()
    net.load_state_dict({name: told[name] if name == "coordinates" else value for name, value in weights.items()})
    return draw_with(design, net, SOLVER, shape, SAMPLES, seed)


def draw_with(design: Design, net: OnPlaces, solver: Solver, shape: tuple[int, int], n: int, seed: int) -> np.ndarray:
    """Samples [n, H, W]."""
    predictor, table = design.predictor(net).eval(), tabulate(solver, design.schedule)
    cond = of_labels(torch.zeros(BATCH, dtype=torch.long))
    parts = [
        sample(predictor, table, design.noise, seed, range(i, i + BATCH), (1, *shape), cond) for i in range(0, n, BATCH)
    ]
    return torch.cat(parts).double().numpy()[:, 0]


class Ideal(OnPlaces):
    """eps_hat of Gaussian fields with the exact covariance of what it sees, a patch or the whole, in the place of a network (``param: noise``)."""

    def __init__(self, shape: tuple[int, int], patches: Patches | None):
        super().__init__()
        self.tell_places(UNetConfig((1, *shape), 0, (8,), patches=patches), None, None, None)
        height, width = patches.side if patches else shape
        rows, columns = np.divmod(np.arange(height * width), width)
        correlation = Synthetic(("t2m",), SHAPE, slope=SLOPE).correlation()
        covariance = correlation[np.abs(rows[:, None] - rows), np.abs(columns[:, None] - columns)]
        variances, vectors = torch.linalg.eigh(torch.from_numpy(covariance))
        self.variances, self.vectors = variances.clamp(min=0).float(), vectors.float()

    def see(self, x: torch.Tensor, log_rho: torch.Tensor, cond: Condition) -> torch.Tensor:
        rho = log_rho.exp()[:, None]
        y = x.flatten(1) * (1 + rho**2).sqrt() @ self.vectors
        return (y * rho / (self.variances + rho**2) @ self.vectors.T).view_as(x)


def ideal_rows() -> Iterator[tuple[str, tuple[float, ...]]]:
    """What patches cost where nothing is learnt: fields and what ``compare`` says of them, and the ratios of the standard deviations of cells and field means."""
    design = Design.from_mapping({**RUNS["EDM"][0], "param": "noise"})
    truth = anomalies(LIGHT, 10_000, TRUTH, SHAPE, SLOPE).double().numpy()[:, 0]
    covers = [None, *(Cover(Patches(SIDE, overlap), *SHAPE) for overlap in (*OVERLAPS, 12)), CONTROL_COVER]
    for cover in covers:
        shape = (cover.height, cover.width) if cover else SHAPE
        x = draw_with(design, Ideal(shape, cover and cover.patches), replace(SOLVER, steps=64), shape, 1024, 0)
        real = truth[:, : shape[0], : shape[1]]
        spreads = [float(f(x).std() / f(real).std()) for f in (np.ravel, lambda fields: fields.mean((1, 2)))]
        yield describe(cover), (*compare(x, real, cover), *spreads)


def describe(cover: Cover | None) -> str:
    """For people."""
    size = "" if cover is None or (cover.height, cover.width) == SHAPE else f", {cover.height} x {cover.width}"
    return "whole" if cover is None else f"patches, overlap {cover.patches.overlap}{size}"


def rows_of(name: str, seed: int) -> Iterator[tuple[str, float, tuple[float, ...]]]:
    """Of a design and seed: fields, CPU seconds of training and drawing, and what ``compare`` says of them."""
    settings, nu, _ = RUNS[name]
    design = Design.from_mapping(settings)
    fields = lambda seed, n: anomalies(nu, seed, n, SHAPE, SLOPE).double().numpy()[:, 0]
    truth, fresh, data = fields(10_000, TRUTH), fields(1000 + seed, SAMPLES), anomalies(nu, seed, DATA, SHAPE, SLOPE)
    covers = [Cover(Patches(SIDE, overlap), *SHAPE) for overlap in OVERLAPS]
    yield f"{SAMPLES} new fields", 0.0, compare(fresh, truth, covers[0])
    for whole in (True, False):
        start = time.process_time()
        weights = train(design, data, None if whole else covers[0].patches, seed)
        trained = time.process_time() - start
        for cover in (None,) if whole else (*covers, CONTROL_COVER):
            start = time.process_time()
            shape = (cover.height, cover.width) if cover else SHAPE
            x = draw(design, weights, shape, cover and cover.patches, seed)
            seconds = trained + time.process_time() - start
            yield describe(cover), seconds, compare(x, truth[:, : shape[0], : shape[1]], cover)


def measure_memory(patched: bool, gradient: bool) -> None:
    """Prints the peak of one evaluation of one field, as a sampler makes it, and what the process took before."""
    shape = (5, 721, 1440)
    patches = Patches((128, 128), 32) if patched else None
    config = UNetConfig(shape, 0, (16, 32, 64), wraps=True, coordinates=True, patches=patches)
    net = UNet(config, np.linspace(90, -90, 721), np.arange(1440) * 0.25).eval().requires_grad_(False)
    predictor, y = Design.from_mapping({"preset": "edm"}).predictor(net), torch.randn(1, *shape)
    label, before, start = of_labels(torch.zeros(1, dtype=torch.long)), peak(), time.process_time()
    with torch.enable_grad() if gradient else torch.inference_mode():
        made = predictor(y.requires_grad_(gradient), torch.ones(1), label)
        if gradient:
            torch.autograd.grad(made.sum(), y)
    what = ("patches" if patched else "whole") + (" with gradient" if gradient else "")
    print(f"{what}: {peak() - before} MiB beside {before} MiB, {time.process_time() - start:.0f} CPU s")


def main(arguments: list[str]) -> None:
    """Prints one row per run, then the means over seeds."""
    torch.set_num_threads(1)
    if arguments[:1] == ["memory"]:
        measure_memory("patches" in arguments, "gradient" in arguments)
        return
    if arguments == ["ideal"]:
        print("fields | " + " | ".join((*TITLES, "sd of cells", "of field means")))
        for title, row in ideal_rows():
            print(f"| {title} | " + " | ".join(f"{v:.3f}" for v in row) + " |", flush=True)
        return
    chosen, found = tuple(map(int, arguments)), dict[str, list[tuple[float, ...]]]()
    print("design seed fields seconds | " + " | ".join(TITLES))
    for name, (_, _, seeds) in RUNS.items():
        for seed in (seed for seed in seeds if not chosen or seed in chosen):
            for title, seconds, row in rows_of(name, seed):
                found.setdefault(f"{name}, {title}", []).append(row)
                print(f"{name:6} {seed} {title:28} {seconds:4.0f} " + " ".join(f"{v:6.3f}" for v in row), flush=True)
    for title, rows in found.items():
        print(
            f"| {title} | " + " | ".join(", ".join(f"{v:.3f}" for v in each) for each in zip(*rows, strict=True)) + " |"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
