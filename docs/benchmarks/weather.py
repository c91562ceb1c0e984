"""t-EDM against the Gaussian EDM on made-up weather of known tail index: 99.9 % quantile and tail index of their samples.

    python docs/benchmarks/weather.py            # about twenty minutes of one free core
    python docs/benchmarks/weather.py 1          # one seed of the three, so that they can run side by side
    python docs/benchmarks/weather.py --quick    # about a minute: one seed of one tail index, a tenth of the training

The anomalies of ``levy_core.datasets.synthetic``, one variable, independent in time, divided by their exact standard
deviation. Both designs have the same network, data, training steps, batch rows and sampler; they differ in the noise law alone.
``docs/benchmarks/few_fields.py`` does the same with few fields, and with EOFs.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from math import sqrt
from typing import Any

import numpy as np
import torch
from scipy import integrate, stats

from levy_core.base.conditions import LABEL, of_labels
from levy_core.datasets.synthetic import Synthetic
from levy_core.nets.latent import Latent, fit_latent
from levy_core.nets.mlp import MLP, MLPConfig
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.sampling.loop import sample
from levy_core.sampling.solver import Solver, tabulate
from levy_core.training.config import TrainConfig
from levy_core.training.trainer import Trainer

SHAPE = (8, 8)
# Large scales carry most of a field's variance, so they are decided at higher noise levels than an image's -1.2 +- 1.2.
LEVELS = {"sigma_data": 1.0, "level_mean": 0.5, "level_std": 1.5}
DESIGNS = {"EDM": {"preset": "edm", **LEVELS}, "t-EDM": {"preset": "tedm", **LEVELS}}
SOLVER = Solver("ode", "2m-data", "karras", 20, rho_max=80, rho_min=0.01, denoise=True)
LEVEL, SHARE = 0.999, 0.01  # the quantile, and the share of |x| that Hill's estimator looks at
BATCH = 250


@dataclass(frozen=True)
class Scale:
    """How much is spent."""

    nus: tuple[float, ...] = (3.0, 4.0, 5.0)
    seeds: tuple[int, ...] = (0, 1, 2)
    data: int = 20_000
    steps: int = 600
    samples: int = 2000


QUICK = Scale((4.0,), (0,), data=5000, steps=60, samples=1000)
TRAIN = TrainConfig(
    steps=0, batch=64, lr=2e-3, warmup=50, ema=0.995, clip=1.0, label_dropout=0.0, flip=False, seed=0, precision="float32"
)  # fmt: skip


def anomalies(nu: float, seed: int, n: int, shape: tuple[int, int] = SHAPE, slope: float = 2.0) -> torch.Tensor:
    """Standardised fields, float32 [n, 1, H, W]."""
    config = Synthetic(("t2m",), shape, nu=nu, slope=slope, persistence=0.0, seed=seed)
    return torch.from_numpy(np.stack(list(islice(config.anomalies(), n))) / sqrt(nu / (nu - 2))).float()


def hill(x: np.ndarray) -> float:
    """Hill's estimate of the tail index from the largest share of |x|, all cells pooled."""
    top = np.sort(np.abs(x.ravel()))[-int(SHARE * x.size) - 1 :]
    return float(1 / np.mean(np.log(top[1:] / top[0])))


def exact(nu: float) -> tuple[float, float]:
    """The quantile, and what Hill's estimator tends to, for the law of a cell: 1 % is not yet the limit nu."""
    law = stats.t(nu, scale=sqrt((nu - 2) / nu))
    start = law.isf(SHARE / 2)
    mean_log = integrate.quad(lambda x: law.sf(x) / x, start, np.inf)[0] / law.sf(start)
    return float(law.ppf(LEVEL)), 1 / mean_log


def errors(x: np.ndarray, nu: float) -> tuple[float, float]:
    """|log ratio| of the quantile and of Hill's estimate to the exact ones."""
    quantile, index = exact(nu)
    return abs(np.log(np.quantile(x, LEVEL) / quantile)), abs(np.log(hill(x) / index))


def drawn(name: str, nu: float, seed: int, scale: Scale) -> np.ndarray:
    """Samples of a design trained on one data set."""
    settings = DESIGNS[name] | ({"nu": nu} if name == "t-EDM" else {})
    return (
        train_and_draw(settings, anomalies(nu, seed, scale.data), (16,), TRAIN.batch, scale.steps, scale.samples, seed)[
            0
        ]
        .double()
        .numpy()
    )


def train_and_draw(
    settings: dict[str, Any],
    data: torch.Tensor,
    channels: tuple[int, ...],
    batch: int,
    steps: int,
    samples: int,
    seed: int,
) -> tuple[torch.Tensor, Latent | None, float]:
    """Samples of a design [n, 1, H, W], of a U-Net on cells, or with ``eofs`` coefficients [n, K] and their latent; seconds of training."""
    design, shape = Design.from_mapping(settings), tuple(data.shape[1:])
    start = time.process_time()
    torch.manual_seed(seed)
    latent = fit_latent(data, design.eofs) if design.eofs else None
    if latent:
        data, shape = latent.encode(data), (latent.size,)
    net = MLP(MLPConfig(shape)) if latent else UNet(UNetConfig(shape, 0, channels, wraps=True))
    config = replace(TRAIN, batch=batch, steps=steps, seed=seed)
    cond = of_labels(torch.zeros(len(data), dtype=torch.long))
    trainer = Trainer(design, net, data, cond, {LABEL: torch.tensor(0)}, config, torch.device("cpu"))
    for _ in trainer.run():
        pass
    seconds = time.process_time() - start
    net.load_state_dict(trainer.averaged_weights())
    predictor, table = design.predictor(net.eval()), tabulate(SOLVER, design.schedule)
    labels, parts = torch.zeros(BATCH, dtype=torch.long), []
    for i in range(0, samples, BATCH):
        rows = range(i, i + BATCH)
        parts.append(sample(predictor, table, design.noise, seed, rows, shape, of_labels(labels)))
    return torch.cat(parts), latent, seconds


def rows(scale: Scale) -> Iterator[tuple[str, float, int, float, float, float, float, float]]:
    """Design, nu, seed, quantile, Hill's estimate, their errors, seconds; ``fresh`` are as many new fields of the truth."""
    for seed in scale.seeds:
        for nu in scale.nus:
            for name in ("fresh", *DESIGNS):
                start = time.perf_counter()
                if name == "fresh":
                    x = anomalies(nu, 1000 + seed, scale.samples).double().numpy()
                else:
                    x = drawn(name, nu, seed, scale)
                quantile = float(np.quantile(x, LEVEL))
                yield name, nu, seed, quantile, hill(x), *errors(x, nu), time.perf_counter() - start


def main(arguments: list[str]) -> None:
    """Prints one row per run, then the mean errors of each design and tail index."""
    torch.set_num_threads(1)
    scale = QUICK if "--quick" in arguments else Scale(seeds=tuple(map(int, arguments)) or Scale.seeds)
    for nu in scale.nus:
        print("nu {:g}: quantile {:.3f}, Hill {:.3f}".format(nu, *exact(nu)))
    found = []
    print("design    nu seed quantile  Hill  quantile_error hill_error seconds")
    for row in rows(scale):
        found.append(row)
        print("{:8} {:3g} {:4d} {:8.3f} {:6.3f} {:12.3f} {:12.3f} {:7.0f}".format(*row), flush=True)
    for nu in scale.nus:
        for name in ("fresh", *DESIGNS):
            both = np.array([row[5:7] for row in found if row[:2] == (name, nu)])
            print(
                f"mean {name:6} nu {nu:g}: quantile error {both[:, 0].mean():.3f}, tail index error {both[:, 1].mean():.3f}"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
