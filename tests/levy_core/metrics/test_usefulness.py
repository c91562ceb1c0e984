"""Samples are useful where a classifier that trains on them too is right more often on rare classes."""

import numpy as np
import pytest
import torch
from scipy import stats

from levy_core.base.errors import LevyError
from levy_core.datasets import starter
from levy_core.datasets.images.longtail import longtail_counts
from levy_core.datasets.images.store import Images
from levy_core.metrics.images.classifier import ClassifierConfig
from levy_core.metrics.images.usefulness import gain, usefulness

CONFIG = ClassifierConfig(steps=40, batch=32, lr=0.01, width=8, features=12, seed=0)
NAMES = tuple("0123456789")


@pytest.fixture(scope="module")
def digits():
    """A long tail with 4 images of the rarest class, a test set, and 80 other real images of each class."""
    image, label = starter.digits()
    images, rng = Images(image[:, None], label, NAMES), np.random.default_rng(0)
    rows = [rng.permutation(np.flatnonzero(label == c)) for c in range(10)]
    counts = longtail_counts([60] * 10, 15)
    train = np.concatenate([own[:n] for own, n in zip(rows, counts, strict=True)])
    return [
        images.take(r)
        for r in (train, np.concatenate([r[140:] for r in rows]), np.concatenate([r[60:140] for r in rows]))
    ]


def test_real_images_in_place_of_samples_help_and_noise_does_not(digits):
    train, test, more = digits
    noise = np.random.default_rng(1).integers(0, 256, more.image.shape, dtype=np.uint8)
    seeds, on = range(3), torch.device("cpu")
    good, bad = (usefulness(train, test, x, more.label, CONFIG, seeds, on) for x in (more.image, noise))
    assert set(good) == {"real", "oversampled", "filled"}
    for name in ("real", "oversampled"):  # the same trainings
        assert good[name]["rare_accuracy"].tolist() == bad[name]["rare_accuracy"].tolist()
    mean, low, high = gain(good, "filled", "real")
    assert low > 0.05
    assert mean - low == pytest.approx(high - mean)
    assert gain(good, "filled", "oversampled")[0] > gain(bad, "filled", "oversampled")[0]
    assert gain(bad, "filled", "oversampled")[0] < 0


def test_a_gain_is_the_paired_difference_with_students_interval():
    a, b = np.array([0.9, 0.8, 0.85]), np.array([0.7, 0.75, 0.7])
    mean, low, high = gain({"x": {"rare_accuracy": a}, "y": {"rare_accuracy": b}}, "x", "y")
    half = stats.t.ppf(0.975, 2) * (a - b).std(ddof=1) / 3**0.5
    assert (mean, low, high) == pytest.approx(((a - b).mean(), (a - b).mean() - half, (a - b).mean() + half))


def test_a_class_without_samples_is_named(digits):
    train, test, more = digits
    rows = more.label != 9
    with pytest.raises(
        LevyError, match=r"no sample was asked for class '9', which has 4 training images and needs 56 more"
    ):
        usefulness(train, test, more.image[rows], more.label[rows], CONFIG, [0], torch.device("cpu"))
