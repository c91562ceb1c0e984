"""Images in the report: whether rare classes come back, samples by class, tails in feature space."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from torch import device

from levy_core.datasets.images.longtail import rare_classes
from levy_core.datasets.images.split import FEWEST_CHECKS
from levy_core.datasets.images.store import Images, read_group
from levy_core.metrics.images.classifier import classify, describe_classifier
from levy_core.metrics.images.decidable import describe_rate
from tasks.cells.observed import Shown
from tasks.kinds.images.answer import (
    DRAWN,
    PER_CLASS,
    answer,
    format_percent,
    list_names,
    order_by_count,
    tabulate_classes,
)
from tasks.kinds.images.measures import MEASURES
from tasks.kinds.images.metrics import ImageMetrics, classifier_folder
from tasks.kinds.images.settings import GREY_LEVELS, ImageEvaluation
from tasks.kinds.images.statistics import ImageStatistics
from tasks.kinds.statistics import read_statistics
from tasks.page import figures, pictures
from tasks.page.contrasts import tabulate_contrasts
from tasks.page.default_sampler import DefaultSampler
from tasks.runtime.paths import Folders

# (title, metric) of the table of what helps
HELPS = [
    ("rare share / true", "rare_share_ratio"),
    ("asked = got, rare", "rare_agreement"),
    ("rare coverage", "rare_coverage/balanced"),
    ("rare precision", "rare_precision/balanced"),
    ("rare FID", "rare_fid/balanced"),
    ("long-tailed FID", "fid/longtail"),
]
MOST_COMPARED = 10  # rare classes whose images stand beside real ones


class ImagePage:
    """The classes of a data set, rarest first."""

    template = Path(__file__).with_name("page.html.j2")
    trajectories = 6
    picture_width = 300

    def __init__(self, folders: Folders, settings: ImageEvaluation, on: device):
        self._inception = settings.inception_weights is not None
        self.variables: list[str] = []
        self.units = ["grey levels"]
        self._folders = folders
        self._metrics = ImageMetrics(folders.reference, folders.prepared, settings, on)
        statistics = read_statistics(folders.prepared, ImageStatistics)
        self._counts, self._classes = statistics.train.counts, statistics.train.classes
        self._undecidable = self._metrics.explain_rare()
        self._balanced = sum(statistics.balanced.counts)
        self.training_samples = sum(self._counts)

    def card(self, design: str, cell: pd.Series) -> dict[str, str]:
        """Share, coverage and agreement of the rare classes."""
        if self._undecidable:
            return {
                "title": f"{design}: rare classes",
                "value": "not decidable",
                "unit": "",
                "text": f"coverage {cell['rare_coverage/balanced']:.2f}",
            }
        agreement = cell["rare_agreement"]
        asked = "" if pd.isna(agreement) else f"asked = got {100 * agreement:.0f} %, "
        return {
            "title": f"{design}: rare classes",
            "value": "–" if pd.isna(cell["rare_share_ratio"]) else f"{cell['rare_share_ratio']:.2f}",
            "unit": "× their true share",
            "text": f"{asked}coverage {cell['rare_coverage/balanced']:.2f}",
        }

    def figures(self, samplers: dict[str, DefaultSampler]) -> dict[str, str]:
        """Shares of classes, and quantiles of the distance from the centre of the training images."""
        real = self._metrics.references["longtail"].features.numpy()
        centre = real.mean(0)
        generated = {
            d: np.linalg.norm(self._metrics.features(c.samples).numpy() - centre, axis=1) for d, c in samplers.items()
        }
        truth = [count / self.training_samples for count in self._counts]
        return {
            "classes": figures.plot_shares(self._classes, truth, {d: self._shares(c) for d, c in samplers.items()}),
            "tails": figures.plot_tails(np.linalg.norm(real - centre, axis=1), generated),
        }

    def _shares(self, sampler: DefaultSampler) -> np.ndarray:
        keys = ("class_share", "class_share_low", "class_share_high")
        return np.array([[sampler.cell[f"{key}/{c}"] for key in keys] for c in range(len(self._classes))], dtype=float)

    def values(self, samplers: dict[str, DefaultSampler]) -> dict[str, Any]:
        """What page.html.j2 asks for."""
        drawn = len(next(iter(samplers.values())).samples)
        rare = [c for c in order_by_count(self._counts) if c in rare_classes(self._counts)]
        return {
            "answer": lambda cell, sampler: answer(
                cell, sampler, self._classes, self._counts, drawn, self._undecidable
            ),
            "per_class": tabulate_classes({d: c.cell for d, c in samplers.items()}, self._classes, self._counts),
            "groups": [title for title, _ in PER_CLASS],
            "helps": [title for title, _ in HELPS],
            "tabulate_contrasts": lambda contrasts: tabulate_contrasts(contrasts, HELPS, MEASURES),
            "ways_drawn": _describe_drawing(samplers),
            "classifier": self._describe_classifier(),
            "undecidable": self._undecidable,
            "fewest": FEWEST_CHECKS,
            "inception": self._inception,
            "train_images": self.training_samples,
            "balanced_images": self._balanced,
            "drawn": drawn,
            "rare": list_names([f"{self._classes[c]} ({self._counts[c]} training images)" for c in rare]),
        }

    def _describe_classifier(self) -> str:
        """On how many real images it is right."""
        about = describe_classifier(classifier_folder(self._folders.reference))
        accuracy, images = about.held_out_accuracy, about.held_out_images
        if accuracy is None or not images:
            return "is right on an unknown part of real images"
        return f"is right on {describe_rate(round(accuracy * images), images)}, of {images} held-out real images"

    def pictures(self, folder: Path, samplers: dict[str, DefaultSampler]) -> list[dict[str, Any]]:
        """One row per class, by the classifier's verdict; and the rarest classes, real above those that were asked for."""
        train = read_group(self._folders.prepared / "images.zarr", "train")
        verdicts = {d: classify(self._metrics.classifier, c.samples) for d, c in samplers.items()}
        sets = {"real": (train.image, train.label, "the long-tailed training data")}
        sets |= {d: (c.samples, verdicts[d], c.label) for d, c in samplers.items()}
        rows = pictures.choose_classes(self._counts)
        entries: list[dict[str, Any]] = [
            {
                "title": name,
                "text": text,
                "png": pictures.save_png(folder / f"samples-{name}.png", pictures.draw_by_class(image, verdict, rows)),
                "rows": [],
            }
            for name, (image, verdict, text) in sets.items()
        ]
        return entries + self._compare_rare(folder, train, samplers, verdicts)

    def _compare_rare(
        self, folder: Path, train: Images, samplers: dict[str, DefaultSampler], verdicts: dict[str, np.ndarray]
    ) -> list[dict[str, Any]]:
        """Per rare class one sheet: training images, then each design's of this class, with the names of its rows."""
        entries = []
        rare = rare_classes(self._counts)
        for c in [c for c in order_by_count(self._counts) if c in rare][:MOST_COMPARED]:
            sets = {"real": train.image[train.label == c]}
            # Without a class that was asked for, the classifier's verdict is all there is.
            sets |= {d: s.samples[(verdicts[d] if s.classes == "none" else s.labels) == c] for d, s in samplers.items()}
            share = format_percent(self._counts[c] / self.training_samples)
            entries.append(
                {
                    "title": self._classes[c],
                    "text": f"{self._counts[c]} training images, {share} %",
                    "png": pictures.save_png(folder / f"rare-{c}.png", pictures.draw_comparison(list(sets.values()))),
                    "rows": list(sets),
                }
            )
        return entries

    def draw_observed(self, cases: Sequence[Shown]) -> Image.Image:
        """One row per case: what was observed, the truth, members, their mean and their standard deviation, twice as bright."""
        rows = [
            [case.observed, case.truth, *case.members, case.mean, np.minimum(2 * case.spread, GREY_LEVELS)]
            for case in cases
        ]
        return pictures.draw_rows([[_to_pixels(tile) for tile in row] for row in rows])

    def pixels(self, samples: np.ndarray) -> np.ndarray:
        """The samples themselves, which are pixels already."""
        return samples


def _to_pixels(values: np.ndarray) -> np.ndarray:
    """Grey levels [C, H, W] as uint8; grey where nothing was observed."""
    return np.nan_to_num(values, nan=GREY_LEVELS / 2).round().clip(0, GREY_LEVELS).astype(np.uint8)


def _describe_drawing(samplers: dict[str, DefaultSampler]) -> list[str]:
    """In which classes the samples were drawn; with the designs' names where they differ."""
    by_way: dict[str, list[str]] = {}
    for design, sampler in samplers.items():
        by_way.setdefault(DRAWN[sampler.classes], []).append(design)
    return [way if len(by_way) == 1 else f"{list_names(names)} {way}" for way, names in by_way.items()]
