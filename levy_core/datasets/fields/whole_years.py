"""Whether the held-out period has all seasons alike, or those of the training period: else measures compare winters with years."""

import numpy as np
import xarray as xr

from levy_core.datasets.fields.climatology import phases
from levy_core.datasets.fields.labels import SEASONS, seasons_of
from levy_core.datasets.fields.split import say_runs
from levy_core.datasets.fields.timeline import say

UNLIKE = 0.06  # of the held-out fields: how far a season's share may be from a quarter or its share in training, as in two and a half years


def advise_whole_years(train: np.ndarray, test: np.ndarray) -> str:
    """What is wrong with the seasons of the held-out period, and what to write instead, in a line; empty where nothing is.

    Args:
        train, test: times of both periods, ascending, perhaps several times each, with a gap between them, or of years that take turns.
    """
    train, test = np.unique(train), np.unique(test)
    of_train, of_test = _shares(train), _shares(test)
    if min(np.abs(of_test - usual).max() for usual in (of_train, 1 / len(SEASONS))) <= UNLIKE:
        return ""
    text = " and ".join(
        f"{', '.join(f'{100 * share:.0f} % {name}' for name, share in zip(SEASONS, shares, strict=True))} ({what})"
        for shares, what in ((of_test, f"held out, {say_runs(test)}"), (of_train, "training"))
    )
    if test[0] < train[-1]:
        return f"measures compare unlike seasons: {text}; hold out years of which the data have all months"
    until = _find_split(train, test)
    advice = (
        "bring more years, so that whole ones can be held out beside at least one of training"
        if until is None
        else f'write `train_until: "{say(until)}"`, so that whole years are held out'
    )
    return f"measures compare unlike seasons: {text}; {advice}"


def _shares(times: np.ndarray) -> np.ndarray:
    own = seasons_of(times)
    return np.array([(own == season).mean() for season in SEASONS])


def _find_split(train: np.ndarray, test: np.ndarray) -> object | None:
    """The last training time that leaves about as many whole years to be held out as there are, with a gap as long as there is; None where less
    than a year of training is left."""
    times = np.concatenate([train, test])
    year = xr.DataArray(times, dims="time").dt.year.to_numpy() + phases(times)[0]
    step = float(np.median(np.diff(year)))
    held_out = max(1, round(len(test) * step))
    first = year[-1] + step - held_out  # of the year that is held out
    before = int(np.searchsorted(year, first - (year[len(train)] - year[len(train) - 1]) + step / 2)) - 1
    return None if before < 0 or year[before] + 2 * step - year[0] < 1 else times[before]
