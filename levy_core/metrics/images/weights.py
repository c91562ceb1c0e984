"""Samples that were drawn in some proportions of the classes, weighed as if in others."""

import numpy as np


def shares_of(labels: np.ndarray, classes: int) -> np.ndarray:
    """The share of each class, float64 [classes], among the labels that name one; zeros where none does."""
    counts = np.bincount(labels[labels < classes], minlength=classes)
    return counts / max(1, counts.sum())


def class_weights(labels: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Weights float64 [N], of sum 1, that give samples asked for each class its share (importance weights q_c / p_c).

    Args:
        labels: int64 [N], the class that each sample was asked for; the number of classes: none.
        shares: q, float64 [classes]. p are the shares among the samples.

    Samples without a class weigh 1 / N. Classes without a sample leave their share to the others in proportion.
    """
    asked = labels < len(shares)
    p = shares_of(labels, len(shares))
    weights = np.ones(len(labels))
    ratio = np.divide(shares, p, out=np.zeros(len(p)), where=p > 0)
    kept = (ratio * p).sum()
    if kept > 0:
        weights[asked] = ratio[labels[asked]] / kept
    return weights / max(1, len(labels))


def are_equal(weights: np.ndarray) -> bool:
    """Whether all rows weigh the same, but for rounding."""
    return bool(np.ptp(weights) <= 1e-9 * weights.max()) if len(weights) else True


def normalise(weights: np.ndarray) -> np.ndarray:
    """Weights [N] of sum 1; as they are where the sum is 0."""
    total = weights.sum()
    return weights / total if total > 0 else weights


def quantile(values: np.ndarray, weights: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Quantiles of weighted values [N]; with equal weights those of ``np.quantile``.

    The sorted values stand at the middle of their weight, stretched so that the first is at 0 and the last at 1.
    """
    order = np.argsort(values, kind="stable")
    order = order[weights[order] > 0]
    if not len(order):
        return np.full(np.shape(levels), np.nan)
    w = weights[order]
    middle = np.cumsum(w) - w / 2
    span = middle[-1] - middle[0]
    place = (middle - middle[0]) / span if span > 0 else np.zeros(1)
    return np.interp(levels, place, values[order])
