"""How many images of each class: the long tail."""

from collections.abc import Sequence

from levy_core.base.errors import LevyError


def longtail_counts(available: list[int], imbalance: float) -> list[int]:
    """How many images of each class the standard exponential profile keeps: ``n_max * imbalance**(-c / (C - 1))``.

    n_max is the largest number for which every class has enough images. Counts are rounded down, as in the published
    long-tailed CIFAR: 5,000 images per class at imbalance 100 give 5000, 2997, ..., 50.

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


def in_proportion(available: Sequence[int], counts: Sequence[int]) -> list[int]:
    """The largest numbers in the proportions of ``counts`` for which every class has enough; at least 1 of each."""
    scale = min(n / count for n, count in zip(available, counts, strict=True))
    return [max(1, int(scale * count + 1e-9)) for count in counts]


def rare_classes(counts: Sequence[int]) -> list[int]:
    """The rare third of the classes (rounded down, at least one), by their counts in the training data."""
    order = sorted(range(len(counts)), key=lambda c: (counts[c], -c))
    return sorted(order[: max(1, len(counts) // 3)])
