"""Which of the samplers that a search puts first is best on seeds that the search has not seen.

The best of many noisy scores is partly luck. So the best few of a search and the samplers that it began with are scored again, all from
the same noise of seeds of their own, and one that it began with stays unless another is ahead of it by two standard errors.
"""

from collections.abc import Sequence

import numpy as np

FINALISTS = 3  # of a search's best, beside the samplers that it began with
MOST_SEEDS = 4
AHEAD = 2.0  # standard errors of the paired difference


def afford(samples: int, known: int, each: int) -> tuple[int, int]:
    """(finalists of a search, fresh seeds) that half of a budget pays for; (0, 0) where it pays no two seeds for one.

    Args:
        samples: the budget. known: samplers that a search begins with, which are judged, too. each: samples of every one and seed.
    """
    for finalists in range(FINALISTS, 0, -1):
        seeds = min(MOST_SEEDS, samples // (2 * (finalists + known) * each))
        if seeds > 1:  # one says nothing about its error
            return finalists, seeds
    return 0, 0


def choose(scores: np.ndarray, known: Sequence[bool]) -> int:
    """Which candidate to take.

    Args:
        scores: smaller is better, NaN where a candidate failed; float64 [candidates, seeds], two seeds or more.
        known: whether the search began with it, [candidates].

    Returns:
        The smallest mean; but the best known one where that is not ahead of it by ``AHEAD`` standard errors.
    """
    scores = np.where(np.isfinite(scores), scores, np.inf)
    means = scores.mean(1)
    best = int(means.argmin())
    places = np.flatnonzero(known)
    start = int(places[means[places].argmin()]) if len(places) else best
    if not np.isfinite(means[start]):
        return best
    gain = scores[start] - scores[best]
    return best if gain.mean() > AHEAD * gain.std(ddof=1) / len(gain) ** 0.5 else start
