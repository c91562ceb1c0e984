"""Shares of the classes among samples, by a judge that errs.

A judge calls what is unclear by some class, so that the raw shares of noisy samples are wrong, and those of rare classes too
large. Here a sample counts only where it lies in the real manifold, and the counts are corrected by what the judge says of real
images that it was not trained on.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls
from scipy.stats import beta

ENDS = np.array([[0.025], [0.975]])  # intervals hold the truth about 19 times in 20


@dataclass(frozen=True)
class Share:
    """A share with its 95 % interval."""

    value: float
    low: float
    high: float


def jeffreys(p: np.ndarray, n: np.ndarray) -> np.ndarray:
    """95 % intervals [2, K] of binomial shares p [K] seen in n [K] draws, which need not be whole numbers.

    Source: Brown, Cai and DasGupta (2001), Interval estimation for a binomial proportion, section 4.
    """
    low, high = beta.ppf(ENDS, p * n + 0.5, (1 - p) * n + 0.5)
    return np.stack([np.where(p * n > 0, low, 0.0), np.where((1 - p) * n > 0, high, 1.0)])


def stratified(parts: np.ndarray, hits: np.ndarray, totals: np.ndarray, own: np.ndarray) -> Share:
    """The share ``sum_a parts_a hits_a / totals_a`` over strata that were drawn apart, and its interval.

    The strata that are ``own``, bool [K], are pooled, and so are the others, each with the effective number of draws
    (sum parts)**2 / sum(parts**2 / totals). The intervals of both are joined by the root of the sum of squares of their arms.
    Source: Zou and Donner (2008), Construction of confidence limits about effect measures.
    """
    p = hits / np.maximum(totals, 1)
    arms = np.zeros((2, 2))
    for k, pooled in enumerate((own & (parts > 0), ~own & (parts > 0))):
        part = parts[pooled].sum()
        if part > 0:
            mean, n = (
                parts[pooled] @ p[pooled] / part,
                part**2 / (parts[pooled] ** 2 / np.maximum(totals[pooled], 1)).sum(),
            )
            arms[k] = part * (jeffreys(np.array([mean]), np.array([n]))[:, 0] - mean)
    value, (below, above) = float(parts @ p), np.sqrt((arms**2).sum(0))
    return Share(value, value - float(below), value + float(above))


class Judged:
    """What a judge says of samples, against what it says of real images.

    Args:
        asked: classes asked for, int64 [N]; the number of classes: none. verdicts: int64 [N]; the number of classes: outside of
            the real manifold, no image of any class.
        confusion: real images by class and verdict, int64 [classes, classes + 1]. shares: that real data have, float64 [classes].

    Attributes:
        corrected: the share of each class that, judged like real images, explains the verdicts best, float64 [classes]; 1 in all
            or less: what is no image of any class has no share.
    """

    def __init__(self, asked: np.ndarray, verdicts: np.ndarray, confusion: np.ndarray, shares: np.ndarray):
        classes = len(shares)
        self._shares, self._confusion = shares, confusion
        # One stratum per class asked for; samples without a class are one more.
        self._drawn = np.zeros((classes + 1, classes + 1))
        np.add.at(self._drawn, (asked, verdicts), 1)
        sizes = self._drawn.sum(1)
        without = sizes[-1] / max(1, sizes.sum())
        present = np.where(sizes[:-1] > 0, shares, 0)
        self._parts = np.append((1 - without) * present / max(present.sum(), 1e-12), without)
        observed = self._parts @ (self._drawn / np.maximum(sizes, 1)[:, None])
        rates = confusion[:, :-1] / np.maximum(confusion.sum(1), 1)[:, None]
        found = nnls(rates.T, observed[:-1])[0]
        self._scale = 1 / max(1.0, float(found.sum()))  # samples may be more typical than real images
        self.corrected = self._scale * found

    def share(self, classes: list[int]) -> Share:
        """The corrected share of some classes; its interval holds the noise of the samples and of the real images."""
        own = np.isin(np.arange(len(self._shares) + 1), classes)
        sizes, hits = self._confusion.sum(1), self._confusion[:, classes].sum(1)
        real = stratified(self._shares, hits, sizes, own[:-1])
        mine = stratified(self._parts, self._drawn[:, classes].sum(1), self._drawn.sum(1), own)
        # Rogan and Gladen (1978): d share / d rate = 1 / (sensitivity - false positive rate).
        rate = hits / np.maximum(sizes, 1)
        right, wrong = (rate[w] @ self._shares[w] / max(self._shares[w].sum(), 1e-12) for w in (own[:-1], ~own[:-1]))
        slope = self._scale / max(right - wrong, 1e-3)
        value = float(self.corrected[classes].sum())
        below = np.hypot(mine.value - mine.low, real.high - real.value) * slope
        above = np.hypot(mine.high - mine.value, real.value - real.low) * slope
        return Share(value, max(0.0, value - float(below)), min(1.0, value + float(above)))
