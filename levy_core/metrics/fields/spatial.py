"""What belongs to a field as a whole: the area of its cells, power at each scale, correlation by distance, extremes of variables together."""

from functools import lru_cache

import numpy as np
from scipy import fft, sparse, stats

from levy_core.base.errors import LevyError
from levy_core.metrics.common.marginal import NAN

PAIRS = 64  # pairs of cells per class of distance
Pairs = tuple[np.ndarray, np.ndarray]  # flat indices of cells, one beside the other
TOGETHER = 4_000_000  # values whose counts float32 sums exactly
FEWEST_FIELDS = 20  # fields that correlations and thresholds of single cells are estimated from


def even_cells(areas: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
    """Cells that stand for about equal areas, bool [H, W]: of each row a share of the area of its cells [H], or of cells of areas [H, W].

    As in a reduced Gaussian grid, so that the poles count no more than their area and every measure of pooled values,
    quantiles too, needs no weights. All cells without areas, and for places (one row).

    Raises:
        LevyError: areas of another shape.
    """
    height, width = shape
    if areas is None or height == 1:
        return np.ones(shape, dtype=bool)
    if areas.shape not in ((height,), (height, width)):
        raise LevyError(
            f"areas {list(areas.shape)} for fields of {height} rows: one for each row, or for each cell, was expected"
        )
    if areas.ndim == 2:  # systematic sampling along the rows, each cell with a chance of its area
        passed = np.floor(np.append(0, (areas / areas.max()).cumsum()))
        return (passed[1:] > passed[:-1]).reshape(shape)
    kept = np.maximum(1, np.rint(width * areas / areas.max())).astype(np.int64)
    cells = np.zeros(shape, dtype=bool)
    for row, count in zip(cells, kept, strict=True):
        row[np.arange(count) * width // count] = True
    return cells


def rings(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(wavenumber [K], ring [H, W]): the ring 0..K that each mode of the cosine transform of an H x W field is in.

    Mode (i, j) has i and j half waves across the field. Ring r holds the modes with
    sqrt((i / H)**2 + (j / W)**2) * n in r - 1/2 .. r + 1/2, n the shorter side longer than 1. Wavenumbers are in waves
    across n cells: r / 2. Ring 0 is the field mean.
    """
    height, width = shape
    side = min((s for s in shape if s > 1), default=1)
    radius = np.hypot(np.arange(height)[:, None] / height, np.arange(width)[None] / width) * side
    ring = np.rint(radius).astype(np.int64)
    ring[ring == 0] = 1  # a long field's slowest modes
    ring[0, 0] = 0
    return np.arange(1, ring.max() + 1) / 2, ring


def field_power(values: np.ndarray) -> np.ndarray:
    """Mean power of a mode in each ring, of each field: [N, H, W] -> [N, K], in squared units.

    Power is the squared coefficient of the orthonormal cosine transform over the number of cells, so that the sum over
    modes is the field's variance (Parseval). A box is no period: the cosine transform mirrors it and needs no
    window; on a closed circle of longitudes it is as good. Missing cells count as the field's mean.
    Source: Denis, Cote and Laprise (2002), Spectral decomposition of two-dimensional atmospheric fields on
    limited-area domains using the discrete cosine transform (DCT).
    """
    count, height, width = values.shape
    known = ~np.isnan(values)
    cells = np.maximum(known.sum((1, 2), keepdims=True), 1)
    filled = np.where(known, values, 0)
    filled = np.where(known, filled - filled.sum((1, 2), keepdims=True) / cells, 0)
    power = fft.dctn(filled, axes=(1, 2), norm="ortho").reshape(count, height * width) ** 2 / (height * width)
    return power @ _ring_means((height, width))


@lru_cache(maxsize=4)
def _ring_means(shape: tuple[int, int]) -> sparse.csr_array:
    """The mean over the modes of each ring, [H W, K]; ring 0 is in none."""
    wavenumber, ring = rings(shape)
    modes = np.flatnonzero(ring)
    of = ring.reshape(-1)[modes] - 1
    weights = 1 / np.bincount(of, minlength=len(wavenumber))[of]
    return sparse.csr_array((weights, (modes, of)), shape=(ring.size, len(wavenumber)))


def spectrum(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(wavenumber [K], power [K]) of fields [N, H, W]: ``field_power``, the mean over fields."""
    return rings(values.shape[1:])[0], field_power(values).mean(0)


def modes(shape: tuple[int, int]) -> np.ndarray:
    """How many cosines of an H x W field each ring has, [K]."""
    return np.bincount(rings(shape)[1].reshape(-1))[1:]


def variances(power: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The variance of each H x W field, from the power [N, K] of its rings."""
    return power @ modes(shape)


def damped_power(power: np.ndarray, variance: np.ndarray, scale: float) -> np.ndarray:
    """Mean over fields of power [N, K], a field of ``variance`` v [N] taken with the weight scale / (scale + v), [K].

    Calm fields count by their power, stormy ones by its shape, none without bound. A plain mean over fields of tail
    index nu has an infinite variance for nu <= 4: with 2,000 of them and nu = 3 it would be further from other fields
    of the same law than from Gaussian ones. NaN for no field.
    """
    if not len(power) or not scale > 0:
        return np.full(power.shape[1], NAN)
    return (scale / (scale + variance)) @ power / len(power)


def pairs_by_distance(valid: np.ndarray, seed: int = 0) -> list[Pairs]:
    """Pairs of cells that are 1, 2..3, 4..7, ... cells apart, at most PAIRS per class.

    ``valid`` is bool [H, W]: cells that have values. Every direction is as likely as any other.
    """
    height, width = valid.shape
    rng = np.random.default_rng(seed)
    cells = np.argwhere(valid)
    classes = []
    radius = 1.0
    while len(cells) and radius < max(height, width):
        first = cells[rng.integers(len(cells), size=20 * PAIRS)]
        far = radius * 2 ** rng.random(len(first))
        angle = rng.random(len(first)) * 2 * np.pi if min(height, width) > 1 else np.pi * rng.integers(0, 2, len(first))
        step = np.stack([np.sin(angle), np.cos(angle)], 1) if width > 1 else np.stack([np.cos(angle), np.sin(angle)], 1)
        second = first + np.rint(far[:, None] * step).astype(np.int64)
        apart = np.hypot(*(second - first).T)
        inside = ((second >= 0) & (second < valid.shape)).all(1) & (apart >= radius) & (apart < 2 * radius)
        first, second = first[inside], second[inside]
        ok = valid[second[:, 0], second[:, 1]]
        flat = np.sort(np.stack([np.ravel_multi_index(tuple(c[ok].T), valid.shape) for c in (first, second)], 1), 1)
        _, order = np.unique(flat, axis=0, return_index=True)
        chosen = flat[np.sort(order)[:PAIRS]]
        if len(chosen):
            classes.append((chosen[:, 0], chosen[:, 1]))
        radius *= 2
    return classes


def rank_correlation(values: np.ndarray, pairs: Pairs) -> np.ndarray:
    """Spearman's correlation over fields of each pair of cells: [N, ...] -> [pairs].

    Ranks, because Pearson's has no finite error where the tail index is below 4, and so that units do not matter.
    NaN where fewer than FEWEST_FIELDS fields have both cells, or a cell is constant.
    """
    flat = values.reshape(len(values), int(np.prod(values.shape[1:])))
    cells, place = np.unique(np.concatenate(pairs), return_inverse=True)
    rank = stats.rankdata(flat[:, cells], axis=0, nan_policy="omit")
    a, b = (rank[:, place[: len(pairs[0])]], rank[:, place[len(pairs[0]) :]])
    both = ~np.isnan(a + b)
    count = both.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        a, b = (np.where(both, r - np.where(both, r, 0).sum(0) / count, 0) for r in (a, b))
        result = (a * b).sum(0) / np.sqrt((a * a).sum(0) * (b * b).sum(0))
    return np.where(count >= FEWEST_FIELDS, result, NAN)


def joint_extremes(values: np.ndarray, level: float = 0.95) -> np.ndarray:
    """chi of every two variables: [N, C, cells...] -> [C, C], the share of one's extremes that are extremes of the other.

    An extreme exceeds the cell's own ``level`` quantile; all cells are pooled. 1 for variables that rise together,
    1 - level for independent ones. The share that should exceed is in the denominator, not the one that does: of fields that were cut off
    at one value none does, and they have no joint extremes. NaN from fewer than FEWEST_FIELDS fields.
    Source: Coles, Heffernan and Tawn (1999), Dependence measures for extreme value analyses.
    """
    count, channels = values.shape[:2]
    if count < FEWEST_FIELDS:
        return np.full((channels, channels), NAN)
    flat = values.reshape(count, channels, -1)
    both, both_known = np.zeros((channels, channels)), np.zeros((channels, channels))
    step = max(1, TOGETHER // (count * channels))
    for start in range(0, flat.shape[2], step):
        seen = flat[:, :, start : start + step]
        known = ~np.isnan(seen)
        above = seen > _quantile(seen, known.sum(0), level)
        for sums, which in ((both, above), (both_known, known)):
            rows = which.swapaxes(0, 1).reshape(channels, -1).astype(np.float32)
            sums += rows @ rows.T
    expected = (1 - level) * both_known  # extremes of one where both are known
    return np.divide(both, expected, out=np.full(expected.shape, NAN), where=expected > 0)


def joint_exceedance(values: np.ndarray, pairs: Pairs, level: float = 0.95) -> float:
    """How often a cell exceeds its own ``level`` quantile given that the other of its pair does: [N, ...] -> mean over pairs.

    1 for cells that rise together, 1 - level for independent ones. NaN from fewer than FEWEST_FIELDS fields.
    Source: Coles, Heffernan and Tawn (1999), as for ``joint_extremes``, here by distance.
    """
    if len(values) < FEWEST_FIELDS:
        return NAN
    flat = values.reshape(len(values), -1)
    cells, place = np.unique(np.concatenate(pairs), return_inverse=True)
    seen = flat[:, cells]
    known = ~np.isnan(seen)
    above = seen > _quantile(seen, known.sum(0), level)
    first, second = place[: len(pairs[0])], place[len(pairs[0]) :]
    expected = (1 - level) * (known[:, first] & known[:, second]).sum()
    return float((above[:, first] & above[:, second]).sum() / expected) if expected else NAN


def _quantile(values: np.ndarray, counts: np.ndarray, level: float) -> np.ndarray:
    """``numpy.nanquantile`` along the first axis, many times as fast; counts of known values, NaN where there is none."""
    position = np.maximum(counts - 1, 0) * level
    below = position.astype(np.int64)
    ordered = np.sort(values, axis=0)  # NaN last
    low, high = (
        np.take_along_axis(ordered, np.minimum(i, np.maximum(counts - 1, 0))[None], 0)[0] for i in (below, below + 1)
    )
    return low + (position - below) * (high - low)
