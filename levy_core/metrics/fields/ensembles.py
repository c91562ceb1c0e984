"""Samples of a label as an ensemble forecast of the real fields of that label: CRPS and rank histograms."""

from collections.abc import Iterator

import numpy as np
import xarray as xr
from scores.probability import crps_for_ensemble
from scores.probability import rank_histogram as histogram

from levy_core.base.errors import LevyError
from levy_core.metrics.common.marginal import NAN, ratio

ENTRIES = 4_000_000  # of members x times x cells at a time
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

    An observed field is judged against all samples of its label. The fair form is unbiased in the number of members, so
    that ensembles of different sizes compare. ``crps/VARIABLE``; with a climatology ``crps_skill/VARIABLE``, which is
    1 - CRPS / CRPS of the real training fields of the same label: 0 for samples as good as other real fields of that
    season, which samples that know no more than the season cannot surpass. NaN where a label has fewer than two members.
    Source: Ferro (2014), Fair scores for ensemble forecasts; computed by ``scores.probability.crps_for_ensemble``.
    """
    row = {}
    ensembles = {"crps": (generated, generated_labels)} | ({"climatology": climatology} if climatology else {})
    for c, name in enumerate(names):
        score = {}
        for kind, (fields, labels) in ensembles.items():
            total, count = 0.0, 0
            for seen, members in _cases(observed[:, c], observed_labels, fields[:, c], labels, 2):
                whole = members.notnull().all("member")
                seen, members = seen[:, whole], members[:, whole]
                found = crps_for_ensemble(members, seen, "member", method="fair", preserve_dims="all")
                total, count = total + float(found.sum()), count + int(found.count())
            score[kind] = ratio(total, count)
        row[f"crps/{name}"] = score["crps"]
        if climatology:
            row[f"crps_skill/{name}"] = 1 - ratio(score["crps"], score["climatology"])
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
        for seen, ensemble in _cases(observed[:, c], observed_labels, generated[:, c], generated_labels, members):
            order = np.random.default_rng(0).random((len(seen), len(ensemble))).argsort(1)[:, :members]
            own = np.moveaxis(ensemble.to_numpy()[order], 1, 0)  # [members, time, cell]
            if (whole := seen.notnull().to_numpy() & ~np.isnan(own).any(0)).any():
                ranked = xr.DataArray(own[:, whole], dims=("member", "case"))
                counts[name] += (
                    whole.sum() * histogram(ranked, xr.DataArray(seen.to_numpy()[whole], dims="case"), "member").values
                )
    return counts


def reliability(counts: np.ndarray) -> float:
    """Reliability index of a rank histogram: the sum of the shares' differences from flat, 0 is perfect, below 2; NaN for none.

    Source: Delle Monache et al. (2006), Probabilistic aspects of meteorological and ozone regional ensemble forecasts.
    """
    return float(np.abs(counts / counts.sum() - 1 / len(counts)).sum()) if counts.sum() else NAN


def _cases(
    observed: np.ndarray,
    observed_labels: np.ndarray,
    generated: np.ndarray,
    generated_labels: np.ndarray,
    fewest: int,
) -> Iterator[tuple[xr.DataArray, xr.DataArray]]:
    """(observed (time, cell), members (member, cell)) of one variable by label, in blocks of cells; none where a label has too few members."""
    if observed.shape[1:] != generated.shape[1:]:
        raise LevyError(
            f"observed fields are {observed.shape[1:]}, those of the ensemble {generated.shape[1:]}: the same cells were expected"
        )
    labels = np.unique(observed_labels)
    sizes = [int((generated_labels == label).sum()) for label in labels]
    if min(sizes, default=0) < fewest:
        return
    for label in labels:
        seen, members = observed[observed_labels == label], generated[generated_labels == label]
        seen, members = seen.reshape(len(seen), -1), members.reshape(len(members), -1)
        known = np.flatnonzero(~np.isnan(members).all(0))
        width = max(1, ENTRIES // (len(seen) * len(members)))
        for start in range(0, len(known), width):  # cells and not times, so that the members of a cell are sorted once
            cells = known[start : start + width]
            yield (
                xr.DataArray(seen[:, cells], dims=("time", "cell")),
                xr.DataArray(members[:, cells], dims=("member", "cell")),
            )
