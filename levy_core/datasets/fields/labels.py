"""The class of a field: its season, its month, or one class for all."""

import numpy as np
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.timeline import say

SEASONS = ("DJF", "MAM", "JJA", "SON")
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def classes(season: str, times: np.ndarray) -> tuple[str, ...]:
    """The classes of fields at some times, in order of the year."""
    if season == "none":
        return ("all",)
    names = SEASONS if season == "season" else MONTHS
    return tuple(names[i] for i in np.unique(_numbers(season, times)))


def label(season: str, times: np.ndarray, class_names: tuple[str, ...]) -> np.ndarray:
    """The class of each time as its position in ``class_names``, int64 [N].

    Raises:
        LevyError: a time of a class that is not among them.
    """
    if season == "none":
        return np.zeros(len(times), dtype=np.int64)
    names = SEASONS if season == "season" else MONTHS
    position = np.array([class_names.index(n) if n in class_names else -1 for n in names])
    labels = position[_numbers(season, times)]
    if np.any(labels < 0):
        time = times[np.argmax(labels < 0)]
        raise LevyError(
            f"the test period has {say(time)}, a {season} of which the training period has no field (it has {', '.join(class_names)}): "
            "set season to none, or bring a longer training period"
        )
    return labels.astype(np.int64)


def _numbers(season: str, times: np.ndarray) -> np.ndarray:
    month = xr.DataArray(times, dims="time").dt.month.to_numpy()
    return month % 12 // 3 if season == "season" else month - 1
