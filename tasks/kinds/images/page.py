"""Images in the report: samples by class, shares, tails in feature space."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import device

from levy_core.datasets.images.longtail import rare_classes
from levy_core.datasets.images.store import read_group
from levy_core.metrics.images.classifier import classify
from tasks.kinds.images.metrics import ImageMetrics, classifier_folder
from tasks.kinds.images.settings import ImageEvaluation
from tasks.page import figures, pictures
from tasks.page.default_sampler import DefaultSampler
from tasks.runtime.paths import Folders

PER_CLASS = [
    ("share / true share", None),
    ("coverage", "class_coverage"),
    ("FID", "class_fid"),
    ("nearest training image", "class_near"),
]


class ImagePage:
    """The classes of a data set, commonest first."""

    template = Path(__file__).with_name("page.html.j2")
    trajectories = 6
    picture_width = 300

    def __init__(self, folders: Folders, settings: ImageEvaluation, on: device):
        self._inception = settings.inception_weights is not None
        self.variables: list[str] = []
        self._folders = folders
        self._metrics = ImageMetrics(folders.reference, folders.prepared, settings, on)
        statistics = json.loads((folders.prepared / "statistics.json").read_text())
        self._counts, self._classes = statistics["train"]["counts"], statistics["train"]["classes"]
        self._balanced = sum(statistics["balanced"]["counts"])
        self.training_samples = sum(self._counts)

    def card(self, design: str, cell: pd.Series) -> dict[str, str]:
        """Share and coverage of the rare classes."""
        return {
            "title": f"{design}: rare classes",
            "value": f"{cell['rare_share_ratio']:.2f}",
            "unit": "× their true share",
            "text": f"coverage of rare images {cell['rare_coverage/balanced']:.2f}",
        }

    def figures(self, samplers: dict[str, DefaultSampler]) -> dict[str, str]:
        """Shares of classes, and quantiles of the distance from the centre of the training images."""
        real = self._metrics.references["longtail"].features.numpy()
        centre = real.mean(0)
        generated = {
            d: np.linalg.norm(self._metrics.features(c.samples).numpy() - centre, axis=1) for d, c in samplers.items()
        }
        return {
            "classes": figures.plot_shares(
                self._classes, self._counts, {d: self._shares(c) for d, c in samplers.items()}
            ),
            "tails": figures.plot_tails(np.linalg.norm(real - centre, axis=1), generated),
        }

    def _shares(self, sampler: DefaultSampler) -> list[float]:
        return [sampler.cell[f"class_count/{c}"] / sampler.cell["samples"] for c in range(len(self._classes))]

    def values(self, samplers: dict[str, DefaultSampler]) -> dict[str, Any]:
        """What page.html.j2 asks for."""
        classifier = classifier_folder(self._folders.reference) / "classifier.json"
        return {
            "per_class": self._per_class(samplers),
            "classifier": json.loads(classifier.read_text()),
            "inception": self._inception,
            "train_images": self.training_samples,
            "balanced_images": self._balanced,
            "drawn": len(next(iter(samplers.values())).samples),
            "rare": [f"{self._classes[c]} ({self._counts[c]} training images)" for c in rare_classes(self._counts)],
        }

    def _per_class(self, samplers: dict[str, DefaultSampler]) -> dict[str, Any]:
        """One row per class, rarest last; columns are the measures of each design."""
        rows = []
        for c in sorted(range(len(self._classes)), key=lambda c: (-self._counts[c], c)):
            true = self._counts[c] / self.training_samples
            values = [
                self._shares(sampler)[c] / true if key is None else sampler.cell[f"{key}/{c}"]
                for _, key in PER_CLASS
                for sampler in samplers.values()
            ]
            texts = ["–" if pd.isna(value) else f"{value:.2f}" for value in values]
            rows.append((self._classes[c], self._counts[c], texts))
        return {"groups": [name for name, _ in PER_CLASS], "rows": rows}

    def pictures(self, folder: Path, samplers: dict[str, DefaultSampler]) -> list[dict[str, str]]:
        """One row per class, by the classifier's verdict."""
        train = read_group(self._folders.prepared / "images.zarr", "train")
        sets = {"real": (train.image, train.label, "the long-tailed training data")}
        net = self._metrics.classifier
        sets |= {d: (c.samples, classify(net, c.samples), c.label) for d, c in samplers.items()}
        rows = pictures.choose_classes(self._counts)
        return [
            {
                "title": name,
                "text": text,
                "png": pictures.save_png(folder / f"samples-{name}.png", pictures.draw_by_class(image, verdict, rows)),
            }
            for name, (image, verdict, text) in sets.items()
        ]

    def pixels(self, samples: np.ndarray) -> np.ndarray:
        """The samples themselves, which are pixels already."""
        return samples
