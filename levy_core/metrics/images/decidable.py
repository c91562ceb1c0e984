"""What a classifier can decide about classes: no more than the real images allow on which it was checked."""

from collections.abc import Mapping, Sequence

import numpy as np

from levy_core.datasets.images.split import FEWEST_CHECKS
from levy_core.metrics.images.classifier import Check
from levy_core.metrics.images.fidelity import NAN
from levy_core.metrics.images.shares import jeffreys

# Metrics of a class and of the rare classes that are what the classifier says.
OF_CLASS = ("class_share", "class_share_low", "class_share_high", "class_agreement")
OF_RARE = ("rare_share_ratio", "rare_share_low", "rare_share_high", "rare_agreement")


def explain_undecidable(confusion: np.ndarray | None, classes: Sequence[int]) -> str:
    """Why the classifier cannot tell how many samples are of some classes; "" where it can.

    Args:
        confusion: of real images that it was not trained on (``Reference.confuse``).
    """
    if confusion is None:
        return "there is a class without real images to check the classifier on"
    return _explain_few(int(confusion[classes].sum()), int(confusion[np.ix_(classes, classes)].sum()), "them")


def _explain_few(checked: int, known: int, whom: str) -> str:
    if checked >= FEWEST_CHECKS:
        return ""
    share = f"it knew {known}: {describe_rate(known, checked)}; " if checked else ""
    return f"the classifier was checked on {checked} real image{'s' * (checked != 1)} of {whom} ({share}{FEWEST_CHECKS} are needed)"


def explain_class(check: Check | None) -> str:
    """Why nobody knows what a classifier's saying of a class means; "" where it is known. None: no check of it was kept."""
    if check is None:
        return "the model does not keep on how many real images its classifier was checked: `levy run` registers one that does"
    return _explain_few(check.images, check.known, "it")


def describe_check(check: Check) -> str:
    """How far a classifier is right about a class, with intervals."""
    said = f"the classifier knew {check.known} of {check.images} real images of it: {describe_rate(check.known, check.images)}"
    if not check.others:
        return said
    return f"{said}; of {check.others} others it took {check.mistaken} for it: {describe_rate(check.mistaken, check.others)}"


def describe_rate(hits: int, of: int) -> str:
    """``100 %, 95 % interval 15 to 100 %``."""
    low, high = jeffreys(np.array([hits / of]), np.array([of]))[:, 0]
    return f"{100 * hits / of:.0f} %, 95 % interval {100 * low:.0f} to {100 * high:.0f} %"


def find_undecidable(confusion: np.ndarray | None, classes: int, rare: Sequence[int]) -> dict[str, str]:
    """Metrics of what the classifier says of classes that it was checked on too few images of, and why they are not known."""
    reasons = {f"{key}/{c}": explain_undecidable(confusion, [c]) for c in range(classes) for key in OF_CLASS}
    reasons |= dict.fromkeys(OF_RARE, explain_undecidable(confusion, rare))
    return {key: why for key, why in reasons.items() if why}


def without_undecidable(
    row: Mapping[str, float], confusion: np.ndarray | None, classes: int, rare: Sequence[int]
) -> dict[str, float]:
    """Metrics of samples, NaN in place of those of ``find_undecidable``."""
    unknown = find_undecidable(confusion, classes, rare)
    return {key: NAN if key in unknown else value for key, value in row.items()}
