"""Images from what a person brought to the packed store."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from levy_core.base.files import write_json
from levy_core.datasets.images.sources import checked_reader, open_source
from levy_core.datasets.images.split import assign_groups
from levy_core.datasets.images.store import write_group
from tasks.kinds.images.advice import advise, describe_losses
from tasks.kinds.images.settings import ImageSettings
from tasks.runtime.progress import bar


def prepare(raw: Path, settings: ImageSettings, folder: Path, dataset: str) -> None:
    """A long-tailed training set, a balanced reference, and the images that are held out of both."""
    source = open_source(raw)
    groups = assign_groups(source, **settings.selection)
    first = int(groups["balanced"][0])
    read = checked_reader(source, first)
    shape = read(first).shape
    rest = np.setdiff1d(np.arange(len(source.labels)), np.concatenate(list(groups.values())))
    for i in bar(rest, "reading the rest", unit="image"):
        read(int(i))  # that more images later choose one of these is no time to find it damaged
    statistics: dict[str, Any] = {}
    for group, indices in groups.items():
        statistics[group] = write_group(
            folder / "images.zarr", group, indices, source.labels[indices], source.classes, shape, read,
            partial(bar, what=f"packing {group}", unit="chunk"),
        )  # fmt: skip
    augmented = settings.model_dump(include={"flip", "crop", "colour"})
    write_json(folder / "statistics.json", {"shape": list(shape), **augmented, **statistics})
    counts = statistics["train"]["counts"]
    tail = f"{sum(counts):,} training images of {len(counts)} classes ({max(counts)} ... {min(counts)})"
    held_out = f"{len(groups.get('test', [])):,} held out"
    print(f"{dataset}: {tail}, {statistics['balanced']['counts'][0]} per class in the balanced reference, {held_out}")
    for line in [*describe_losses(source), *advise(source, groups, settings.imbalance)]:
        print(f"warning: {dataset}: {line}", file=sys.stderr)
