"""Generated weather fields against real ones: values, tails, scales and dependence as flat names."""

from itertools import combinations

import numpy as np

from levy_core.metrics.common import extremes, marginal
from levy_core.metrics.common.intervals import PERIODS
from levy_core.metrics.common.marginal import NAN, log_ratio, mean_square, ratio
from levy_core.metrics.fields import spatial
from levy_core.metrics.fields.cell_means import cell_bias
from levy_core.metrics.fields.distances import Distances
from levy_core.metrics.fields.reference import FieldsMeasures, FieldsReference, distance
from levy_core.metrics.fields.summary import Fields, Summary, summarise

__all__ = ["FieldsMeasures", "FieldsReference", "distance", "measure_fields", "measure_summary", "quantile_pairs"]

FEWEST_OF_CLASS = 20  # samples and real fields that a class is judged by


def measure_fields(generated: Fields, labels: np.ndarray, references: dict[str, FieldsReference]) -> dict[str, float]:
    """All measures of one set of samples as flat names ``MEASURE/REFERENCE/VARIABLE``.

    Args:
        generated: float64 [N, C, H, W] in the units of the real fields, nothing clamped, read once, a part at a time. labels: int64 [N].
        references: real fields by name, for instance those of the held-out period and of the training period.

    A variable that can be wet has ``wet_ratio`` and ``wet_mean_ratio``. A variable has ``ks``, ``skew_ratio``, ``kurtosis_ratio``, ``tail_error``, ``q999``, ``q999_ratio``, ``mean95_ratio``,
    ``hill``, ``hill_ratio``, ``gpd``, ``return_error``, ``exceed99_ratio``, ``exceed999_ratio``, ``spectrum_error``, ``correlation_error``,
    ``joint_error``, ``cell_bias`` and ``cell_bias_share``; two
    variables ``chi_error/REFERENCE/a-b``; all together ``distance/REFERENCE``, and where there are several labels
    ``class_distance/REFERENCE/LABEL``. docs/weather-measures.md defines each. Ratios are generated over real. NaN where
    samples are too few. Class shares of the samples should be those of the real fields: values are pooled.

    Raises:
        LevyError: the samples are of another shape than the real fields.
    """
    summaries = summarise(generated, {name: real.frame for name, real in references.items()}, labels)
    row: dict[str, float] = {"samples": float(len(generated))}
    for name, real in references.items():
        row |= measure_summary(summaries[name], labels, name, real)
    return row


def measure_summary(
    generated: Summary, labels: np.ndarray, name: str, real: FieldsReference, pooled: np.ndarray | None = None
) -> dict[str, float]:
    """``measure_fields`` of fields that were summarised in the frame of a reference of this name, or in one that differs in the cells that
    are ``pooled``, flat int64 [K]."""
    pooled = real.frame.pooled if pooled is None else pooled
    row, distances = dict[str, float](), list[float]()
    for c, variable in enumerate(real.names):
        its = real.distances_of(generated, c)
        distances.append(its.distance)
        found = _of_values(its, real, c) | _of_fields(generated, real, c) | _of_cells(generated, real, c, pooled)
        row |= {f"{measure}/{name}/{variable}": value for measure, value in found.items()}
    row[f"distance/{name}"] = float(np.mean(distances))
    chi = np.abs(spatial.joint_extremes(generated.values) - real.chi)
    for a, b in combinations(range(len(real.names)), 2):
        row[f"chi_error/{name}/{real.names[a]}-{real.names[b]}"] = float(chi[a, b])
    if len(real.classes) > 1:
        for label, its_reference in real.classes.items():
            rows = np.flatnonzero(labels == label)
            few = min(len(rows), len(its_reference.summary)) < FEWEST_OF_CLASS
            row[f"class_distance/{name}/{label}"] = NAN if few else its_reference.distance(generated.rows(rows))
    return row


def _of_values(distances: Distances, real: FieldsReference, c: int) -> dict[str, float]:
    """Measures of the pooled values."""
    reference_tail, share = real.variables[c], real.config.tail_share
    skewness, kurtosis = marginal.moments(distances.ordered)
    index = extremes.hill(distances.tail, share)
    row = {
        "ks": distances.ks,
        "skew_ratio": ratio(skewness, reference_tail.moments[0]),
        "kurtosis_ratio": ratio(kurtosis, reference_tail.moments[1]),
        "tail_error": distances.tail_error,
        "q999": marginal.quantile(distances.ordered, 0.999)
        if marginal.is_measured(len(distances.ordered), 0.999)
        else NAN,
        "q999_ratio": ratio(distances.tail.quantile(0.999), reference_tail.tail.quantile(0.999)),
        "hill": index,
        "hill_ratio": ratio(index, extremes.hill(reference_tail.tail, share)),
        "gpd": extremes.pareto_shape(distances.tail, share),
    }
    if real.has_spectrum:
        row["spectrum_error"] = NAN if distances.beside is None else distances.beside
    for name, (threshold, rate) in reference_tail.high.items():
        enough = len(distances.ordered) * rate >= marginal.BEYOND
        row[f"exceed{name}_ratio"] = ratio(marginal.share_above(distances.ordered, threshold), rate) if enough else NAN
    if (wet := real.wet.get(real.names[c])) is not None:
        (share, mean), (real_share, real_mean) = (
            wet_days(values, wet) for values in (distances.ordered, real.summary.ordered(c))
        )
        row |= {"wet_ratio": ratio(share, real_share), "wet_mean_ratio": ratio(mean, real_mean)}
    return row


def wet_days(ordered: np.ndarray, wet: float) -> tuple[float, float]:
    """Share of ascending values that are at least ``wet``, and their mean, NaN without any.

    Per cell and day of rain at 1 mm day-1: the frequency of wet days, and the simple daily intensity index SDII of ETCCDI (Zhang et al. 2011,
    Indices for monitoring changes in extremes based on daily temperature and precipitation data).
    """
    first = int(np.searchsorted(ordered, wet))
    wet_values = ordered[first:]
    share = len(wet_values) / len(ordered) if len(ordered) else NAN
    return share, float(wet_values.mean()) if len(wet_values) else NAN


def _of_fields(generated: Summary, real: FieldsReference, c: int) -> dict[str, float]:
    """Measures of the fields of variable ``c`` as fields."""
    centre, (middle, means) = real.variables[c].centre, real.means[c]
    away = marginal.Tail.of(np.abs(generated.known_means(c) - middle))
    levels = extremes.return_levels(generated.maxima[:, c], PERIODS) - centre
    joint = np.array([spatial.joint_exceedance(generated.beside[c], p) for p in real.frame.pairs[c]])
    apart = _known(joint - real.joint[c])
    return {
        "joint_error": float(np.sqrt(mean_square(apart))),
        "mean95_ratio": ratio(away.quantile(0.95), means.quantile(0.95)),
        "return_error": float(np.sqrt(mean_square(log_ratio(levels, real.return_levels[c] - centre)))),
        "correlation_error": real.correlation_error(generated, c),
    }


def _of_cells(generated: Summary, real: FieldsReference, c: int, pooled: np.ndarray) -> dict[str, float]:
    """Measures of variable ``c`` in single cells, those that are pooled on both sides."""
    here, there = np.isin(pooled, real.frame.pooled), np.isin(real.frame.pooled, pooled)
    bias, share = cell_bias(generated.values[:, c, here], real.summary.values[:, c, there])
    return {"cell_bias": bias, "cell_bias_share": share}


def _known(values: np.ndarray) -> np.ndarray:
    return values[~np.isnan(values)]


def quantile_pairs(generated: np.ndarray, real: np.ndarray, points: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of real and generated values at the same levels, for a plot of one against the other: ([K], [K]).

    Args:
        generated, real: any shapes, one variable; NaN are left out.
        points: levels at most. They lie evenly on a logistic scale, so that both tails are seen, out to the last level
            that the smaller side can measure (about 1 / its size from the ends).
    """
    sides = [_known(values) for values in (real, generated)]
    fewest = min(map(len, sides))
    if not fewest:
        return np.empty(0), np.empty(0)
    edge = np.log(2 * fewest)
    levels = 1 / (1 + np.exp(-np.linspace(-edge, edge, min(points, fewest))))
    first, second = (np.quantile(side, levels) for side in sides)
    return first, second
