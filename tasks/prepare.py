"""Stage prepare: what a person brought -> a packed store, checked, with its statistics."""

import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np

from levy_core.base.files import write_json
from levy_core.datasets.images.sources import checked_reader, open_source
from levy_core.datasets.images.split import plan
from levy_core.datasets.images.store import write_group
from tasks.params.schema import FieldsParams, ImagesParams, Params
from tasks.runtime import paths, stage

HEAVY = 10.0  # below, a tail index says that a Gaussian does not do


def prepare(params: Params, dataset: str) -> None:
    """Reads ``data/DATASET``, checks it and writes the store in one piece."""
    with stage.replacing_folder(paths.prepared(dataset)) as folder:
        {"images": _images, "fields": _fields}[params.data[dataset].kind](params, dataset, folder)


def _images(params: Params, dataset: str, folder: Path) -> None:
    """A long-tailed training set, a balanced reference, and the images that are held out of both."""
    settings = cast(ImagesParams, params.data[dataset])
    source = open_source(paths.raw(dataset))
    groups = plan(source, **settings.selection)
    first = int(groups["balanced"][0])
    read = checked_reader(source, first)
    shape = read(first).shape
    statistics: dict[str, Any] = {}
    for group, indices in groups.items():
        statistics[group] = write_group(
            folder / "images.zarr", group, indices, source.labels[indices], source.classes, shape, read,
            partial(stage.bar, what=f"packing {group}", unit="chunk"),
        )  # fmt: skip
    write_json(folder / "statistics.json", {"shape": list(shape), "flip": settings.flip, **statistics})
    counts = statistics["train"]["counts"]
    tail = f"{sum(counts):,} long-tailed training images of {len(counts)} classes ({counts[0]} ... {counts[-1]})"
    held_out = f"{len(groups.get('test', [])):,} held out"
    print(f"{dataset}: {tail}, {statistics['balanced']['counts'][0]} a class in the balanced reference, {held_out}")


def _fields(params: Params, dataset: str, folder: Path) -> None:
    """A training and a held-out period; of an earlier preparation what still holds is kept. Imports are late: images do without theirs."""
    from levy_core.datasets.fields.prepare import prepare_fields
    from levy_core.datasets.fields.store import FieldStore
    from levy_core.metrics.common.bootstrap import spread
    from levy_core.metrics.common.tail_index import tail_index
    from levy_core.metrics.fields.measures import FieldsMeasures
    from tasks.runtime import cluster

    settings = cast(FieldsParams, params.data[dataset])
    before = paths.prepared(dataset)
    previous = before if before.exists() else None
    bar = partial(stage.bar, what="packing fields", unit="block")
    with cluster.spread() as spread_blocks:
        statistics: dict[str, Any] = prepare_fields(
            paths.raw(dataset), settings.config, folder, previous, bar, spread=spread_blocks
        )
    store = FieldStore.open(folder / "fields.zarr", "train")
    usual = FieldsMeasures()
    fields = store[spread(len(store), usual.most, usual.block)].astype(np.float64)
    for c, (name, described) in enumerate(statistics["variables"].items()):
        found = tail_index(fields[:, c])
        # JSON knows no infinity: null stands for a tail as light as a Gaussian's.
        described["tail_index"] = {k: v if np.isfinite(v) else None for k, v in asdict(found).items()}
        print(f"{dataset}: {name}: tail index {found.nu:.3g} (90 % interval {found.low:.3g} to {found.high:.3g})")
        if found.nu < HEAVY and found.gpd_xi <= 0:
            print(
                f"warning: {name}: the peaks look exponential or bounded (GPD shape {found.gpd_xi:.2g}), not like a power "
                "law; a skewed variable may want a transform (log1p, power), and nu a number of your own",
                file=sys.stderr,
            )
    write_json(folder / "statistics.json", statistics)
    print(f"{dataset}: {statistics['train']['samples']} training fields, {statistics['test']['samples']} held out")


if __name__ == "__main__":
    stage.main(prepare, "dataset")
