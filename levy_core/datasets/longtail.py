"""Long-tailed and balanced selections of labelled images."""

from collections.abc import Sequence

import numpy as np

from levy_core.errors import LevyError
from levy_core.seeds import seed_of


def longtail_counts(available: list[int], imbalance: float) -> list[int]:
    """How many images of each class the standard exponential profile keeps: ``n_max * imbalance**(-c / (C - 1))``.

    n_max is the largest number for which every class has enough images. Counts are rounded down, as in the published
    long-tailed CIFAR: 5,000 images a class at imbalance 100 give 5000, 2997, ..., 50.

    Source: Cui et al. (2019), Class-balanced loss; Cao et al. (2019), LDAM, appendix.

    Raises:
        LevyError: imbalance below 1, fewer than 2 classes, or a class that keeps no image.
    """
    if imbalance < 1:
        raise LevyError(f"imbalance is {imbalance}, but is the largest class over the smallest: at least 1")
    if len(available) < 2:
        raise LevyError(f"a long tail needs at least 2 classes, found {len(available)}")
    profile = [imbalance ** (-c / (len(available) - 1)) for c in range(len(available))]
    n_max = int(min(n / share for n, share in zip(available, profile, strict=True)))
    # 1e-9: imbalance**-1 * n_max is a whole number in theory and 49.99... in floating point.
    counts = [int(n_max * share + 1e-9) for share in profile]
    if min(counts) < 1:
        raise LevyError(
            f"at imbalance {imbalance:g} the last of {len(available)} classes keeps no image: lower the imbalance"
        )
    return counts


def select(labels: np.ndarray, counts: list[int], seed: int) -> np.ndarray:
    """Indices of ``counts[c]`` images of each class c, drawn without replacement, sorted by class; int64 [sum(counts)].

    The first images drawn of a class do not depend on how many are drawn: selections of one seed are nested.
    """
    chosen = []
    for c, count in enumerate(counts):
        members = np.flatnonzero(labels == c)
        chosen.append(np.random.default_rng(seed_of(seed, "select", c)).permutation(members)[:count])
    return np.concatenate(chosen)


def rare_classes(counts: Sequence[int]) -> list[int]:
    """The rare third of the classes (rounded down, at least one), by their counts in the training data."""
    order = sorted(range(len(counts)), key=lambda c: (counts[c], -c))
    return sorted(order[: max(1, len(counts) // 3)])
