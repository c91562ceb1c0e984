"""How fast a prepared store feeds training, against the same fields in memory.

    python docs/benchmarks/feeding.py outputs/weather/data          # a folder that `prepare` wrote

The two are trained in turn, five times; the ratio is of their medians in this one run. Opening the store is timed too.
"""

import sys
import time
from pathlib import Path
from statistics import median

import torch

from levy_core.base.conditions import LABEL, of_labels
from levy_core.datasets.fields.store import FieldStore
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.training.trainer import TrainConfig, Trainer

STEPS, TURNS, BATCH = 40, 5, 64
CONFIG = TrainConfig(
    steps=STEPS, batch=BATCH, lr=1e-3, warmup=1, ema=0.9, clip=1.0, label_dropout=0.0, flip=False, seed=0, precision="float32"
)  # fmt: skip


def seconds(store: FieldStore, data: torch.Tensor | FieldStore, channels: tuple[int, ...]) -> float:
    """Of one training."""
    net = UNet(UNetConfig(store.shape, len(store.classes), channels))
    design = Design.from_mapping({"preset": "edm"})
    labels = torch.from_numpy(store.labels)
    trainer = Trainer(
        design, net, data, of_labels(labels), {LABEL: torch.tensor(len(store.classes))}, CONFIG, torch.device("cpu")
    )
    start = time.perf_counter()
    for _ in trainer.run():
        pass
    return time.perf_counter() - start


def main(folder: str) -> None:
    """Prints one row per network."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    store = FieldStore.open(Path(folder) / "fields.zarr", "train")
    print(f"{len(store)} fields of {store.shape}, opened in {1000 * (time.perf_counter() - start):.0f} ms")
    memory = torch.from_numpy(store[:])
    print("| network | memory, samples/s | store, samples/s | store / memory |\n|---|---|---|---|")
    for channels in ((8,), (16, 32)):
        times: dict[str, list[float]] = {"memory": [], "store": []}
        for _ in range(TURNS):
            for name, data in (("memory", memory), ("store", store)):
                times[name].append(seconds(store, data, channels))
        rate = {name: STEPS * BATCH / median(taken) for name, taken in times.items()}
        print(
            f"| {list(channels)} | {rate['memory']:.0f} | {rate['store']:.0f} | {rate['store'] / rate['memory']:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
