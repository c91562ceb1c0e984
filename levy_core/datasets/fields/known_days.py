"""Days of the year that a training period has fields of: a model knows nothing of the others."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.labels import days_of_year
from levy_core.datasets.fields.timeline import say

LONGEST_GAP = 45  # days without a field that still count as known: monthly fields leave 31
NEAR = 15  # days before and after those that are known, for which a model still answers: the rest of a month is often held out


def find_known_days(times: np.ndarray) -> tuple[str, ...] | None:
    """The days of the year, ``month-day``, of some times [N], datetime64 or cftime, and of short gaps between them; None for all of them.

    29 February is the 28th, and December is beside January.
    """
    clock = xr.DataArray(times, dims="time").dt
    names = _names(str(clock.calendar))
    own = np.unique(clock.strftime("%m-%d").to_numpy().astype(str))
    days = np.flatnonzero(np.isin(names, np.where(np.isin(own, names), own, "02-28")))
    known = np.zeros(len(names), dtype=bool)
    for day, following in zip(days, np.append(days[1:], days[0] + len(names)), strict=True):
        known[np.arange(day, following if following - day <= LONGEST_GAP else day + 1) % len(names)] = True
    return None if known.all() else tuple(names[known].tolist())


def are_known(days: np.ndarray, known: Sequence[str] | None) -> np.ndarray:
    """Which days of ``days_of_year`` are among the known ones, bool [days]."""
    return np.ones(len(days), dtype=bool) if known is None else np.isin(_name(days), known)


def refuse_unknown(moment: Any, known: Sequence[str] | None, calendar: str, where: str) -> None:
    """Refuses a moment, cftime, more than ``NEAR`` days from all known days of the year.

    Args:
        where: what asks about the moment, for messages.

    Raises:
        LevyError: it is.
    """
    around = [moment + timedelta(days=days) for days in range(-NEAR, NEAR + 1)]
    if known is not None and not np.isin([time.strftime("%m-%d") for time in around], known).any():
        raise LevyError(
            f"{where}: {say(moment)} lies on a day of the year of which the model knows nothing: it was trained on {say_days(known, calendar)}, and "
            f"answers for days up to {NEAR} before and after"
        )


def say_days(known: Sequence[str], calendar: str) -> str:
    """Days in runs, for messages: the last of December is followed by the first of January."""
    names = _names(calendar)
    here = np.isin(names, known)
    first = names[here & ~np.roll(here, 1)]
    last = np.roll(names[here & ~np.roll(here, -1)], -1 if here[0] and here[-1] else 0)
    return ", ".join(a if a == b else f"{a} to {b}" for a, b in zip(first, last, strict=True))


def _names(calendar: str) -> np.ndarray:
    return _name(days_of_year(calendar))


def _name(days: np.ndarray) -> np.ndarray:
    return np.array([day.strftime("%m-%d") for day in days])
