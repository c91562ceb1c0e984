"""What samples are good for: the accuracy on rare classes of a classifier that trains on them too."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from scipy import stats

from levy_core.base.errors import LevyError
from levy_core.datasets.images.longtail import rare_classes
from levy_core.datasets.images.store import Images
from levy_core.metrics.images.classifier import ClassifierConfig, classify, train_classifier

Accuracies = dict[str, dict[str, np.ndarray]]


def usefulness(
    train: Images,
    test: Images,
    samples: np.ndarray,
    labels: np.ndarray,
    config: ClassifierConfig,
    seeds: Sequence[int],
    device: torch.device,
) -> Accuracies:
    """Accuracies on held-out images, after as many steps each, of classifiers trained on three sets.

    ``real``: the training images. ``oversampled``: each class repeated up to the largest. ``filled``: each class filled up to
    the largest with samples, which are repeated where they do not suffice.

    Args:
        samples: uint8 [N, C, H, W]. labels: the class that each was asked for, int64 [N].
        config: of the classifiers; its seed is replaced.

    Returns:
        By set: ``accuracy`` of all test images, ``rare_accuracy`` of those of the rare classes; float64, one per seed.

    Raises:
        LevyError: a class that is to be filled has no sample.
    """
    counts = np.bincount(train.label, minlength=len(train.classes))
    rows = [np.flatnonzero(train.label == c) for c in range(len(counts))]
    repeated = np.concatenate([np.resize(own, counts.max()) for own in rows])
    filling = _filling(labels, counts, train.classes)
    sets = {
        "real": (train.image, train.label),
        "oversampled": (train.image[repeated], train.label[repeated]),
        "filled": (np.concatenate([train.image, samples[filling]]), np.concatenate([train.label, labels[filling]])),
    }
    is_rare = np.isin(test.label, rare_classes(counts.tolist()))
    accuracies: Accuracies = {}
    for name, (image, label) in sets.items():
        right = np.array([_hits(image, label, test, replace(config, seed=seed), device) for seed in seeds])
        accuracies[name] = {"accuracy": right.mean(1), "rare_accuracy": right[:, is_rare].mean(1)}
    return accuracies


def gain(
    accuracies: Accuracies, of: str, over: str, measure: str = "rare_accuracy", confidence: float = 0.95
) -> tuple[float, float, float]:
    """Mean paired difference over seeds between two of the sets, and its Student interval: (mean, low, high)."""
    a, b = accuracies[of][measure], accuracies[over][measure]
    interval = stats.ttest_rel(a, b).confidence_interval(confidence)
    return float((a - b).mean()), float(interval.low), float(interval.high)


def _filling(labels: np.ndarray, counts: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Rows of samples that fill each class up to the largest, int64."""
    parts = []
    for c, missing in enumerate(counts.max() - counts):
        own = np.flatnonzero(labels == c)
        if missing and not len(own):
            raise LevyError(
                f"no sample was asked for class {classes[c]!r}, which has {counts[c]} training images and needs {missing} "
                f"more to be as large as the largest: draw samples of every class"
            )
        parts.append(np.resize(own, missing))
    return np.concatenate(parts)


def _hits(
    image: np.ndarray, label: np.ndarray, test: Images, config: ClassifierConfig, device: torch.device
) -> np.ndarray:
    *_, (_, _, net) = train_classifier(image, label, len(test.classes), config, device)
    return classify(net, test.image) == test.label
