"""What a score of a few hundred samples does not show: whether they are copies of training images, and how much they reach."""

import numpy as np
from torch import Tensor

from levy_core.metrics.images import manifold
from levy_core.metrics.images.reference import Reference
from levy_core.metrics.images.weights import quantile


def watch(
    generated: Tensor,
    labels: np.ndarray,
    train: Reference,
    held_out: Reference | None,
    train_counts: list[int],
    neighborhood: int,
) -> dict[str, float]:
    """``near_train`` and ``coverage/longtail`` as in ``measure_images``, and ``floor/near_train``, that of held-out images.

    Args:
        generated: features [N, D] of samples. labels: int64 [N], what they were drawn with.
        held_out: real images that nobody trained on; each class counts as often as ``labels`` asks for it, because rare classes
            lie further from their few training images. None: no floor.
        train_counts: images of each class in the training data: what samples without a class are made of.
    """
    spacing = float(train.spacing.median())
    if not spacing > 0:  # training images that are mostly doubles
        return {}
    row = {"near_train": float(np.median(manifold.nearest(generated, train.features).numpy())) / spacing}
    support = manifold.support(generated, train.features, train.radii, neighborhood)
    if support:
        row["coverage/longtail"] = float(support.covered.double().mean())
    if held_out is not None:
        classes = len(train_counts)
        asked = np.bincount(labels, minlength=classes + 1)
        wanted = asked[:classes] + asked[classes] * np.array(train_counts) / sum(train_counts)
        weights = (wanted / np.maximum(1, np.bincount(held_out.labels, minlength=classes)))[held_out.labels]
        distance = manifold.nearest(held_out.features, train.features).numpy()
        row["floor/near_train"] = float(quantile(distance, weights, np.array(0.5))) / spacing
    return row
