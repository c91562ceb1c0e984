"""Whether the newest values of series are higher or lower than is usual in their season, beyond persistence and chance."""

from dataclasses import dataclass

import numpy as np

SEASON = 1 / 12  # of a year, to either side: what counts as the same season
TAIL = 3.0  # index of the power law by which values beyond all known ones are judged; lighter tails alarm less
LEAST_YEARS = 3  # of reference, each scored by the others
SHORT = 4  # periods of a stretch of which there are enough to estimate a spread
ROUNDING = 1e-9  # of the largest value: differences that are none


@dataclass(frozen=True, eq=False)
class Periods:
    """Means of series over consecutive periods of equal length.

    Attributes:
        values: float64 [N, S], of S series. terms: [N, T], of the smooth cycle of the year, with a constant.
        phases: [N], in years, modulo 1. years: int [N], the calendar years.
    """

    values: np.ndarray
    terms: np.ndarray
    phases: np.ndarray
    years: np.ndarray

    def take(self, rows: np.ndarray | slice) -> "Periods":
        return Periods(self.values[rows], self.terms[rows], self.phases[rows], self.years[rows])


@dataclass(frozen=True)
class LevelShift:
    """A series whose newest values are too high or too low.

    Attributes:
        series: its number. periods: how many, up to the newest, are too high or low on average.
        now: their mean. expected: the mean of the cycle. shift: in standard deviations of single periods.
        p: the probability of a shift as large without any change.
    """

    series: int
    periods: int
    now: float
    expected: float
    shift: float
    p: float


def find_level_shifts(
    reference: Periods, newest: Periods, fresh: int, most: int, shift: float, false_alarms: float
) -> list[LevelShift]:
    """The series whose newest values are ``shift`` higher or lower than the reference, and that beyond chance.

    A value becomes a normal score by its rank among the reference's values of the same season, less the cycle. The mean of the scores is
    held against the means of equally many consecutive scores of the reference, where each year was scored by the others, so that the
    persistence of weather and the error of few years are in their spread (Student's t). Two stretches are judged, all ``newest`` and the
    last ``fresh``: a small change shows in the first, a large one in the second. Bonferroni's bound over stretches and series keeps the
    probability to find any without a change below ``false_alarms``.

    Args:
        reference: consecutive periods, ``LEAST_YEARS`` or longer, so that no season is in one calendar year alone. newest: later ones, at least one.
        fresh: how many of the newest have not been judged before. most: consecutive scores of the reference whose mean is taken.
    """
    years = np.unique(reference.years)
    known = np.empty_like(reference.values)
    for year in years:
        within = reference.years == year
        known[within] = score(reference.take(~within), reference.take(within))
    scores = score(reference, newest)
    usual = newest.terms @ _fit(reference)
    found: dict[int, LevelShift] = {}
    stretches = sorted({fresh, len(scores)})
    for length in stretches:
        last = slice(len(scores) - length, None)
        mean, p = scores[last].mean(0), _p_value(known, scores[last], min(length, most))
        now, expected = newest.values[last].mean(0), usual[last].mean(0)
        far = (np.abs(mean) >= shift) & (p < false_alarms / len(stretches) / len(p))
        for i in map(int, np.flatnonzero(far)):
            if i not in found or p[i] < found[i].p:
                found[i] = LevelShift(i, length, float(now[i]), float(expected[i]), float(mean[i]), float(p[i]))
    return [found[i] for i in sorted(found)]


def score(reference: Periods, judged: Periods) -> np.ndarray:
    """Normal scores [N, S] of the judged values by their ranks in the reference's values of the same season.

    Beyond all of m values the probability is that of a power law of index ``TAIL``, (m + 1)^-1 k^-TAIL at k times the largest one's
    distance from the cycle, so that a change of units shows in one period and heavy tails do not.
    """
    from scipy.special import ndtri

    cycle = _fit(reference)
    known, values = reference.values - reference.terms @ cycle, judged.values - judged.terms @ cycle
    tick = np.maximum(ROUNDING * np.abs(reference.values).max(0), np.finfo(float).tiny)
    known, values = np.rint(known / tick), np.rint(values / tick)
    apart = np.abs(judged.phases[:, None] - reference.phases)
    near = np.minimum(apart, 1 - apart) <= SEASON  # [N, M]
    count = near.sum(1)
    rows = np.argsort(~near, axis=1, kind="stable")[:, : count.max()]  # those of the season, then some that are masked
    within, among = np.take_along_axis(near, rows, 1), known.T[:, rows]  # [N, K], [S, N, K]
    values = values.T
    above = ((among > values[:, :, None]) & within).sum(2)
    equal = ((among == values[:, :, None]) & within).sum(2)
    upper = (above + 0.5 * equal + 0.5) / (count + 1)  # the probability of a larger value
    highest, lowest = np.where(within, among, -np.inf).max(2), np.where(within, among, np.inf).min(2)
    high, low = _beyond(values, highest) / (count + 1), _beyond(-values, -lowest) / (count + 1)
    return np.where(values > highest, -ndtri(high), np.where(values < lowest, ndtri(low), -ndtri(upper))).T


def _beyond(distance: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """k^-TAIL, 1 where no value is off the cycle."""
    ratio = np.divide(distance, largest, out=np.ones_like(distance), where=largest > 0)
    return np.maximum(ratio, 1.0) ** -TAIL


def _fit(reference: Periods) -> np.ndarray:
    return np.linalg.lstsq(reference.terms, reference.values, rcond=None)[0]


def _p_value(known: np.ndarray, scores: np.ndarray, length: int) -> np.ndarray:
    """Two-sided, [S], of the mean of scores [n, S] among those of ``length`` <= n consecutive known ones."""
    from scipy.stats import t

    short = min(length, SHORT)
    sums = np.cumsum(np.vstack([np.zeros(known.shape[1]), known]), 0)
    means = {width: (sums[width:] - sums[:-width]) / width for width in (short, length)}
    # Times the root of the width: what persistence makes of the standard deviation 1 of a score. Long stretches see more of it, short
    # ones are many; scores of weather do not alternate, so that less than 1 is a lucky estimate, or constant values.
    spread = np.max([np.sqrt(width) * found.std(0) for width, found in means.items()] + [np.ones(known.shape[1])], 0)
    error = spread * np.sqrt(1 / len(scores) + 1 / len(known))
    return 2 * t.sf(np.abs(scores.mean(0) - known.mean(0)) / error, len(known) / short - 1)
