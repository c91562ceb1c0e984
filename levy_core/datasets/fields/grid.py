"""Which rows and columns of a regular grid lie in a box: north to south, eastwards, across 0 or the date line."""

import numpy as np

from levy_core.base.errors import LevyError

Box = tuple[float, float, float, float]  # south, north, west, east
CLOSE = 1e-4  # degrees: coordinates may have been stored as float32


def rows(latitude: np.ndarray, box: Box | None, where: str) -> slice:
    """The rows from north to south.

    Raises:
        LevyError: latitudes that do not run in one direction, or a box that reaches beyond them.
    """
    step = np.diff(latitude)
    if not (np.all(step > 0) or np.all(step < 0)):
        raise LevyError(f"{where}: latitudes must rise or fall all the way, each once; repair the file")
    inside = np.ones(len(latitude), dtype=bool)
    if box is not None:
        inside = (latitude >= box[0] - CLOSE) & (latitude <= box[1] + CLOSE)
        reach = np.abs(step).max(initial=CLOSE)
        beyond = box[0] < latitude.min() - reach or box[1] > latitude.max() + reach
        if beyond or not inside.any():
            raise LevyError(say_outside(where, box, f"latitudes {latitude.min():g} to {latitude.max():g}"))
    found = np.flatnonzero(inside)
    first, last = int(found[0]), int(found[-1])
    if len(step) and step[0] > 0:
        return slice(last, first - 1 if first else None, -1)
    return slice(first, last + 1)


def columns(longitude: np.ndarray, box: Box | None, where: str) -> tuple[list[slice], np.ndarray]:
    """The columns eastwards from the box's western edge: runs of columns, one or two, and their longitudes.

    The longitudes rise all the way: across 0 or the date line they go on below 0 or beyond 180.

    Raises:
        LevyError: a longitude twice (0 and 360 are one), or a box that reaches beyond them.
    """
    westwards = len(longitude) > 1 and np.median(np.diff(longitude)) < 0  # but perhaps for one jump by 360
    west = (longitude[-1] if westwards else longitude[0]) if box is None else box[2]
    width = 360.0 if box is None else _width(box)
    east = (longitude - west + CLOSE) % 360 - CLOSE  # degrees east of the western edge
    found = np.flatnonzero(east <= width + CLOSE)
    found = found[np.argsort(east[found], kind="stable")]
    step = np.diff(np.sort(east))
    if np.any(step < CLOSE):
        raise LevyError(f"{where}: some longitude is there twice (0 and 360 are one); remove the repeated column")
    if box is not None:
        reach = np.append(step, 360 - np.ptp(east)).min() if len(step) else CLOSE
        if not len(found) or east[found[0]] > reach + CLOSE or east[found[-1]] < width - reach - CLOSE:
            raise LevyError(say_outside(where, box, f"longitudes {longitude[0]:g} to {longitude[-1]:g}"))
    breaks = np.flatnonzero(np.diff(found) != (-1 if westwards else 1)) + 1
    runs = [_run(int(run[0]), int(run[-1]), westwards) for run in np.split(found, breaks)]
    turns = np.round((west + east[found] - longitude[found]) / 360)
    return runs, longitude[found] + 360 * turns


def _run(first: int, last: int, westwards: bool) -> slice:
    if westwards:
        return slice(first, last - 1 if last else None, -1)
    return slice(first, last + 1)


def turned(longitude: np.ndarray, other: np.ndarray) -> int | None:
    """By how many columns ``other`` must be rolled to hold the same longitudes, 0 and 360 being one; None where it does not."""
    if longitude.shape != other.shape:
        return None
    start = int(np.abs((other - longitude[0] + 180) % 360 - 180).argmin())
    apart = (np.roll(other, -start) - longitude + 180) % 360 - 180
    return start if np.all(np.abs(apart) <= CLOSE) else None


def inside(located: dict[str, np.ndarray], box: Box, where: str) -> np.ndarray:
    """The places in the box, as positions.

    Raises:
        LevyError: none is, or the places have no coordinates.
    """
    if set(located) != {"latitude", "longitude"}:
        raise LevyError(f"{where} has no latitude and longitude, so box {list(box)} means nothing: set it to null")
    latitude = located["latitude"]
    found = np.flatnonzero(contains(latitude, located["longitude"], box))
    if not len(found):
        held = ", ".join(f"({a:g}, {b:g})" for a, b in zip(latitude[:5], located["longitude"][:5], strict=True))
        raise LevyError(say_outside(where, box, f"places at {held}"))
    return found


def contains(latitude: np.ndarray, longitude: np.ndarray, box: Box) -> np.ndarray:
    """Which points lie in the box, bool of their shape."""
    return (latitude >= box[0]) & (latitude <= box[1]) & ((longitude - box[2]) % 360 <= _width(box))


def _width(box: Box) -> float:
    """Degrees from the western edge eastwards to the eastern one."""
    return 360.0 if box[3] - box[2] >= 360 else (box[3] - box[2]) % 360


def say_outside(where: str, box: Box, held: str) -> str:
    """What is wrong with a box that the data do not fill."""
    return f"{where}: the box {list(box)} (south, north, west, east) reaches beyond the data, which have {held}: change `box`"
