"""Stage evaluate: every cell of one design judged against the long-tailed and the balanced images; one row a cell and seed."""

from dataclasses import asdict

import numpy as np
import pandas as pd

from levy_core.datasets.store import read_group
from levy_core.metrics import images as metrics
from levy_core.metrics.classifier import classify, load_classifier
from tasks import paths, stage
from tasks.cells import read_cells
from tasks.grid import write_rows
from tasks.params import Params


def evaluate(params: Params, dataset: str, design: str) -> None:
    """References are embedded once; the balanced one comes first and gives the recall of each class."""
    stage.reproducible(params.compute.threads)
    device = stage.device(params.compute.device)
    features = metrics.Features(paths.classifier(dataset), params.evaluate.inception_weights, str(device))
    judge = load_classifier(paths.classifier(dataset)).to(device)
    config = metrics.FidelityConfig(**params.evaluate.model_dump(exclude={"inception_weights"}))
    groups = {
        name: read_group(paths.prepared(dataset) / "images.zarr", group)
        for name, group in (("balanced", "balanced"), ("longtail", "train"))
    }
    references = {name: metrics.Reference(features(group.image), group.label) for name, group in groups.items()}
    train_counts = np.bincount(groups["longtail"].label, minlength=len(groups["longtail"].classes)).tolist()

    rows = []
    for cell, image in stage.bar(read_cells(paths.samples(dataset, design)), f"evaluate {design}", unit="cell"):
        image = np.asarray(image)
        row = metrics.evaluate(features(image), classify(judge, image), references, train_counts, config)
        rows.append({"design": design, **asdict(cell.solver), "seed": cell.seed, **row})
    write_rows(paths.evaluation(dataset, design), pd.DataFrame(rows), digits=8)


if __name__ == "__main__":
    stage.main(evaluate, "dataset", "design")
