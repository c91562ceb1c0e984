"""Stage prepare: raw images -> a packed store with a long-tailed training set and a balanced reference."""

from functools import partial

import numpy as np

from levy_core.datasets.longtail import longtail_counts, select
from levy_core.datasets.sources import checked_reader, open_source
from levy_core.datasets.store import write_group
from levy_core.errors import LevyError
from levy_core.files import write_json
from tasks import paths, stage
from tasks.params import Params


def prepare(params: Params, dataset: str) -> None:
    """Reads ``data/DATASET``, selects, checks every selected image and writes the store in one piece."""
    settings = params.data[dataset]
    source = open_source(paths.raw(dataset))
    available = np.bincount(source.labels, minlength=len(source.classes)).tolist()
    counts = longtail_counts(available, settings.imbalance)
    per_class = settings.reference_per_class or min(available)
    if per_class > min(available):
        smallest = source.classes[int(np.argmin(available))]
        raise LevyError(
            f"data.{dataset}.reference_per_class is {per_class}, but class {smallest!r} has {min(available)} images: lower it, or set it to null"
        )
    selections = {
        "train": select(source.labels, counts, settings.seed),
        "balanced": select(source.labels, [per_class] * len(available), settings.seed),
    }
    read = checked_reader(source, int(selections["balanced"][0]))
    shape = read(int(selections["balanced"][0])).shape
    statistics = {}
    with stage.replacing_folder(paths.prepared(dataset)) as folder:
        for group, indices in selections.items():
            statistics[group] = write_group(
                folder / "images.zarr", group, indices, source.labels[indices], source.classes, shape, read,
                partial(stage.bar, what=f"packing {group}", unit="chunk"),
            )  # fmt: skip
        write_json(folder / "statistics.json", {"shape": list(shape), **statistics})
    tail = f"{sum(counts):,} long-tailed training images of {len(counts)} classes ({counts[0]} ... {counts[-1]})"
    print(f"{dataset}: {tail}, {per_class} a class in the balanced reference")


if __name__ == "__main__":
    stage.main(prepare, "dataset")
