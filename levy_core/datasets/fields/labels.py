"""The class of a field: its season, its month, its day of the year, perhaps with its hour, or one class for all."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.climatology import design
from levy_core.datasets.fields.timeline import say

SEASONS = ("DJF", "MAM", "JJA", "SON")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
DAYS = {"day": "%m-%d", "day-hour": "%m-%dT%H"}  # and the names of such classes
NAMES = {"day": re.compile(r"\d\d-\d\d"), "day-hour": re.compile(r"\d\d-\d\dT\d\d")}
YEAR = 2001  # of the days of generated fields: any year without a leap day


def classes(season: str, times: np.ndarray) -> tuple[str, ...]:
    """The classes of fields at some times, in order of the year; of days all that the calendar has, and of their hours those of the times."""
    if season == "none":
        return ("all",)
    if season not in DAYS:
        names = SEASONS if season == "season" else MONTHS
        return tuple(names[i] for i in np.unique(_numbers(season, times)))
    clock = xr.DataArray(times, dims="time").dt
    days = [f"{day.month:02}-{day.day:02}" for day in days_of_year(str(clock.calendar))]
    hours = [f"T{hour:02}" for hour in np.unique(clock.hour)] if season == "day-hour" else [""]
    return tuple(day + hour for day in days for hour in hours)


def label(season: str, times: np.ndarray, class_names: tuple[str, ...]) -> np.ndarray:
    """The class of each time as its position in ``class_names``, int64 [N]; 29 February is 28 February.

    Raises:
        LevyError: a time of a class that is not among them.
    """
    if season == "none":
        return np.zeros(len(times), dtype=np.int64)
    if season in DAYS:
        own = xr.DataArray(times, dims="time").dt.strftime(DAYS[season]).to_numpy()
        names, which = np.unique(own.astype(str), return_inverse=True)
        known = {name: i for i, name in enumerate(class_names)}
        position = np.array([known.get(n, known.get(n.replace("02-29", "02-28"), -1)) for n in names])
        labels = position[which]
    else:
        every = SEASONS if season == "season" else MONTHS
        position = np.array([class_names.index(n) if n in class_names else -1 for n in every])
        labels = position[_numbers(season, times)]
    if np.any(labels < 0):
        time = times[np.argmax(labels < 0)]
        raise LevyError(
            f"the test period has {say(time)}, a {season} of which the training period has no field (it has {say_names(class_names)}): "
            "set season to none, or bring a longer training period"
        )
    return labels.astype(np.int64)


def seasons_of(times: np.ndarray) -> np.ndarray:
    """The name of the season of each time, [N]."""
    return np.array(SEASONS)[_numbers("season", times)]


def season_of(class_names: Sequence[str]) -> str | None:
    """Which ``season`` gave these classes; None where they are none of fields."""
    for season, names in (("month", MONTHS), ("season", SEASONS)):
        if {*class_names} <= {*names}:
            return season
    return next((season for season, form in NAMES.items() if all(map(form.fullmatch, class_names))), None)


def days_of_year(calendar: str) -> np.ndarray:
    """Midnights of ``YEAR``, cftime [days]."""
    last = "12-30" if calendar == "360_day" else "12-31"
    return np.asarray(xr.date_range(f"{YEAR}-01-01", f"{YEAR}-{last}", freq="D", calendar=calendar, use_cftime=True))


def moments(class_names: Sequence[str], calendar: str) -> np.ndarray:
    """The moment of ``YEAR`` that each class of days names, cftime [classes]."""
    form = lambda name: (int(name[:2]), int(name[3:5]), int(name[6:] or 0))
    day = days_of_year(calendar)[0]
    return np.array([day.replace(month=m, day=d, hour=h) for m, d, h in map(form, class_names)])


def class_numbers(class_names: Sequence[str], calendar: str) -> np.ndarray | None:
    """What tells a network classes of days, float32 [classes + 1, numbers]: the terms of a climatology, whose first, a constant, is 0 without a
    class, which has a number of its own. None where classes are unlike each other.
    """
    season = season_of(class_names)
    if season not in DAYS:
        return None
    terms = design(season, moments(class_names, calendar))
    return np.pad(terms, ((0, 1), (0, 1))).astype(np.float32) + _no_class(len(terms), terms.shape[1])


def measured_as(class_names: Sequence[str]) -> np.ndarray:
    """The number of the class that each is measured in, int64 [classes + 1], the last of no class: days, too many to measure each, in their season."""
    if season_of(class_names) not in DAYS:
        return np.arange(len(class_names) + 1)
    return np.array([*(int(name[:2]) % 12 // 3 for name in class_names), len(SEASONS)])


def say_names(class_names: Sequence[str]) -> str:
    """Classes for messages: days by the first and the last."""
    return f"{class_names[0]} to {class_names[-1]}" if season_of(class_names) in DAYS else ", ".join(class_names)


def _no_class(row: int, column: int) -> np.ndarray:
    alone = np.zeros((row + 1, column + 1), dtype=np.float32)
    alone[row, column] = 1
    return alone


def _numbers(season: str, times: Any) -> np.ndarray:
    month = xr.DataArray(times, dims="time").dt.month.to_numpy()
    return month % 12 // 3 if season == "season" else month - 1
