"""Stage evaluate: every cell of one design judged against the long-tailed and the balanced images; one row a cell and seed."""

import hashlib
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import levy_core.datasets.longtail
import levy_core.metrics.classifier
import levy_core.metrics.images
import levy_core.metrics.manifold
import levy_core.metrics.tails
from levy_core.files import hash_code, hash_files
from levy_core.metrics import images as metrics
from levy_core.metrics.classifier import classify, load_classifier
from tasks import paths, stage
from tasks.cells import read_cells
from tasks.grid import write_rows
from tasks.params import Params
from tasks.reference import GROUPS, feature_space, fidelity, read_references

# Code that decides what a row says.
DECIDES = (
    levy_core.datasets.longtail,
    levy_core.metrics.classifier,
    levy_core.metrics.images,
    levy_core.metrics.manifold,
    levy_core.metrics.tails,
)
BIAS = 0.5  # warn where perfect samples would score more than this, for their number alone


def evaluate(params: Params, dataset: str, design: str) -> None:
    """Judges the cells that have no row yet; the rows of an earlier table are kept where nothing that decides them changed."""
    stage.reproducible(params.compute.threads)
    config = fidelity(params.evaluate)
    features = feature_space(params, dataset)
    judge = load_classifier(paths.classifier(dataset)).to(stage.device(params.compute.device))
    references, train_counts = read_references(paths.reference(dataset))
    floors = {name: real.floor(params.sample.n) for name, real in references.items()}
    _warn_of_bias(params.sample.n, floors, features_of=len(references["longtail"].features[0]))

    out = paths.evaluation(dataset, design)
    ruler = _ruler(params, dataset)
    known = _known_rows(out, ruler)
    rows = []
    for drawn in stage.bar(read_cells(paths.samples(dataset, design)), f"evaluate {design}", unit="cell"):
        row: dict[str, Any] = {"design": design, **asdict(drawn.cell.solver), "seed": drawn.cell.seed}
        row |= {"nfe": drawn.cell.nfe, "cell": drawn.key, "ruler": ruler, "failed": drawn.failed}
        if drawn.key in known:
            row |= known[drawn.key]
        elif drawn.image is not None:
            image = np.array(drawn.image)
            row |= metrics.evaluate(features(image), classify(judge, image), references, train_counts, config)
            row |= {f"floor/{name}": floor for name, floor in floors.items()}
        rows.append(row)
    fresh = sum(row["cell"] not in known for row in rows)
    print(f"{design} on {dataset}: {len(rows)} cells, {fresh} newly judged")
    write_rows(out, pd.DataFrame(rows), digits=8)


def _ruler(params: Params, dataset: str) -> str:
    """Hash of everything but the samples that decides a row."""
    files = [paths.reference(dataset) / f"{name}.safetensors" for name in GROUPS]
    files += sorted(path for path in paths.classifier(dataset).iterdir() if path.is_file())
    decided_by = [hash_files(*files), hash_code(*DECIDES), params.evaluate.model_dump(mode="json")]
    return hashlib.sha256(json.dumps(decided_by, sort_keys=True).encode()).hexdigest()[:16]


def _known_rows(path: Path, ruler: str) -> dict[str, dict[str, Any]]:
    """The metrics of an earlier table by cell, measured with the same ruler."""
    try:
        table = pd.read_csv(path, dtype={"cell": str, "ruler": str})  # a hash may look like a number
        same = table[table.ruler == ruler].set_index("cell")
    except (OSError, ValueError, AttributeError, KeyError):  # none, damaged, or of an earlier version
        return {}
    metric = same.columns[list(same.columns).index("failed") + 1 :]
    judged = same[same.failed.isna()]
    return {str(cell): {str(k): v for k, v in row.items()} for cell, row in judged[metric].iterrows()}


def _warn_of_bias(n: int, floors: dict[str, float], features_of: int) -> None:
    high = {name: floor for name, floor in floors.items() if floor > BIAS}
    if high:
        listed = ", ".join(f"{floor:.2f} ({name})" for name, floor in high.items())
        print(
            f"warning: FID of {n} samples in {features_of} features is biased: perfect samples would score {listed}; compare only "
            f"equal numbers of samples, or raise sample.n (the bias falls about as 1 / n)",
            file=sys.stderr,
        )


if __name__ == "__main__":
    stage.main(evaluate, "dataset", "design")
