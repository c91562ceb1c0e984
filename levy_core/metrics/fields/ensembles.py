"""Samples of a label as an ensemble forecast of the real fields of that label: CRPS and rank histograms."""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from scores.probability import rank_histogram as histogram

from levy_core.base.errors import LevyError
from levy_core.metrics.common.marginal import NAN, ratio

ENTRIES = 4_000_000  # of a block of cells
FEWEST = 2  # members of a fair score
MEMBERS = 19  # of a rank histogram: 20 ranks

Ensemble = tuple[np.ndarray, np.ndarray]  # values of cells [N, C, ...], labels int64 [N]


def crps(
    observed: np.ndarray,
    observed_labels: np.ndarray,
    generated: np.ndarray,
    generated_labels: np.ndarray,
    names: tuple[str, ...],
    climatology: Ensemble | None = None,
) -> dict[str, float]:
    """Continuous ranked probability score of each variable, in its units: mean over times and cells, 0 is perfect.

    Args:
        observed: float64 [T, C, ...], NaN where missing. generated: [N, C, ...] of the same cells. labels: int64 [T] and [N].
        climatology: real training fields and their labels.

    An observed value is judged against all samples of its label that have one at its cell, at least FEWEST. The fair form is unbiased
    in the number of members, so that ensembles of different sizes, and cells with more and fewer of them, compare.
    ``crps/VARIABLE``; with a climatology ``crps_skill/VARIABLE``, which is 1 - CRPS / CRPS of the real training fields of the
    same label, over the values that both can judge: 0 for samples as good as other real fields of that season, which samples
    that know no more than the season cannot surpass. NaN where a label has fewer than FEWEST members.
    Source: Ferro (2014), Fair scores for ensemble forecasts.
    """
    row = {}
    for c, name in enumerate(names):
        score = _fair_crps(observed[:, c], observed_labels, generated[:, c], generated_labels)
        row[f"crps/{name}"] = ratio(float(np.nansum(score)), int((~np.isnan(score)).sum()))
        if climatology:
            usual = _fair_crps(observed[:, c], observed_labels, climatology[0][:, c], climatology[1])
            both = ~np.isnan(score + usual)
            row[f"crps_skill/{name}"] = 1 - ratio(float(score[both].sum()), float(usual[both].sum()))
    return row


def rank_histogram(
    observed: np.ndarray,
    observed_labels: np.ndarray,
    generated: np.ndarray,
    generated_labels: np.ndarray,
    names: tuple[str, ...],
    members: int = MEMBERS,
) -> dict[str, np.ndarray]:
    """How often an observed value had each rank among ``members`` samples of its label, float64 [members + 1].

    By variable, cells and times pooled; each time is ranked among samples drawn for it alone, whatever their order, as they may be sorted by
    the day of the year that gives them their climatology. Equal values share their ranks. Flat for a reliable ensemble, a U for one too
    narrow, a slope for one that is biased. No counts where a label has too few samples, nor where a value or one of its members is missing. Arguments as for ``crps``.
    Source: Hamill (2001), Interpretation of rank histograms; computed by ``scores.probability.rank_histogram``.
    """
    counts = {}
    for c, name in enumerate(names):
        counts[name] = np.zeros(members + 1)
        for _, seen, ensemble in _cases(observed[:, c], observed_labels, generated[:, c], generated_labels, members):
            order = np.random.default_rng(0).random((len(seen), len(ensemble))).argsort(1)[:, :members]
            own = np.moveaxis(ensemble[order], 1, 0)  # [members, time, cell]
            if (whole := ~np.isnan(seen) & ~np.isnan(own).any(0)).any():
                ranked = xr.DataArray(own[:, whole], dims=("member", "case"))
                found = histogram(ranked, xr.DataArray(seen[whole], dims="case"), "member")
                counts[name] += whole.sum() * found.values
    return counts


def reliability(counts: np.ndarray) -> float:
    """Reliability index of a rank histogram: the sum of the shares' differences from flat, 0 is perfect, below 2; NaN for none.

    Source: Delle Monache et al. (2006), Probabilistic aspects of meteorological and ozone regional ensemble forecasts.
    """
    return float(np.abs(counts / counts.sum() - 1 / len(counts)).sum()) if counts.sum() else NAN


def _fair_crps(
    observed: np.ndarray, observed_labels: np.ndarray, generated: np.ndarray, generated_labels: np.ndarray
) -> np.ndarray:
    """Of each value of one variable, float64 [T, ...]; NaN where it is missing or has fewer than FEWEST members.

    The members of a cell are sorted once, x_1 to x_n with sums S_k of the first k. Of a value y that is above k of them
    sum |x_i - y| = (2k - n) y + S_n - 2 S_k, and half the sum of all |x_i - x_j| is that of (2i - n - 1) x_i (Hersbach 2000):
    (N + T) log N per cell, where |x_i - y| for all pairs would be N T.
    """
    found = np.full((len(observed), observed[0].size), np.nan)
    for where, seen, members in _cases(observed, observed_labels, generated, generated_labels, FEWEST):
        ordered = np.sort(members.T, axis=1)  # [cell, member], missing ones last
        low, n = ordered[:, :1].copy(), np.count_nonzero(~np.isnan(ordered), axis=1, keepdims=True)
        seen, ordered = seen.T - low, ordered - low  # sums of what cells differ by, so that nothing cancels
        below = np.stack([np.searchsorted(*cell) for cell in zip(ordered, seen, strict=True)])
        known = np.where(np.isnan(ordered), 0, ordered)
        sums = np.pad(known.cumsum(1), ((0, 0), (1, 0)))
        away = (2 * below - n) * seen + sums[:, -1:] - 2 * np.take_along_axis(sums, below, 1)
        apart = ((2 * np.arange(known.shape[1]) - n + 1) * known).sum(1, keepdims=True)
        n = np.where(n < FEWEST, np.nan, n)
        found[where] = (away / n - apart / (n * (n - 1))).T
    return found.reshape(observed.shape)


def _cases(
    observed: np.ndarray,
    observed_labels: np.ndarray,
    generated: np.ndarray,
    generated_labels: np.ndarray,
    fewest: int,
) -> Iterator[tuple[tuple[np.ndarray, ...], np.ndarray, np.ndarray]]:
    """(where in [T, all cells], observed [time, cell], members [member, cell]) of one variable by label, in blocks of cells that some member has;
    none where a label has too few members."""
    if observed.shape[1:] != generated.shape[1:]:
        raise LevyError(
            f"observed fields are {observed.shape[1:]}, those of the ensemble {generated.shape[1:]}: the same cells were expected"
        )
    labels = np.unique(observed_labels)
    sizes = [int((generated_labels == label).sum()) for label in labels]
    if min(sizes, default=0) < fewest:
        return
    for label in labels:
        times = np.flatnonzero(observed_labels == label)
        seen, members = observed[times].reshape(len(times), -1), generated[generated_labels == label]
        members = members.reshape(len(members), -1)
        known = np.flatnonzero(~np.isnan(members).all(0))
        width = max(1, ENTRIES // (len(members) + fewest * len(seen)))
        for start in range(0, len(known), width):  # cells and not times, so that the members of a cell are sorted once
            cells = known[start : start + width]
            yield np.ix_(times, cells), seen[:, cells], members[:, cells]
