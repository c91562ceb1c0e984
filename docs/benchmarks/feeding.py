"""How fast a prepared store feeds training, against the same fields in memory, or a store of float16 against one of float32.

    python docs/benchmarks/feeding.py outputs/weather/data          # a folder that `prepare` wrote
    python docs/benchmarks/feeding.py /tmp/many --images 1000000    # makes a store of images of noise there, 3 x 64 x 64, and keeps it
    python docs/benchmarks/feeding.py /tmp/both --days 200          # makes stores of five variables on 181 x 360 cells there, and keeps them

The two are trained in turn, some times; ratios are of their medians in this one run, that by processor seconds hardly moves with other load. Opening the store is timed too. In memory
are the first samples, at most 1 GB of them. The peak of memory is that before they are read.

Of two stores batches of random days are read in turn, eleven times, as training reads them, from the kernel's cache of files and
without it; the rest of the table is what prepare and 99.9 % quantiles make of them.
"""

import argparse
import os
import resource
import time
from math import prod
from pathlib import Path
from statistics import median

import numpy as np
import torch
from large_fields import SETTINGS, VARIABLES, make
from tqdm import tqdm

from levy_core.base.conditions import LABEL, of_labels
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import DTYPES
from levy_core.datasets.fields.store import FieldStore
from levy_core.datasets.images.store import ImageStore, write_group
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.training.config import TrainConfig
from levy_core.training.trainer import Trainer
from tasks.kinds.fields.data import prepare
from tasks.kinds.fields.settings import FieldSettings

BATCH = 64
IMAGE = (3, 64, 64)
CELLS, READS, READ_TURNS = (181, 360), 4, 11


def seconds(
    store: FieldStore | ImageStore, data: torch.Tensor | FieldStore | ImageStore, channels: tuple[int, ...], steps: int
) -> tuple[float, float]:
    """Of one training: of the clock, and of processors."""
    config = TrainConfig(
        steps=steps, batch=BATCH, lr=1e-3, warmup=1, ema=0.9, clip=1.0, label_dropout=0.0, flip=False, seed=0, precision="float32"
    )  # fmt: skip
    net = UNet(UNetConfig(store.shape, len(store.classes), channels))
    design = Design.from_mapping({"preset": "edm"})
    labels = torch.from_numpy(store.labels)[: len(data)]
    trainer = Trainer(
        design, net, data, of_labels(labels), {LABEL: torch.tensor(len(store.classes))}, config, torch.device("cpu")
    )
    start, computing = time.perf_counter(), time.process_time()
    for _ in trainer.run():
        pass
    return time.perf_counter() - start, time.process_time() - computing


def open_store(folder: Path, images: int) -> FieldStore | ImageStore:
    """The store in a folder, made there if images are asked for and none are there."""
    path = folder / "images.zarr"
    if images and not path.exists():
        pool = np.random.default_rng(0).integers(0, 256, (64, *IMAGE), dtype=np.uint8)
        labels = np.arange(images) % 10
        write_group(path, "train", np.arange(images), labels, list("0123456789"), IMAGE, lambda i: pool[i % 64], tqdm)
    return ImageStore.open(path, "train") if path.exists() else FieldStore.open(folder / "fields.zarr", "train")


def open_dtypes(folder: Path, days: int) -> dict[str, Path]:
    """Folders of the same days prepared in each dtype, made where they are not there."""
    if not (folder / "raw").exists():
        make(folder / "raw" / "made.zarr", days, CELLS)
    for dtype in DTYPES:
        if not (folder / dtype).exists():
            (folder / dtype).mkdir()
            start = time.perf_counter()
            prepare(folder / "raw", FieldSettings(**SETTINGS, dtype=dtype), folder / dtype, None, dtype)
            print(f"prepared as {dtype} in {time.perf_counter() - start:.1f} s")
    return {dtype: folder / dtype for dtype in DTYPES}


def list_chunks(folder: Path) -> list[Path]:
    """Files of the training fields."""
    return [path for path in (folder / "fields.zarr/train/field/c").rglob("*") if path.is_file()]


def forget(folder: Path) -> None:
    """Takes the chunks out of the kernel's cache of files."""
    for path in list_chunks(folder):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def compare_dtypes(folder: Path, days: int) -> None:
    """Prints bytes, rates and quantiles of both stores."""
    folders = open_dtypes(folder, days)
    stores = {dtype: FieldStore.open(path / "fields.zarr", "train") for dtype, path in folders.items()}
    sizes = {dtype: sum(path.stat().st_size for path in list_chunks(own)) for dtype, own in folders.items()}
    print(f"bytes of {len(stores['float32'])} fields: {sizes}, {sizes['float16'] / sizes['float32']:.3f}")
    rng, number = np.random.default_rng(0), READS * BATCH
    for cache in ("cached", "from disk"):
        times: dict[str, list[float]] = {dtype: [] for dtype in stores}
        for _ in range(READ_TURNS):
            batches = rng.integers(0, len(stores["float32"]), (READS, BATCH))
            for dtype, store in stores.items():
                if cache == "from disk":
                    forget(folders[dtype])
                else:
                    _ = store[:]
                start = time.perf_counter()
                for rows in batches:
                    _ = store[rows]
                times[dtype].append(time.perf_counter() - start)
        rates = {dtype: number / np.array(taken) for dtype, taken in times.items()}
        said = ", ".join(f"{dtype} {median(r):.0f} ({r.min():.0f} to {r.max():.0f})" for dtype, r in rates.items())
        print(f"fields/s, {cache}: {said}; ratio of medians {median(rates['float16']) / median(rates['float32']):.2f}")
    levels = {dtype: [] for dtype in stores}
    for dtype, store in stores.items():
        values = Codec.load(folders[dtype]).decode(store[np.arange(0, len(store), 4)])
        levels[dtype] = [np.quantile(values[:, c], 0.999) for c in range(len(VARIABLES))]
    for name, full, half in zip(VARIABLES, levels["float32"], levels["float16"], strict=True):
        print(f"99.9 % quantile of {name}: {full:.6g}, float16 {half:.6g}, relative difference {half / full - 1:.1e}")


def main() -> None:
    """Prints one row per network, or the comparison of dtypes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=0)
    parser.add_argument("--steps", type=int, default=40, help="of a training")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--days", type=int, default=0, help="of fields in both dtypes, which are compared")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.days:
        compare_dtypes(arguments.folder, arguments.days)
        return
    open_store(arguments.folder, arguments.images)
    start = time.perf_counter()
    store = open_store(arguments.folder, 0)
    print(f"{len(store)} samples of {store.shape}, opened in {1000 * (time.perf_counter() - start):.0f} ms")
    seconds(store, store, (8,), arguments.steps)
    print(f"peak of memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB")
    memory = torch.from_numpy(store[: 2**28 // prod(store.shape)])
    print(
        "| network | memory, samples/s | store, samples/s | store / memory | by processor seconds |\n|---|---|---|---|---|"
    )
    for channels in ((8,), (16, 32)):
        times: dict[str, list[tuple[float, float]]] = {"memory": [], "store": []}
        for _ in range(arguments.turns):
            for name, data in (("memory", memory), ("store", store)):
                times[name].append(seconds(store, data, channels, arguments.steps))
        (memory_rate, memory_work), (store_rate, store_work) = (
            [arguments.steps * BATCH / median(taken) for taken in zip(*times[name], strict=True)] for name in times
        )
        print(
            f"| {list(channels)} | {memory_rate:.0f} | {store_rate:.0f} | {store_rate / memory_rate:.2f} | {store_work / memory_work:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
