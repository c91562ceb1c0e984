"""Images in the report: samples by class, shares, tails in feature space."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from levy_core.datasets.images.longtail import rare_classes
from levy_core.datasets.images.store import read_group
from levy_core.metrics.images.classifier import classify
from tasks.kinds.images.metrics import ImageRuler, classifier_folder
from tasks.page import figures, pictures
from tasks.page.shown import Chosen
from tasks.params.schema import Params
from tasks.runtime import paths

MEASURES = [
    ("FID, long-tailed reference", "fid/longtail"), ("FID, balanced reference", "fid/balanced"), ("KID x 1000, long-tailed", "kid/longtail"),
    ("precision, long-tailed", "precision/longtail"), ("recall, long-tailed", "recall/longtail"),
    ("density, long-tailed", "density/longtail"), ("coverage, long-tailed", "coverage/longtail"), ("coverage, balanced", "coverage/balanced"),
    ("rare classes: share among samples / share in the data", "rare_share_ratio"), ("rare classes: samples a seed", "rare_count"),
    ("rare classes: recall, balanced reference", "rare_recall/balanced"), ("rare classes: FID, balanced reference", "rare_fid/balanced"),
    ("distance to the nearest training image / theirs to each other", "near_train"),
    ("tail: 99 % quantile of the distance from the centre / the data's", "tail_q99"), ("tail: mean squared log error of quantiles 90 to 99 %", "tail_error"),
    ("tail: Kolmogorov-Smirnov distance", "tail_ks"),
]  # fmt: skip
PER_CLASS = [
    ("share / true share", None),
    ("recall", "class_recall"),
    ("FID", "class_fid"),
    ("nearest training image", "class_near"),
]


class ImageExhibit:
    """Classes, commonest first."""

    measures = MEASURES
    ways = 6
    picture_width = 300

    def __init__(self, params: Params, dataset: str):
        self._inception = params.evaluate.inception_weights is not None
        self._dataset, self._ruler = dataset, ImageRuler(params, dataset)
        statistics = json.loads((paths.prepared(dataset) / "statistics.json").read_text())
        self._counts, self._classes = statistics["train"]["counts"], statistics["train"]["classes"]
        self._balanced = sum(statistics["balanced"]["counts"])
        self.training_samples = sum(self._counts)

    def card(self, design: str, cell: pd.Series) -> dict[str, str]:
        """The rare classes."""
        return {
            "title": f"{design}: rare classes",
            "value": f"{cell['rare_share_ratio']:.2f}",
            "unit": "× their true share",
            "text": f"recall of rare images {cell['rare_recall/balanced']:.2f}",
        }

    def figures(self, chosen: dict[str, Chosen]) -> dict[str, str]:
        """Shares of classes, and quantiles of the distance from the centre of the training images."""
        real = self._ruler.references["longtail"].features.numpy()
        centre = real.mean(0)
        generated = {
            d: np.linalg.norm(self._ruler.embed(c.samples).numpy() - centre, axis=1) for d, c in chosen.items()
        }
        return {
            "classes": figures.shares(self._classes, self._counts, {d: self._shares(c) for d, c in chosen.items()}),
            "tails": figures.tails(np.linalg.norm(real - centre, axis=1), generated),
        }

    def _shares(self, chosen: Chosen) -> list[float]:
        return [chosen.cell[f"class_count/{c}"] / chosen.cell["samples"] for c in range(len(self._classes))]

    def values(self, chosen: dict[str, Chosen]) -> dict[str, Any]:
        """For report_images.html.j2."""
        judge = classifier_folder(paths.reference(self._dataset)) / "classifier.json"
        return {
            "per_class": self._per_class(chosen),
            "judge": json.loads(judge.read_text()),
            "inception": self._inception,
            "train_images": self.training_samples,
            "balanced_images": self._balanced,
            "drawn": len(next(iter(chosen.values())).samples),
            "rare": [f"{self._classes[c]} ({self._counts[c]} training images)" for c in rare_classes(self._counts)],
        }

    def _per_class(self, chosen: dict[str, Chosen]) -> dict[str, Any]:
        """Rows a class, rarest last; columns the measures of each design."""
        rows = []
        for c in sorted(range(len(self._classes)), key=lambda c: (-self._counts[c], c)):
            true = self._counts[c] / self.training_samples
            values = [
                self._shares(found)[c] / true if key is None else found.cell[f"{key}/{c}"]
                for _, key in PER_CLASS
                for found in chosen.values()
            ]
            texts = ["–" if pd.isna(value) else f"{value:.2f}" for value in values]
            rows.append((self._classes[c], self._counts[c], texts))
        return {"groups": [name for name, _ in PER_CLASS], "rows": rows}

    def pictures(self, folder: Path, chosen: dict[str, Chosen]) -> list[dict[str, str]]:
        """A row a class, by the classifier's verdict."""
        train = read_group(paths.prepared(self._dataset) / "images.zarr", "train")
        sets = {"real": (train.image, train.label, "the long-tailed training data")}
        net = self._ruler.classifier
        sets |= {d: (c.samples, classify(net, c.samples), c.label) for d, c in chosen.items()}
        rows = pictures.rows_of(self._counts)
        return [
            {
                "title": name,
                "text": text,
                "png": pictures.save(folder / f"samples-{name}.png", pictures.by_class(image, verdict, rows)),
            }
            for name, (image, verdict, text) in sets.items()
        ]

    def pixels(self, samples: np.ndarray) -> np.ndarray:
        """They are pixels already."""
        return samples
