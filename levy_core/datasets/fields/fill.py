"""Values that stand for none: missing where a source declares them, refused where nothing does and a number looks like one."""

from collections.abc import Callable
from typing import Any

import dask.array as da
import netCDF4
import numpy as np
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.timeline import say
from levy_core.datasets.fields.units import Conversion

CLOSE = 1e-6  # relative: of a number that was stored as float32
HUGE = 1e15  # no unit of a weather variable gives such numbers, but 1e20, 9.96921e36 and 3.4e38 are common fill values
SENTINELS = (-999.0, -99.9)  # what a variable may well have: suspect where they stand apart from all other values
INTEGERS = (-32767.0, -32768.0, 32767.0, -2147483647.0, -2147483648.0, 2147483647.0)


def looks_like_fill(value: float) -> bool:
    """Whether a number in a source's units is one of those that files write for none: -9999, 1e20, a type's fill value."""
    near = any(np.isclose(value, v, rtol=CLOSE, atol=0) for v in INTEGERS)
    return near or abs(value) >= HUGE or (abs(value) > 9998 and set(f"{abs(value):.7g}") <= {"9", "."})


def mask_declared(array: xr.DataArray, data: da.Array) -> da.Array:
    """NaN where values are missing by attributes that xarray does not heed.

    These are ``valid_min``, ``valid_max`` and ``valid_range`` (of packed values, as CF has it), and a ``missing_value`` that is
    text or has more digits than the values.

    Args:
        array: as it was opened. data: its values, in its units.
    """
    said = array.encoding | array.attrs
    scale, offset = (float(said.get(name, usual)) for name, usual in (("scale_factor", 1.0), ("add_offset", 0.0)))
    packed = "scale_factor" in array.encoding
    low, high = said.get("valid_range", (said.get("valid_min", -np.inf), said.get("valid_max", np.inf)))
    low, high = sorted((float(low) * scale + offset, float(high) * scale + offset))
    slack = abs(scale) / 2 if packed else CLOSE * max(abs(x) for x in (low, high, 0.0) if np.isfinite(x))
    missing = [] if packed else [float(m) for m in np.ravel(said.get("missing_value", [])) if _is_number(m)]
    missing = [m for m in missing if np.isfinite(m)]
    if not missing and np.isinf([low, high]).all():
        return data

    def mask(values: np.ndarray) -> np.ndarray:
        gone = (values < low - slack) | (values > high + slack)
        for m in missing:
            gone |= np.isclose(values, m, rtol=CLOSE, atol=0)
        return np.where(gone, np.nan, values)

    return da.map_blocks(mask, data, dtype=data.dtype)


def type_fill(array: xr.DataArray) -> float | None:
    """The fill value of a packed source's type in its units, where the source declares none."""
    said = array.encoding
    stored = said.get("dtype")
    if stored is None or np.dtype(stored).kind != "i" or "_FillValue" in said or "missing_value" in said:
        return None
    default = netCDF4.default_fillvals.get(np.dtype(stored).str[1:])
    return None if default is None else float(default) * said.get("scale_factor", 1.0) + said.get("add_offset", 0.0)


def refuse_fill_values(
    array: xr.DataArray, conversions: set[Conversion], fills: set[float], source: Callable[[Any], str]
) -> xr.DataArray:
    """The array, whose values are looked at when they are read: a lowest or highest one that looks like a fill value is refused.

    Args:
        array: on (time, ...), converted by one of ``conversions``. fills: in units of the sources (``type_fill``): suspect where they
            stand apart from all other values. source: of a time.
    """
    times, coordinates = array.time.to_numpy(), {str(k): array[k].to_numpy() for k in array.coords if k != "time"}

    def look(values: np.ndarray, block_info: Any = None) -> np.ndarray:
        for extreme in _extremes(values):
            for convert in conversions:
                there = convert.invert(extreme)
                suspects = (*SENTINELS, *fills)
                apart = np.isclose(there, suspects, rtol=CLOSE, atol=0).any() and _stands_apart(values, extreme)
                if looks_like_fill(there) or apart:
                    first, *cell = np.argwhere(values == extreme)[0]
                    time = times[block_info[0]["array-location"][0][0] + first]
                    raise LevyError(
                        f"{source(time)}: variable {array.name!r} at {say(time)}, {say_place(coordinates, cell)}, is {there:g}, which looks "
                        "like a fill value that the file does not declare: set its attribute _FillValue (ncatted -a "
                        f"_FillValue,VARIABLE,o,f,{there:g} FILE), or choose a `period` or `box` without it"
                    )
        return values

    return array.copy(data=da.map_blocks(look, array.data, dtype=array.dtype, meta=np.empty((0,) * array.ndim)))


def say_place(coordinates: dict[str, np.ndarray], cell: list[int]) -> str:
    """A cell for messages: its latitude and longitude, or the name of its place."""
    if "place" in coordinates:
        return f"place {coordinates['place'][cell[-1]]}"
    at, latitude, longitude = tuple(cell[-2:]), coordinates["latitude"], coordinates["longitude"]
    north, east = (latitude[at], longitude[at]) if latitude.ndim == 2 else (latitude[at[0]], longitude[at[1]])
    return f"latitude {north:g}, longitude {east:g}"


def _extremes(values: np.ndarray) -> list[float]:
    known = values if not np.isnan(values).any() else values[~np.isnan(values)]
    return [float(known.min()), float(known.max())] if known.size else []


def _stands_apart(values: np.ndarray, extreme: float) -> bool:
    others = values[~np.isnan(values) & (values != extreme)]
    return bool(others.size) and np.abs(others - extreme).min() > np.ptp(others)


def _is_number(text: Any) -> bool:
    try:
        float(text)
    except (TypeError, ValueError):
        return False
    return True
