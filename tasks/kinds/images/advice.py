"""What to tell a person of images before anything is made of them."""

import numpy as np

from levy_core.datasets.images.left_out import describe_left_out
from levy_core.datasets.images.longtail import rare_classes
from levy_core.datasets.images.pictures import LOSSES
from levy_core.datasets.images.sources import Source
from levy_core.datasets.images.split import FEWEST_CHECKS, count_checks

UNEVEN = 2  # times as many images in the largest class as in the smallest: no longer even
SHOWN = 8  # classes in a message


def advise(source: Source, groups: dict[str, np.ndarray], imbalance: float | None) -> list[str]:
    """Lines on what a data set and its groups (``assign_groups``) leave out, or cannot show."""
    lines = [
        *describe_left_out(source.left_out),
        _find_unused(source, groups, imbalance),
        _find_unchecked(source, groups),
    ]
    return [line for line in lines if line]


def describe_losses(source: Source) -> list[str]:
    """Lines on what was left out of the images that have been read."""
    return [
        f"{len(names):,} image{'s have' if len(names) > 1 else ' has'} {LOSSES[loss]} (for example {min(names)})"
        for loss, names in sorted(source.lost.items())
    ]


def _find_unused(source: Source, groups: dict[str, np.ndarray], imbalance: float | None) -> str:
    """What a long tail leaves out of classes that are uneven as they are."""
    used, held_out = (
        np.bincount(source.labels[groups.get(g, [])], minlength=len(source.classes)) for g in ("train", "test")
    )
    there = np.bincount(source.labels) - held_out
    if imbalance is None or there.max() <= UNEVEN * there.min():
        return ""
    most = np.argsort(used - there, kind="stable")[:SHOWN]
    left = ", ".join(f"{used[c]:,} of {there[c]:,} of {source.classes[c]}" for c in most)
    return (
        f"its classes are uneven as they are, and imbalance {imbalance:g} makes another long tail of them, in the order of the classes, that leaves "
        f"{(there - used).sum():,} images unused (used of {'the most cut ' if len(used) > SHOWN else ''}classes: {left}); with imbalance: null all are used"
    )


def _find_unchecked(source: Source, groups: dict[str, np.ndarray]) -> str:
    """Rare classes with too few images to check the classifier that tells classes apart."""
    rare = rare_classes(np.bincount(source.labels[groups["train"]], minlength=len(source.classes)).tolist())
    checks = count_checks(source.labels, groups, rare)
    if checks >= FEWEST_CHECKS:
        return ""
    names = ", ".join(repr(source.classes[c]) for c in rare[:SHOWN])
    return (
        f"whether rare classes come back will not be decidable: about {checks} images of {names} check the classifier that tells classes apart "
        f"(those held out, and a fifth of the balanced reference), and {FEWEST_CHECKS} are needed: bring more images of them"
    )
