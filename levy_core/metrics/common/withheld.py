"""Samples given observations, judged on values that were withheld from them.

A case (a day, an image) has an ensemble and the truth of what was withheld. Values of a case depend on each other, so all scores
are kept by case, and what is said of them rests on the spread between cases.
"""

from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy import stats
from scores.probability import crps_for_ensemble
from scores.probability import rank_histogram as histogram

from levy_core.base.errors import LevyError
from levy_core.metrics.common.marginal import NAN, ratio
from levy_core.metrics.common.paired import interval

ROUNDING = 1e-10  # of shares of ranks
WINDOW = 11  # pixels of the windows of SSIM


@dataclass(frozen=True, eq=False)
class Withheld:
    """Scores of T cases, NaN where they are not defined.

    Attributes:
        crps: continuous ranked probability score, mean over the values of each case, [T]; 0 is perfect.
        square_error: of the ensemble's mean, [T]. variance: what it would be of a reliable ensemble, [T].
        ranks: how often a value had each rank among the members, shares of each case, [T, M + 1].
    """

    crps: np.ndarray
    square_error: np.ndarray
    variance: np.ndarray
    ranks: np.ndarray

    def __len__(self) -> int:
        return len(self.crps)

    def take(self, cases: np.ndarray) -> "Withheld":
        """Some cases, by number or by bool [T]."""
        return Withheld(self.crps[cases], self.square_error[cases], self.variance[cases], self.ranks[cases])

    @property
    def spread_error(self) -> float:
        """Root mean variance over root mean square error: 1 for a reliable ensemble, below 1 for one too narrow.

        Source: Fortin et al. (2014), Why should ensemble spread match the RMSE of the ensemble mean?
        """
        return ratio(float(self.variance.mean()) ** 0.5, float(self.square_error.mean()) ** 0.5)


def judge(members: np.ndarray, truth: np.ndarray) -> Withheld:
    """Scores of ensembles [T, M, ...] of T cases against withheld values [T, ...], NaN where nothing was withheld.

    CRPS is in its fair form, unbiased in the number of members; of one member it is the absolute error, and there is no variance.
    The variance is that of the members times 1 + 1 / M, the error that the mean of M members has.

    Raises:
        LevyError: shapes that do not match, no members, a case without values, or members that are not finite where a value was withheld.
    """
    if members.ndim < 3 or not members.size or members.shape[:1] + members.shape[2:] != truth.shape:
        raise LevyError(
            f"members are {list(members.shape)}, withheld values {list(truth.shape)}: [cases, members, values] and "
            "[cases, values] are expected"
        )
    cases, count = members.shape[:2]
    members, truth = members.reshape(cases, count, -1).astype(np.float64), truth.reshape(cases, -1).astype(np.float64)
    members = np.where(np.isnan(truth)[:, None], 0.0, members)  # where nothing is asked they may be missing
    if not np.isfinite(members).all():
        raise LevyError(f"{int((~np.isfinite(members)).sum())} of {members.size} values of the members are not finite")
    if (empty := np.isnan(truth).all(1)).any():
        raise LevyError(f"case {int(np.argmax(empty))} has no withheld value")
    ensemble = xr.DataArray(members, dims=("case", "member", "value"))
    known = xr.DataArray(truth, dims=("case", "value"))
    method = "fair" if count > 1 else "ecdf"
    crps = crps_for_ensemble(ensemble, known, "member", method=method, preserve_dims="case")
    variance = np.full(truth.shape, NAN) if count == 1 else (1 + 1 / count) * members.var(1, ddof=1)
    return Withheld(
        crps.to_numpy(),
        np.nanmean((members.mean(1) - truth) ** 2, 1),
        np.nanmean(np.where(np.isnan(truth), NAN, variance), 1) if count > 1 else np.full(cases, NAN),
        histogram(ensemble, known, "member", preserve_dims="case").transpose("case", "rank").to_numpy(),
    )


@dataclass(frozen=True)
class Skill:
    """What a way gains on a rival over the same cases.

    Attributes:
        skill: 1 - CRPS / the rival's CRPS; 0: as good, 1: perfect. error: its standard error, from the cases in pairs.
        low, high: the 95 % interval of the skill by Student's t.
    """

    skill: float
    error: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """``ahead`` or ``behind`` beyond noise, or ``not decidable``."""
        return "ahead" if self.low > 0 else "behind" if self.high < 0 else "not decidable"

    def __str__(self) -> str:
        return f"{self.skill:+.3f} ± {self.error:.3f} ({self.verdict})"


def skill(scores: Withheld, rival: Withheld) -> Skill:
    """Of a way against a rival by their CRPS, as ``skill_of``."""
    return skill_of(scores.crps, rival.crps)


def skill_of(own: np.ndarray, rival: np.ndarray) -> Skill:
    """Of a way's CRPS [T] against a rival's [T], paired by case; cases are taken to be independent.

    The error is that of a ratio of two means by the delta method (Cochran, 1977, Sampling Techniques, chapter 6): 0 for a way that is
    better by the same share in every case.

    Raises:
        LevyError: other cases, or fewer than two.
    """
    if len(own) != len(rival) or len(own) < 2:
        raise LevyError(
            f"{len(own)} cases are compared with {len(rival)} of a rival: the same two or more are expected"
        )
    left = own.mean() / rival.mean()
    gains = (left * rival - own) / rival.mean()
    mean, low, high = interval(1 - left + gains)
    return Skill(mean, float(gains.std(ddof=1)) / len(gains) ** 0.5, low, high)


@dataclass(frozen=True)
class Flatness:
    """Whether a rank histogram is flat.

    Attributes:
        bias: mean rank, -1 where all values lie below all members, 1 above, 0 expected.
        width: mean square of the rank against that of a flat histogram, as a ratio: above 1 for an ensemble too narrow (a U).
        p: probability of a slope and a U as large, or larger, from a reliable ensemble; 0 where all cases have the same one.
    """

    bias: float
    width: float
    p: float


def flatness(ranks: np.ndarray) -> Flatness:
    """Tests the slope and the U of a rank histogram of independent cases, shares [T, M + 1].

    They are the first two parts of the chi-square statistic (Jolliffe and Primo, 2008, Evaluating rank histograms using decompositions of
    the chi-square test statistic). Values of a case depend on each other, so their covariance is taken between cases: Hotelling's
    T^2, whose p is exact for two Gaussian contrasts and near it for the means of many values. A slope or a U that is the same in all cases is
    not explained by noise between them: p is 0. Single values with few members share ranks by chance, so cases need several values.

    Raises:
        LevyError: fewer than four cases.
    """
    cases, count = ranks.shape
    if cases < 4:
        raise LevyError(f"{cases} cases cannot tell whether ranks are flat: give four or more")
    place = np.linspace(-1, 1, count)
    flat = float((place**2).mean())
    contrasts = ranks @ np.stack([place, place**2 - flat], 1)
    mean = contrasts.mean(0)
    _, sizes, directions = np.linalg.svd(contrasts - mean, full_matrices=False)
    errors, found = sizes / (cases * (cases - 1)) ** 0.5, directions @ mean
    varies = errors > ROUNDING * flat
    own = int(varies.sum())
    if (np.abs(found[~varies]) > ROUNDING * flat).any():
        p = 0.0
    elif own == 0:
        p = 1.0
    else:
        square = float(((found[varies] / errors[varies]) ** 2).sum())
        p = float(stats.f.sf(square * (cases - own) / (own * (cases - 1)), own, cases - own))
    return Flatness(float(mean[0]), 1 + float(mean[1]) / flat, p)


def misfit(seen: np.ndarray, values: np.ndarray, std: np.ndarray) -> tuple[float, float]:
    """(root mean square of ``(H x - o) / std`` where std > 0, largest |H x - o| where it is 0); NaN where there are none.

    The first is 1 for exact posteriors, whose samples are to the observation as the truth is; the second 0.

    Args:
        seen: H x of members, [T, M, rows]. values: o, [T, rows]. std: of their errors, [rows].
    """
    residual = seen - values[:, None]
    weighed = residual[..., std > 0] / std[std > 0]
    missed = np.abs(residual[..., std == 0])
    return (
        float((weighed**2).mean()) ** 0.5 if weighed.size else NAN,
        float(missed.max()) if missed.size else NAN,
    )


def psnr(images: np.ndarray, truth: np.ndarray, reach: float) -> np.ndarray:
    """Peak signal-to-noise ratio in dB of images [T, ...] against the truth [T, ...], [T]; values span ``reach``.

    It rewards the mean of a posterior above each of its samples: it judges estimates and no ensembles.
    """
    error = ((images - truth) ** 2).reshape(len(truth), -1).mean(1)
    with np.errstate(divide="ignore"):
        return 10 * np.log10(reach**2 / error)


def ssim(images: np.ndarray, truth: np.ndarray, reach: float, where: np.ndarray | None = None) -> np.ndarray:
    """Structural similarity of images [T, C, H, W] to the truth [T, C, H, W], [T]: 1 where they are the same; values span ``reach``.

    Windows are Gaussian, of width 1.5 and 11 x 11 pixels, and reach over the edge by reflection; NaN for smaller images. As ``psnr`` it judges
    estimates and no ensembles. Source: Wang et al. (2004), Image quality assessment: from error visibility to structural similarity.

    Args:
        where: bool [T, C, H, W], the pixels over whose windows the mean is taken; None: all.
    """
    from skimage.metrics import structural_similarity

    if min(truth.shape[-2:]) < WINDOW:
        return np.full(len(truth), NAN)
    maps = [
        structural_similarity(
            image, true, data_range=reach, channel_axis=0, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True
        )[1]
        for image, true in zip(images.astype(np.float64), truth.astype(np.float64), strict=True)
    ]  # fmt: skip
    chosen = np.ones(truth.shape, dtype=bool) if where is None else where
    return np.array([own[here].mean() for own, here in zip(maps, chosen, strict=True)])


def most_extreme(sizes: np.ndarray, share: float, apart: int = 1, runs: np.ndarray | None = None) -> np.ndarray:
    """The largest of sizes [T] in order of time, ``share`` of them, less those within ``apart`` of a larger one of the same run; ascending rows.

    ``runs`` [T]: which run of neighbouring times each belongs to; None: one run.
    """
    runs = np.zeros(len(sizes)) if runs is None else runs
    rows = np.argsort(-sizes, kind="stable")[: max(1, round(share * len(sizes)))]
    kept: list[int] = []
    for row in rows:
        if all(abs(int(row) - other) >= apart or runs[row] != runs[other] for other in kept):
            kept.append(int(row))
    return np.array(sorted(kept))
