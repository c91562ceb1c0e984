"""Fields from what a person brought to the prepared store."""

import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from levy_core.base.files import write_json
from levy_core.base.rows import parts, thin_rows
from levy_core.datasets.fields.prepare import prepare_fields
from levy_core.datasets.fields.store import FieldStore
from levy_core.datasets.fields.whole_years import advise_whole_years
from levy_core.metrics.common.tail_index import tail_index
from levy_core.metrics.fields.amplitudes import amplitudes, thin_cells
from levy_core.metrics.fields.measures import FieldsMeasures
from tasks.kinds.fields.settings import FieldSettings
from tasks.runtime import cluster
from tasks.runtime.progress import bar

HEAVY = 10.0  # below, a tail index says that a Gaussian does not do


def prepare(raw: Path, settings: FieldSettings, folder: Path, previous: Path | None, dataset: str) -> None:
    """A training and a held-out period, and the tail index of each variable."""
    with cluster.open_block_map() as map_blocks:
        statistics: dict[str, Any] = prepare_fields(
            raw,
            settings.config,
            folder,
            previous,
            partial(bar, what="packing fields", unit="block"),
            block_map=map_blocks,
        )
    store, held_out = (FieldStore.open(folder / "fields.zarr", group) for group in ("train", "test"))
    if advice := advise_whole_years(store.times, held_out.times):
        print(f"warning: {dataset}: {advice}", file=sys.stderr)
    usual = FieldsMeasures()
    rows = thin_rows(len(store), usual.most, usual.block, store.runs)
    read = (store[rows[part]] for part in parts(len(rows), store.shape))
    fields = np.concatenate([thin_cells(part.reshape(*part.shape[:2], -1)).copy() for part in read])
    for c, (name, variable) in enumerate(statistics["variables"].items()):
        tail = tail_index(amplitudes(fields[:, c]), runs=store.runs[rows])
        # JSON knows no infinity: null stands for a tail as light as a Gaussian's.
        variable["tail_index"] = {k: v if np.isfinite(v) else None for k, v in asdict(tail).items()}
        if of_cells := variable.get("cell_std"):
            print(
                f"{dataset}: {name}: standard deviations of cells {of_cells['low']:.3g} to {of_cells['high']:.3g}, {variable['std']:.3g} over "
                f"all; {of_cells['at_floor']} cells, which vary less, have the lowest"
            )
        print(f"{dataset}: {name}: tail index {tail.nu:.3g} (90 % interval {tail.low:.3g} to {tail.high:.3g})")
        if tail.nu < HEAVY and tail.gpd_xi <= 0:
            print(
                f"warning: {name}: the peaks look exponential or bounded (GPD shape {tail.gpd_xi:.2g}), not like a power "
                "law; a skewed variable may want a transform (power, normal-score), and nu a number of your own",
                file=sys.stderr,
            )
    if settings.coordinates:
        statistics["coordinates"] = True  # here, so that whoever asks for them trains again
    write_json(folder / "statistics.json", statistics)
    if settings.config.dtype != "float32":
        print(f"{dataset}: kept as {settings.config.dtype} (docs/weather.md)")
    print(f"{dataset}: {statistics['train']['samples']} training fields, {statistics['test']['samples']} held out")
