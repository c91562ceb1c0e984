"""How fast a prepared store feeds training, against the same fields in memory.

    python docs/benchmarks/feeding.py outputs/weather/data          # a folder that `prepare` wrote
    python docs/benchmarks/feeding.py /tmp/many --images 1000000    # makes a store of images of noise there, 3 x 64 x 64, and keeps it

The two are trained in turn, five times; the ratio is of their medians in this one run. Opening the store is timed too. In memory
are the first samples, at most 1 GB of them. The peak of memory is that before they are read.
"""

import argparse
import resource
import time
from math import prod
from pathlib import Path
from statistics import median

import numpy as np
import torch
from tqdm import tqdm

from levy_core.base.conditions import LABEL, of_labels
from levy_core.datasets.fields.store import FieldStore
from levy_core.datasets.images.store import ImageStore, write_group
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.training.config import TrainConfig
from levy_core.training.trainer import Trainer

STEPS, TURNS, BATCH = 40, 5, 64
IMAGE = (3, 64, 64)
CONFIG = TrainConfig(
    steps=STEPS, batch=BATCH, lr=1e-3, warmup=1, ema=0.9, clip=1.0, label_dropout=0.0, flip=False, seed=0, precision="float32"
)  # fmt: skip


def seconds(
    store: FieldStore | ImageStore, data: torch.Tensor | FieldStore | ImageStore, channels: tuple[int, ...]
) -> float:
    """Of one training."""
    net = UNet(UNetConfig(store.shape, len(store.classes), channels))
    design = Design.from_mapping({"preset": "edm"})
    labels = torch.from_numpy(store.labels)[: len(data)]
    trainer = Trainer(
        design, net, data, of_labels(labels), {LABEL: torch.tensor(len(store.classes))}, CONFIG, torch.device("cpu")
    )
    start = time.perf_counter()
    for _ in trainer.run():
        pass
    return time.perf_counter() - start


def open_store(folder: Path, images: int) -> FieldStore | ImageStore:
    """The store in a folder, made there if images are asked for and none are there."""
    path = folder / "images.zarr"
    if images and not path.exists():
        pool = np.random.default_rng(0).integers(0, 256, (64, *IMAGE), dtype=np.uint8)
        labels = np.arange(images) % 10
        write_group(path, "train", np.arange(images), labels, list("0123456789"), IMAGE, lambda i: pool[i % 64], tqdm)
    return ImageStore.open(path, "train") if path.exists() else FieldStore.open(folder / "fields.zarr", "train")


def main() -> None:
    """Prints one row per network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    open_store(arguments.folder, arguments.images)
    start = time.perf_counter()
    store = open_store(arguments.folder, 0)
    print(f"{len(store)} samples of {store.shape}, opened in {1000 * (time.perf_counter() - start):.0f} ms")
    seconds(store, store, (8,))
    print(f"peak of memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB")
    memory = torch.from_numpy(store[: 2**28 // prod(store.shape)])
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
    main()
