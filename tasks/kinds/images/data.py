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
from tasks.kinds.images.settings import ImageSettings
from tasks.runtime.progress import bar


def prepare(raw: Path, settings: ImageSettings, folder: Path, dataset: str) -> None:
    """A long-tailed training set, a balanced reference, and the images that are held out of both."""
    source = open_source(raw)
    groups = assign_groups(source, **settings.selection)
    first = int(groups["balanced"][0])
    read = checked_reader(source, first)
    shape = read(first).shape
    for i in bar(
        np.setdiff1d(np.arange(len(source.labels)), np.concatenate(list(groups.values()))),
        "reading the rest",
        unit="image",
    ):
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
    if settings.imbalance is not None:
        there = (
            np.bincount(source.labels, minlength=len(counts))
            - statistics.get("test", {"counts": [0] * len(counts)})["counts"]
        )
        uneven = there.max() > 2 * there.min()
        used = ", ".join(
            f"{n:,} of {of:,} of {name}" for name, n, of in zip(source.classes, counts, there.tolist(), strict=True)
        )
        if uneven:
            print(
                f"warning: {dataset}: its classes are uneven as they are, and imbalance {settings.imbalance:g} makes another long tail of them, in the "
                f"order of the classes, that leaves {there.sum() - sum(counts):,} images unused ({used}): with imbalance: null all are used",
                file=sys.stderr,
            )
