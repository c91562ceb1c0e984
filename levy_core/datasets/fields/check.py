"""What is wrong with the numbers themselves: found while they stream by, named with variable, time and file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.fill import looks_like_fill, say_place
from levy_core.datasets.fields.opening import LazyFields
from levy_core.datasets.fields.plausible import find_quantities, in_units_of
from levy_core.datasets.fields.timeline import say

PACKING = 2.0**-15  # of the range: what packing into 16 bits may move a value


@dataclass(frozen=True)
class Extent:
    """What is kept of fields that were looked at, in the order of time.

    Attributes:
        low, high: [C], the lowest and highest value of each channel. low_times, high_times: when. low_cells, high_cells: where,
            as positions in the flattened field.
        missing: [N, C], missing cells of each field. times: [N].
    """

    low: np.ndarray
    high: np.ndarray
    low_times: tuple[Any, ...]
    high_times: tuple[Any, ...]
    low_cells: np.ndarray
    high_cells: np.ndarray
    missing: np.ndarray
    times: np.ndarray

    def concatenate(self, later: "Extent") -> "Extent":
        """Both spans, one after the other. Of equal values the first counts."""
        lower, higher = later.low < self.low, later.high > self.high
        return Extent(
            np.where(lower, later.low, self.low),
            np.where(higher, later.high, self.high),
            _choose_times(lower, later.low_times, self.low_times),
            _choose_times(higher, later.high_times, self.high_times),
            np.where(lower, later.low_cells, self.low_cells),
            np.where(higher, later.high_cells, self.high_cells),
            np.concatenate([self.missing, later.missing]),
            np.concatenate([self.times, later.times]),
        )


def _choose_times(mask: np.ndarray, times: Sequence[Any], other_times: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(one if chosen else other for chosen, one, other in zip(mask, times, other_times, strict=True))


def measure_extent(fields: LazyFields, values: np.ndarray, times: np.ndarray) -> Extent:
    """Looks at physical fields [n, C, H, W] of some times.

    Raises:
        LevyError: a field without any value, or an infinite value.
    """
    cells, missing = values[0, 0].size, np.isnan(values).sum((2, 3))
    lows, highs = np.empty(missing.shape), np.empty(missing.shape)
    for c, v in enumerate(fields.config.variables):
        empty = np.flatnonzero(missing[:, c] == cells)
        if len(empty):
            _refuse(
                fields, v.key, times[empty[0]], f"has no value at all ({len(empty)} such fields near it)",
                "bring the field, or choose a `period` without it",
            )  # fmt: skip
        lows[:, c], highs[:, c] = np.nanmin(values[:, c], axis=(1, 2)), np.nanmax(values[:, c], axis=(1, 2))
        infinite = np.flatnonzero(np.isinf(lows[:, c]) | np.isinf(highs[:, c]))
        if len(infinite):
            _refuse(fields, v.key, times[infinite[0]], "has an infinite value", "repair the file")
    lowest, highest = lows.argmin(0), highs.argmax(0)
    every = range(len(lowest))
    cells_of_lowest = np.array([np.nanargmin(values[lowest[c], c]) for c in every])
    cells_of_highest = np.array([np.nanargmax(values[highest[c], c]) for c in every])
    ends = tuple(times[lowest]), tuple(times[highest])
    return Extent(lows.min(0), highs.max(0), *ends, cells_of_lowest, cells_of_highest, missing, times)


def check_extent(fields: LazyFields, extent: Extent, always: np.ndarray) -> None:
    """After the last field; ``always`` [C] is the number of cells that are missing at all times.

    Raises:
        LevyError: values that its units cannot have or below its minimum, too many missing cells.
    """
    most, cells = (
        fields.config.max_missing,
        int(np.prod([n for d, n in fields.data.sizes.items() if d not in ("time", "member")])),
    )
    for c, v in enumerate(fields.config.variables):
        low, high = extent.low[c], extent.high[c]
        _check_plausible(fields, c, extent)
        packing = PACKING * (24 if v.key in fields.running else 1)  # of a day's total, an hour is the difference of two
        if v.minimum is not None and low < v.minimum - packing * (high - low):
            _refuse(
                fields, v.key, extent.low_times[c], f"is {low:g} {v.units}, below its minimum of {v.minimum:g}",
                "correct the file, or its units or `minimum` in params",
            )  # fmt: skip
        share = (extent.missing[:, c] - always[c]) / max(1, cells - always[c])
        worst = int(share.argmax())
        if share[worst] > most:
            _refuse(
                fields, v.key, extent.times[worst],
                f"lacks {share[worst]:.1%} of the cells that are not always missing (max_missing is {most:.1%}; "
                f"so do {int((share > most).sum())} fields)",
                "choose a `period` or `box` without it, or raise max_missing",
            )  # fmt: skip


def _check_plausible(fields: LazyFields, c: int, extent: Extent) -> None:
    v, array = fields.config.variables[c], list(fields.data.data_vars.values())[c]
    if fields.config.resample is not None and fields.config.how == "sum":
        return  # a sum of 24 temperatures
    unit, places = v.units, {str(k): x.to_numpy() for k, x in array.coords.items()}
    attributes = {k: str(x) for k, x in array.attrs.items()}
    for quantity in find_quantities(v.name, attributes, v.level):
        what = quantity.names.split()[0].replace("_", " ")
        for value, time, cell in (
            (extent.low[c], extent.low_times[c], extent.low_cells[c]),
            (extent.high[c], extent.high_times[c], extent.high_cells[c]),
        ):
            there = in_units_of(value, unit, quantity)
            if there is not None and not quantity.low <= there <= quantity.high:
                width = array.sizes[array.dims[-1]]
                place = say_place(places, list(divmod(int(cell), width)))
                _refuse(
                    fields, v.key, time,
                    f"is {value:g} {unit} at {place} ({there:g} {quantity.units}), and no {what} is below {quantity.low:g} or above "
                    f"{quantity.high:g} {quantity.units}",
                    "it looks like a fill value: declare it in the file (_FillValue)" if looks_like_fill(value) else
                    f"if the file's units are wrong, write what its numbers are in as `source_units` of variable {v.name!r} in params, "
                    "else repair the file",
                )  # fmt: skip
        highest = in_units_of(extent.high[c], unit, quantity)
        if highest is not None and highest < quantity.reaches:
            _refuse(
                fields, v.key, extent.high_times[c], f"is at most {extent.high[c]:g} {unit}, which is too little for {what}",
                f"are its numbers fractions? Then write source_units: '1' of variable {v.name!r} in params",
            )  # fmt: skip


def _refuse(fields: LazyFields, key: str, time: Any, fault: str, advice: str) -> NoReturn:
    raise LevyError(f"{fields.source(key, time)}: variable {key!r} at {say(time)} {fault}: {advice}")
