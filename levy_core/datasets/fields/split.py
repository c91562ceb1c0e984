"""Which times are held out: the last ones, or whole years spread over the record; and where neighbouring times end."""

import numpy as np
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.config import TEST_SHARE, FieldsConfig, duration
from levy_core.datasets.fields.timeline import index, say, seconds_between

FEWEST = 2  # fields of a period: a spread needs two; years of training: one alone is not what years are like
APART = 1.5  # usual steps: times that are further from each other are no neighbours
NAMED = 4  # runs of times for people, at most


def split(times: np.ndarray, config: FieldsConfig) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the training and of the held-out times, ascending int64, with ``config.gap`` left out between them on either side.

    After ``train_until`` the gap is taken from what is held out, else from training.

    Raises:
        LevyError: fewer than ``FEWEST`` fields in either, ``test_years`` that the data do not have, or that leave fewer than ``FEWEST`` for training.
    """
    n, rows = len(times), np.arange(len(times))
    gap = duration(config.gap, "`gap`", zero=True).total_seconds()
    if config.train_until is not None:
        how = f"train_until {config.train_until}"
        train = rows < _find_end(times, config.train_until)
        test = _far(times, train, gap)
    elif config.test_years is not None:
        how = f"test_years {', '.join(map(str, config.test_years))}"
        test = _within_years(times, config.test_years)
        train = _far(times, test, gap)
    else:
        share = TEST_SHARE if config.test_share is None else config.test_share
        how = f"test_share {share:g}"
        test = rows >= n - int(np.ceil(n * share))
        train = _far(times, test, gap)
    if min(train.sum(), test.sum()) < FEWEST:
        raise LevyError(
            f"the {n} fields from {say(times[0])} to {say(times[-1])} give {train.sum()} for training and {test.sum()} for the test ({how}, "
            f"gap {config.gap}): at least {FEWEST} of each are needed, so bring a longer period or change the split"
        )
    return np.flatnonzero(train), np.flatnonzero(test)


def _find_end(times: np.ndarray, until: str) -> int:
    try:
        return int(index(times).slice_indexer(None, until).stop)
    except (ValueError, TypeError, KeyError) as error:
        raise LevyError(
            f"train_until is {until!r}: a time of the data's calendar such as {say(times[len(times) // 2])} is expected ({error})"
        ) from error


def _within_years(times: np.ndarray, wanted: tuple[int, ...]) -> np.ndarray:
    own = xr.DataArray(times, dims="time").dt.year.to_numpy()
    years = np.unique(own)
    record = f"{years[0]} to {years[-1]}" if len(years) > 1 else f"{years[0]} alone"
    if absent := sorted({*wanted} - {*years.tolist()}):
        raise LevyError(
            f"test_years has {', '.join(map(str, absent))}, but the data are of {record}: hold out years of these"
        )
    if (left := len(years) - len(wanted)) < FEWEST:
        raise LevyError(
            f"test_years holds out {len(wanted)} of {len(years)} years ({record}), which leaves {left} for training: at least {FEWEST} are "
            "needed, so hold out fewer or bring more"
        )
    return np.isin(own, wanted)


def _far(times: np.ndarray, some: np.ndarray, gap: float) -> np.ndarray:
    """Which times are more than ``gap`` seconds from each of some, bool [N]."""
    elapsed = np.append(0.0, seconds_between(times).cumsum())
    ends = np.concatenate([[-np.inf], elapsed[some], [np.inf]])
    after = np.searchsorted(ends, elapsed)
    return np.minimum(elapsed - ends[after - 1], ends[after] - elapsed) > gap


def find_runs(times: np.ndarray) -> np.ndarray:
    """Which run of neighbouring times each belongs to, int64 [N] from 0 on; times ascend, perhaps each several times."""
    steps = seconds_between(times)
    usual = np.median(steps[steps > 0]) if (steps > 0).any() else 0.0
    return np.append(0, (steps > APART * usual).cumsum())


def say_runs(times: np.ndarray) -> str:
    """From when to when times are, for people; of many runs how many they are."""
    runs = find_runs(times)
    ends = [(say(run[0]), say(run[-1])) for run in np.split(times, np.flatnonzero(np.diff(runs)) + 1)]
    if len(ends) > NAMED:
        return f"{len(ends)} periods from {ends[0][0]} to {ends[-1][1]}"
    return ", ".join(f"{first} to {last}" for first, last in ends)
