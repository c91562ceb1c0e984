"""Whether classes come in other shares than before, beyond chance."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ShareShift:
    """A class with its shares of all samples, and the probability of a difference as large without any change."""

    name: str
    before: float
    now: float
    p: float


def find_share_shifts(
    before: Mapping[str, int], new: Mapping[str, int], factor: float, false_alarms: float
) -> list[ShareShift]:
    """Classes that are ``factor`` times more or less frequent among the new samples than before, and that beyond chance.

    Chance is Fisher's exact test of each class against all others, two-sided, so that neither few new samples nor few before
    deceive; Bonferroni's bound over the classes keeps the probability to find any without a change below ``false_alarms``.

    Args:
        before, new: samples of each class; a class that is missing has none. Samples are taken as independent.
    """
    from scipy.stats import hypergeom

    names = list(dict.fromkeys([*before, *new]))
    had, has = (np.array([counts.get(name, 0) for name in names]) for counts in (before, new))
    if not had.sum() or not has.sum():
        return []
    law = hypergeom(had.sum() + has.sum(), had + has, has.sum())
    p = np.minimum(1, 2 * np.minimum(law.cdf(has), law.sf(has - 1)))
    share_before, share_new = had / had.sum(), has / has.sum()
    far = (share_new >= factor * share_before) | (share_new <= share_before / factor)
    return [
        ShareShift(names[i], float(share_before[i]), float(share_new[i]), float(p[i]))
        for i in np.flatnonzero(far & (p < false_alarms / len(names)))
    ]
