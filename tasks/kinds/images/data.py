"""Images from what a person brought to the packed store, and from the store to training."""

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import torch

from levy_core.base.conditions import of_labels
from levy_core.base.files import write_json
from levy_core.base.pixels import to_unit
from levy_core.base.samples import RECORDED, Samples
from levy_core.datasets.images.sources import checked_reader, open_source
from levy_core.datasets.images.split import plan
from levy_core.datasets.images.store import read_group, write_group
from tasks.kinds.images.settings import ImageSettings
from tasks.kinds.kind import TrainingData
from tasks.runtime.progress import bar


def prepare(raw: Path, settings: ImageSettings, folder: Path, dataset: str) -> None:
    """A long-tailed training set, a balanced reference, and the images that are held out of both."""
    source = open_source(raw)
    groups = plan(source, **settings.selection)
    first = int(groups["balanced"][0])
    read = checked_reader(source, first)
    shape = read(first).shape
    statistics: dict[str, Any] = {}
    for group, indices in groups.items():
        statistics[group] = write_group(
            folder / "images.zarr", group, indices, source.labels[indices], source.classes, shape, read,
            partial(bar, what=f"packing {group}", unit="chunk"),
        )  # fmt: skip
    write_json(folder / "statistics.json", {"shape": list(shape), "flip": settings.flip, **statistics})
    counts = statistics["train"]["counts"]
    tail = f"{sum(counts):,} long-tailed training images of {len(counts)} classes ({counts[0]} ... {counts[-1]})"
    held_out = f"{len(groups.get('test', [])):,} held out"
    print(f"{dataset}: {tail}, {statistics['balanced']['counts'][0]} per class in the balanced reference, {held_out}")


def read_training_data(prepared: Path) -> TrainingData:
    """Long-tailed images in [-1, 1]."""
    images = read_group(prepared / "images.zarr", "train")
    digest = hashlib.sha256(images.image.tobytes())
    digest.update(images.label.tobytes())
    flip = json.loads((prepared / "statistics.json").read_text())["flip"]
    return TrainingData(
        torch.from_numpy(to_unit(images.image)),
        of_labels(torch.from_numpy(images.label)),
        Samples("images", images.classes, RECORDED["images"]["dtype"], RECORDED["images"]["exporter"]),
        digest.hexdigest(),
        flip,
    )
