"""Labels and times of generated fields: independent draws, which have a day and an hour only where a climatology asks for them."""

from datetime import timedelta
from typing import Any

import numpy as np
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.base.samples import GOLDEN, Samples
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.known_days import are_known, refuse_unknown
from levy_core.datasets.fields.labels import (
    DAYS,
    MONTHS,
    SEASONS,
    classes,
    days_of_year,
    label,
    moments,
    say_names,
    season_of,
)
from levy_core.datasets.fields.store import FieldStore
from levy_core.datasets.fields.timeline import say

PARTS_OF_TIME = {  # of climatologies and classes
    "season": "the season",
    "month": "the month",
    "day": "the day of the year",
    "hour": "the hour of the day",
}
KIND, DTYPE, EXPORTER = "fields", "float32", "levy_core.datasets.fields.export:FieldExporter"


def field_samples(store: FieldStore) -> Samples:
    """What models of a store draw: each season in its share, where samples have a season."""
    if len(store.classes) == 1:
        return Samples(KIND, store.classes, DTYPE, EXPORTER)
    shares = np.bincount(store.labels, minlength=len(store.classes)) / len(store)
    return Samples(KIND, store.classes, DTYPE, EXPORTER, tuple(shares.tolist()))


def times_of(codec: Codec, samples: Samples, labels: np.ndarray) -> np.ndarray:
    """Times for generated fields, which have none of their own: days in the middles of equal parts of their label's season, or of a year,
    as far as the training period has them.

    Classes of days say them, and perhaps their hours. Where the climatology has a cycle of the day, the hours of the data are drawn by a golden-ratio sequence, so that any number of
    days has all of them alike; else it is the one hour that the data have, or noon.

    Args:
        labels: int64 [N]; the number of classes stands for 'no class'.

    Returns:
        [N] cftime in the codec's calendar, for its climatology and for files.
    """
    by_hour = codec.climatology is not None and "hour" in codec.climatology.kind
    of_data = np.array(codec.hours if by_hour or len(codec.hours) == 1 else (12,))
    year, season = days_of_year(codec.calendar), season_of(samples.classes)
    year = year[are_known(year, codec.days)]
    month = np.array([time.month for time in year])
    times = np.empty(len(labels), dtype=object)
    hours_of = lambda rows: of_data[(rows * GOLDEN % 1 * len(of_data)).astype(int)] * timedelta(hours=1)
    of_days = np.flatnonzero((labels < len(samples.classes)) & (season in DAYS))
    if len(of_days):
        of_them, which = np.unique(labels[of_days], return_inverse=True)
        named = moments([samples.classes[i] for i in of_them], codec.calendar)[which]
        times[of_days] = named if season == "day-hour" else named + hours_of(of_days)
    for found in np.setdiff1d(labels, labels[of_days]):
        rows = np.flatnonzero(labels == found)
        own = year[np.isin(month, _months(samples.classes[found]))] if found < len(samples.classes) else year
        days_of_rows = own[((np.arange(len(rows)) + 0.5) / len(rows) * len(own)).astype(int)]
        times[rows] = days_of_rows + hours_of(np.arange(len(rows)))
    return times


def drawn_times(codec: Codec, samples: Samples, labels: np.ndarray) -> np.ndarray | None:
    """``times_of``, where fields depend on them: a climatology was taken off, or samples have a season. None: they have no time."""
    if codec.climatology is None and len(samples.classes) == 1:
        return None
    return times_of(codec, samples, labels)


def read_moment(text: str, calendar: str) -> Any:
    """The moment that a text such as ``2019-07-25T12`` says, as cftime.

    Raises:
        LevyError: it says none of this calendar.
    """
    try:
        return xr.date_range(text, periods=1, calendar=calendar, use_cftime=True)[0]
    except (ValueError, TypeError) as error:
        raise LevyError(f"the time {text} is none of the model's calendar, {calendar} ({error})") from error


def moment_of(where: str, codec: Codec, samples: Samples, time: str | None, said: Any) -> Any:
    """The observed moment in the codec's calendar; None where nothing depends on it.

    Args:
        where: what was observed, for messages. time: as a person says it, before what a file said.

    Raises:
        LevyError: it is needed and not there, or lies where the training period has no fields.
    """
    depends_on = _list_dependences(codec, samples)
    told = time if time is not None or said is None else say(said)
    if told is None and depends_on:
        raise LevyError(
            f"{where} does not say when it was observed, and the model's fields depend on {' and '.join(depends_on)}: say it "
            "(time 2019-07-25T12)"
        )
    if told is None or not (depends_on or codec.days):
        return None
    moment = read_moment(told, codec.calendar)
    refuse_unknown(moment, codec.days, codec.calendar, where)
    return moment if depends_on else None


def label_of(samples: Samples, moment: Any, where: str) -> int | None:
    """The class of samples of a moment; None where all are of one, or the model was never told theirs.

    Args:
        where: what asks about the moment, for messages.

    Raises:
        LevyError: the classes are no seasons, or the moment's is none of them.
    """
    names = samples.classes
    if len(names) == 1 or not samples.knows_classes:
        return None
    season = season_of(names)
    if season is None:
        raise LevyError(f"{where}: the model's classes {', '.join(names)} are no seasons that a time could tell")
    try:
        (own,) = label(season, np.array([moment]), names)
    except LevyError:
        (lies,) = classes(season, np.array([moment])) if season not in DAYS else (moment.strftime(DAYS[season]),)
        raise LevyError(
            f"{where}: {say(moment)} lies in {lies}, of which the model knows nothing: it has {say_names(names)}"
        ) from None
    return int(own)


def _list_dependences(codec: Codec, samples: Samples) -> list[str]:
    """What of a moment changes a model's fields, for messages."""
    cycle = "" if codec.climatology is None else codec.climatology.kind
    season = "" if len(samples.classes) == 1 else season_of(samples.classes) or "season"
    return [said for part, said in PARTS_OF_TIME.items() if part in [*cycle.split("-"), *season.split("-")]]


def _months(name: str) -> list[int]:
    """Months of a class."""
    if name in MONTHS:
        return [MONTHS.index(name) + 1]
    return [m for m in range(1, 13) if name not in SEASONS or m % 12 // 3 == SEASONS.index(name)]
