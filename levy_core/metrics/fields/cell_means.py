"""Whether each cell has its own mean, which values of all cells together do not show."""

import warnings

import numpy as np

from levy_core.metrics.common.marginal import NAN

FEWEST = 20  # fields of either side


def cell_bias(generated: np.ndarray, real: np.ndarray) -> tuple[float, float]:
    """How far the means of single cells are from the real ones, and that over the standard deviation of a cell's real values.

    Both are root mean squares over cells. What independent generated fields differ by because they are few is taken off (var / N of each cell),
    so that it does not fall with their number: 0 for perfect ones, but for the real fields' own number. No more is taken off than of as many fields
    that vary as the real ones do: a single wild value would pass for chance, and hide every bias.

    Args:
        generated, real: values float32 [N, K] and [M, K] of K cells, NaN where missing.

    Returns:
        In the values' units, and without: NaN for fewer than ``FEWEST`` fields of either side.
    """
    if min(len(generated), len(real)) < FEWEST:
        return NAN, NAN
    (mean, variance, count), (real_mean, real_variance, _) = map(_moments, (generated, real))
    by_chance = np.minimum(variance, real_variance) / np.maximum(count - 1, 1)
    squared = _mean((mean - real_mean) ** 2 - by_chance)
    bias, spread = float(np.sqrt(np.maximum(squared, 0.0))), float(np.sqrt(_mean(real_variance)))
    return bias, bias / spread if spread > 0 else NAN


def _moments(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and variance of each cell [K], NaN where it has no value, and how many values it has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # cells without values
        mean, variance = (np.asarray(of(values, axis=0, dtype=np.float64)) for of in (np.nanmean, np.nanvar))
    return mean, variance, (~np.isnan(values)).sum(axis=0)


def _mean(of_cells: np.ndarray) -> float:
    """Of the cells that are known."""
    known = of_cells[~np.isnan(of_cells)]
    return float(known.mean()) if len(known) else NAN
