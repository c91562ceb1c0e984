"""Events of fields, in words such as ``t2m at 51.5,-0.1 > 38 degC``, as numbers of fields in physical units."""

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from levy_core.base.errors import LevyError
from levy_core.base.event import Event
from levy_core.base.samples import Samples
from levy_core.base.words import OVER, POINT, STATISTICS, Reduction, read_words
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import Variable
from levy_core.datasets.fields.known_days import refuse_unknown
from levy_core.datasets.fields.placing import grid_of
from levy_core.datasets.fields.plausible import find_beyond
from levy_core.datasets.fields.timeline import say
from levy_core.datasets.fields.times import drawn_times, label_of, read_moment
from levy_core.datasets.fields.transforms import TRANSFORMS
from levy_core.datasets.fields.units import convert

STATION = re.compile(r"at\s+(.+)")
GRAMMAR = (
    "VARIABLE [at LAT,LON | at STATION | mean | max | min] > or < VALUE UNIT is expected, where mean, max and min may be 'of LAT1..LAT2,LON1..LON2', "
    "such as 't2m at 51.5,-0.1 > 38 degC' or 'tp mean of 49..55,-6..2 > 20 mm day-1'"
)


class Place(NamedTuple):
    """Cells of a flattened field [k], their weights [k], which sum to 1, and what is made of their values."""

    cells: np.ndarray
    weights: np.ndarray
    reduction: Reduction


def read_event(text: str, codec: Codec, samples: Samples, time: str | None = None) -> Event:
    """The event that a person asks for.

    Args:
        text: by the grammar of ``GRAMMAR``. time: the moment of the year that it is asked of, where fields depend on it.

    Raises:
        LevyError: words that are no event, a variable, place, unit or time that the model does not know, or what never or always happens.
    """
    name, where, above, value, unit = read_words(text, GRAMMAR)
    if name not in codec.names:
        raise LevyError(f"the event {text!r} is of {name!r}: the model has {', '.join(codec.names)}")
    channel = codec.names.index(name)
    variable = codec.variables[channel]
    threshold = convert(value, unit, variable.units, f"the event {text!r}: the threshold")
    _check_possible(text, variable, codec, channel, threshold, above)
    place = _find_place(text, where, codec, channel)
    moment = None
    if time is not None:
        if codec.climatology is None and len(samples.classes) == 1:
            raise LevyError(f"the time {time} is given, but the model's fields do not depend on it: leave it out")
        moment = read_moment(time, codec.calendar)
        refuse_unknown(moment, codec.days, codec.calendar, f"the event {text!r}")
    own = (
        (lambda labels: drawn_times(codec, samples, labels))
        if moment is None
        else (lambda labels: np.full(len(labels), moment))
    )
    label = None if moment is None else label_of(samples, moment, f"the event {text!r}")
    spoken = " ".join(text.split()) + ("" if moment is None else f" at {say(moment)}")
    cells, scale = (
        channel * codec.valid[channel].size + place.cells,
        lambda values: TRANSFORMS[variable.transform].forward(values, variable),
    )

    def measure(times: np.ndarray | None) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        decode = codec.decode_cells(channel, place.cells, times)
        return lambda values, which: place.reduction(decode(values, which), place.weights)

    return Event(own, cells, measure, scale, threshold, above, label, variable.units, spoken, recurs=True)


def _check_possible(text: str, variable: Variable, codec: Codec, channel: int, threshold: float, above: bool) -> None:
    with np.errstate(all="ignore"):  # no transform ends above
        end = float(TRANSFORMS[variable.transform].inverse(np.array([-np.inf]), variable)[0])
    lowest = end if variable.minimum is None else max(end, variable.minimum)
    if threshold < lowest or (threshold == lowest and not above):
        raise LevyError(
            f"the event {text!r} {'always happens' if above else 'cannot happen'}: {variable.key} is {lowest:g} {variable.units} or more; "
            "take a threshold above"
        )
    attributes = codec.attributes[channel] if codec.attributes else {}
    beyond = find_beyond(threshold, variable.units, variable.name, attributes, variable.level)
    if beyond is not None:
        raise LevyError(
            f"the event {text!r} cannot be meant: {threshold:g} {variable.units} is beyond what {beyond.names.split()[0]} is anywhere, "
            f"{beyond.low:g} to {beyond.high:g} {beyond.units}; look at the value and its unit"
        )


def _find_place(text: str, where: str, codec: Codec, channel: int) -> Place:
    valid = codec.valid[channel].reshape(-1)
    size = len(valid)
    if not where:
        if size > 1:
            raise LevyError(f"the event {text!r} says of no place where: {GRAMMAR}")
        return Place(np.zeros(1, dtype=np.int64), np.ones(1), STATISTICS["mean"])
    if point := POINT.fullmatch(where):
        place = _at(text, float(point[1]), float(point[2]), codec)
        if not valid[place.cells[place.weights > 0]].all():
            raise LevyError(
                f"the event {text!r} lies where the model's fields have no values of {codec.names[channel]}"
            )
        return Place(place.cells[place.weights > 0], place.weights[place.weights > 0], place.reduction)
    if codec.places is not None and (station := STATION.fullmatch(where)):
        if station[1] not in codec.places:
            raise LevyError(f"the event {text!r} is at {station[1]!r}: the model has {', '.join(codec.places)}")
        return Place(np.array([codec.places.index(station[1])]), np.ones(1), STATISTICS["mean"])
    over = OVER.fullmatch(where)
    if over is None or over[1] not in STATISTICS:
        raise LevyError(f"the event {text!r} cannot be read at {where!r}: {GRAMMAR}")
    inside = valid if over[2] is None else valid & _box(text, tuple(map(float, over.groups()[1:])), codec)
    if not inside.any():
        raise LevyError(
            f"the event {text!r} has no cell of the model's fields in it that has values: take a larger box"
        )
    areas = np.ones(codec.shape[1:]) if codec.areas is None else codec.areas
    areas = np.broadcast_to(areas if areas.ndim == 2 else areas[:, None], codec.shape[1:])
    own = areas.reshape(-1)[inside].astype(np.float64)
    return Place(np.flatnonzero(inside), own / own.sum(), STATISTICS[over[1]])


def _at(text: str, latitude: float, longitude: float, codec: Codec) -> Place:
    grid = grid_of(codec, f"the event {text!r}")
    cells, weights = grid.points(np.array([latitude]), np.array([longitude]), [f"the event {text!r}"])
    return Place(cells[0], weights[0], STATISTICS["mean"])


def _box(text: str, ends: tuple[float, ...], codec: Codec) -> np.ndarray:
    """The cells whose centres lie in a box of two latitudes and a western and an eastern longitude, bool [H * W]."""
    south, north, (west, east) = min(ends[:2]), max(ends[:2]), ends[2:]
    latitude, longitude = (codec.latitude, codec.longitude) if codec.locations is None else codec.locations
    if latitude is None or longitude is None:
        what = "places" if codec.places else "fields"
        raise LevyError(f"the event {text!r} has a box, but the model does not know where its {what} lie: leave it out")
    width = 360.0 if east - west >= 360 else (east - west) % 360
    if width == 0 and east != west:
        raise LevyError(
            f"the event {text!r} has a box from longitude {west:g} eastwards to {east:g}, which is the same: all around the globe is "
            f"{east:g}..{east + 360:g}"
        )
    if latitude.ndim == 1 and codec.places is None:
        latitude, longitude = np.meshgrid(latitude, longitude, indexing="ij")
    inside = (latitude >= south) & (latitude <= north) & ((longitude - west) % 360 <= width)
    if not inside.any():
        raise LevyError(
            f"the event {text!r} has a box in which no {'place' if codec.places else 'cell'} of the model's fields lies (latitude {latitude.min():g} to {latitude.max():g}, "
            f"longitude {longitude.min():g} to {longitude.max():g})"
        )
    return inside.reshape(-1)
