"""Stage evaluate: every cell of one design measured against the real data; one row per cell and seed."""

import sys
from pathlib import Path
from typing import Any

import pandas as pd

from levy_core.base.determinism import make_reproducible
from tasks.cells.store import read_cells, read_labels
from tasks.cells.tables import read_rows, write_rows
from tasks.kinds.opening import open_metrics
from tasks.params.schema import Params
from tasks.runtime import paths
from tasks.runtime.progress import bar

BIAS = 0.5  # warn where perfect samples would score more than this, for their number alone


def evaluate(params: Params, dataset: str, design: str) -> None:
    """Measures the cells that have no row yet; the rows of an earlier table are kept where nothing that decides them changed."""
    make_reproducible(params.compute.threads)
    metrics = open_metrics(params, dataset)
    folder = paths.samples(dataset, design)
    rows, cells = [], read_cells(folder)
    labels = read_labels(folder, cells)
    floors = metrics.floors(labels)
    _warn_of_bias(len(labels), floors)

    out = paths.evaluation(dataset, design)
    known = _read_known_rows(out, metrics.hash)
    for drawn in bar(cells, f"evaluate {design}", unit="cell"):
        row: dict[str, Any] = {"design": design, **drawn.cell.settings, "seed": drawn.cell.seed}
        row |= {"nfe": drawn.cell.nfe, "cell": drawn.key, "ruler": metrics.hash, "failed": drawn.failed}
        if drawn.key in known:
            row |= known[drawn.key]
        elif drawn.samples is not None:
            row |= metrics.measure(drawn.samples, labels) | floors
        rows.append(row)
    fresh = sum(row["cell"] not in known for row in rows)
    print(f"{design} on {dataset}: {len(rows)} cells, {fresh} newly measured")
    settings = {name for drawn in cells for name in drawn.cell.settings}
    write_rows(out, pd.DataFrame(rows), digits=8, exact=settings)


def _read_known_rows(path: Path, metrics_hash: str) -> dict[str, dict[str, Any]]:
    """The metrics of an earlier table by cell, measured with metrics of the same hash."""
    try:
        table = read_rows(path)
        same = table[table.ruler == metrics_hash].set_index("cell")
    except (OSError, ValueError, AttributeError, KeyError):  # none, damaged, or of an earlier version
        return {}
    names = same.columns[list(same.columns).index("failed") + 1 :]
    measured = same[same.failed.isna()]
    return {str(cell): {str(k): v for k, v in row.items()} for cell, row in measured[names].iterrows()}


def _warn_of_bias(n: int, floors: dict[str, float]) -> None:
    high = {name.removeprefix("floor/"): floor for name, floor in floors.items() if floor > BIAS}
    if high:
        listed = ", ".join(f"{floor:.2f} ({name})" for name, floor in high.items())
        print(
            f"warning: scores of {n} samples are biased: as many perfect samples would score {listed}; compare only "
            f"equal numbers of samples, or raise sample.n (the bias falls about as 1 / n)",
            file=sys.stderr,
        )
