"""Events of images, in words such as ``brightness mean > 120 levels``, as numbers of pixels in levels from 0 to 255; or such as ``class 8``."""

import re
from collections.abc import Callable, Sequence

import numpy as np

from levy_core.base.errors import LevyError
from levy_core.base.event import Classify, Event
from levy_core.base.pixels import LEVELS, to_uint8
from levy_core.base.words import NUMBER, OVER, POINT, STATISTICS, Reduction, read_words

BRIGHTNESS, COLOURS, UNIT = "brightness", ("red", "green", "blue"), "levels"
CLASS = re.compile(r"\s*class\s+(.+?)\s*")
WANTED = re.compile(rf"(?:\s*([<>])\s*({NUMBER})\s*(.*))?")  # after the name of a class
PROBABILITY = "probability"
CERTAIN = 36.0  # log odds at which a probability is 1 in 16 digits
GRAMMAR = (
    f"MEASURE [at ROW,COLUMN | mean | max | min] > or < VALUE {UNIT} is expected, where mean, max and min may be 'of ROW1..ROW2,COLUMN1..COLUMN2', "
    f"rows and columns counted from 0, such as 'brightness mean > 120 {UNIT}' or 'brightness max of 0..3,0..27 < 10 {UNIT}'; "
    f"or class NAME [> or < VALUE {PROBABILITY}], such as 'class 8'"
)


def read_event(
    text: str,
    shape: tuple[int, int, int],
    classes: Sequence[str],
    time: str | None,
    classify: Callable[[], Classify],
) -> Event:
    """The event that a person asks for.

    Args:
        text: by the grammar of ``GRAMMAR``; brightness is the mean of a pixel's channels. shape: C, H, W of the model's images.
        classes: their names. time: of which images have none. classify: opens what tells classes apart, for events of a class.

    Raises:
        LevyError: words that are no event, a measure, place, class or unit that images have not, or what never or always happens; as
            ``classify``.
    """
    if time is not None:
        raise LevyError(f"the time {time} is given, but images have none: leave it out")
    if named := CLASS.fullmatch(text):
        return _read_class(text, named[1], shape, classes, classify)
    what, where, above, threshold, unit = read_words(text, GRAMMAR)
    channels = _channels(text, what, shape[0])
    if unit != UNIT:
        raise LevyError(f"the event {text!r} has the unit {unit!r}, but pixels are in {UNIT}, from 0 to {LEVELS}")
    if not (0 <= threshold < LEVELS if above else 0 < threshold <= LEVELS):
        always = threshold < 0 if above else threshold > LEVELS
        raise LevyError(
            f"the event {text!r} {'always happens' if always else 'cannot happen'}: {what} is from 0 to {LEVELS} {UNIT}; take a threshold between"
        )
    pixels, reduction = _find_pixels(text, where, shape)
    cells = np.concatenate([channel * shape[1] * shape[2] + pixels for channel in channels])
    weights = np.full(len(pixels), 1 / len(pixels))

    def measure(times: np.ndarray | None) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        def of(values: np.ndarray, which: np.ndarray) -> np.ndarray:
            levels = to_uint8(values).astype(np.float64).reshape(len(values), len(channels), -1)  # as files have them
            return reduction(levels.mean(1), weights)

        return of

    return Event(
        lambda labels: None, cells, measure, lambda values: values, threshold, above, None, UNIT, " ".join(text.split()), recurs=False
    )  # fmt: skip


def _read_class(
    text: str,
    said: str,
    shape: tuple[int, int, int],
    classes: Sequence[str],
    classify: Callable[[], Classify],
) -> Event:
    """The event that a classifier gives a class a probability above a threshold, or below it; particles are steered by its log odds."""
    # Names may hold what events are written with: the longest that the words begin with counts.
    begun = [name for name in classes if said.startswith(name) and WANTED.fullmatch(said.removeprefix(name))]
    if not begun:
        raise LevyError(f"the event {text!r} is of the class {said!r}: the model's images are of {', '.join(classes)}")
    name = max(begun, key=len)
    found = WANTED.fullmatch(said.removeprefix(name))
    assert found is not None
    sign, value, unit = found.groups()
    if sign is not None and unit not in ("", PROBABILITY):
        raise LevyError(f"the event {text!r} has the unit {unit!r}, but a class has a {PROBABILITY}, from 0 to 1")
    threshold, above = 0.5 if value is None else float(value), sign != "<"
    if not 0 < threshold < 1:
        raise LevyError(f"the event {text!r} never or always happens: take a {PROBABILITY} between 0 and 1")
    column, probabilities = classes.index(name), classify()

    def measure(times: np.ndarray | None) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        def of(values: np.ndarray, which: np.ndarray) -> np.ndarray:
            found: np.ndarray = np.exp(probabilities(to_uint8(values).reshape(-1, *shape))[:, column])
            return found

        return of

    def scale(values: np.ndarray) -> np.ndarray:
        with np.errstate(divide="ignore"):
            return np.clip(np.log(values) - np.log1p(-values), -CERTAIN, CERTAIN)

    spoken = f"class {name} {'>' if above else '<'} {threshold:g} {PROBABILITY}"
    return Event(
        lambda labels: None, np.arange(np.prod(shape)), measure, scale, threshold, above, None, PROBABILITY, spoken, recurs=False,
        told=column,
    )  # fmt: skip


def _channels(text: str, what: str, count: int) -> list[int]:
    known = [BRIGHTNESS, *(COLOURS if count == len(COLOURS) else ())]
    if what not in known:
        raise LevyError(f"the event {text!r} is of {what!r}: images of this model have {', '.join(known)}")
    return list(range(count)) if what == BRIGHTNESS else [COLOURS.index(what)]


def _find_pixels(text: str, where: str, shape: tuple[int, int, int]) -> tuple[np.ndarray, Reduction]:
    """Pixels of a flattened channel, int64 [k], and what is made of their values."""
    _, height, width = shape
    numbers = np.arange(height * width).reshape(height, width)
    if point := POINT.fullmatch(where):
        row, column = _places(text, point.groups(), shape)
        return numbers[row, column].reshape(1), STATISTICS["mean"]
    over = OVER.fullmatch(where)
    if over is None or over[1] not in STATISTICS:
        raise LevyError(
            f"the event {text!r} {f'cannot be read at {where!r}' if where else 'says of no place where'}: {GRAMMAR}"
        )
    if over[2] is None:
        return numbers.reshape(-1), STATISTICS[over[1]]
    top, left = _places(text, over.group(2, 4), shape)
    bottom, right = _places(text, over.group(3, 5), shape)
    rows, columns = sorted((top, bottom)), sorted((left, right))
    return numbers[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1].reshape(-1), STATISTICS[over[1]]


def _places(text: str, words: tuple[str, ...], shape: tuple[int, int, int]) -> tuple[int, int]:
    """A row and a column."""
    for word, size, name in zip(words, shape[1:], ("row", "column"), strict=True):
        if not (word.isdecimal() and int(word) < size):
            raise LevyError(
                f"the event {text!r} has the {name} {word}, but whole numbers from 0 to {size - 1} are expected"
            )
    return int(words[0]), int(words[1])
