"""From a folder of sources to one lazy data set: the wanted variables, in the wanted units, on one grid and one time axis."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.datasets.fields import intervals, timeline
from levy_core.datasets.fields.axes import CHUNK_BYTES, at_level, canonical, pressure_axis
from levy_core.datasets.fields.config import RUNNING, FieldsConfig, Variable
from levy_core.datasets.fields.sources import find, open_source
from levy_core.datasets.fields.timeline import seconds_between
from levy_core.datasets.fields.units import conversion, suited_name


@dataclass(frozen=True)
class LazyFields:
    """Lazy fields.

    Attributes:
        folder, config: from which they were opened.
        data: one variable per channel, on (time, latitude, longitude) or (time, place); attributes are the source's, ``units`` as wanted.
        parts: of each channel the first time and the source of each of its parts, in order of time.
        running: the channels made of totals since 00 UTC.
    """

    folder: Path
    config: FieldsConfig
    data: xr.Dataset
    parts: dict[str, list[tuple[object, str]]]
    running: frozenset[str]

    def __reduce__(self) -> tuple[object, tuple[Path, FieldsConfig]]:
        """Another process opens the folder itself: open files and GRIB's index are not sent."""
        return open_parts, (self.folder.absolute(), self.config)

    def source(self, key: str, time: object) -> str:
        """The source that a channel's field at some time comes from."""
        return ([self.parts[key][0][1]] + [where for first, where in self.parts[key] if first <= time])[-1]  # type: ignore[operator]


def open_fields(folder: Path, config: FieldsConfig) -> xr.Dataset:
    """The fields of a data set, lazily: metadata are read and checked, no field is.

    Returns:
        One variable per channel (named ``Variable.key``), float64 in ``Variable.units``, on (time, latitude, longitude), from north
        to south and eastwards, or (time, place).

    Raises:
        LevyError: no source, an unreadable one, an unknown variable, level or unit, different grids, calendars or times,
            irregular times, or a box or period outside the data.
    """
    return open_parts(folder, config).data


def open_parts(folder: Path, config: FieldsConfig, chunk_bytes: int = CHUNK_BYTES) -> LazyFields:
    """``open_fields`` with the source of every field, in dask chunks of ``chunk_bytes`` (at least one field)."""
    names = find(folder)
    arrays: dict[str, list[tuple[str, xr.DataArray]]] = {v.key: [] for v in config.variables}
    completed: dict[str, list[tuple[str, Variable]]] = {v.key: [] for v in config.variables}
    standard_names: dict[str, str] = {}
    for name in names:
        datasets = open_source(name)
        standard_names |= {
            str(k): str(v.attrs.get("standard_name", "")) for d in datasets for k, v in d.data_vars.items()
        }
        for variable in config.variables:
            array = choose_variable(datasets, variable, name)
            if array is not None:
                where = f"{name}: variable {variable.name!r}"
                said = intervals.complete(variable, array, intervals.find_bounds(datasets, array, where), where)
                converted = _in_units(array, said, config, name, chunk_bytes)
                if config.resample is not None:
                    intervals.check_stamped(said, array, where)
                completed[variable.key].append((name, said))
                arrays[variable.key].append((name, converted))
    for variable in config.variables:
        if not arrays[variable.key]:
            held = ", ".join(f"{k} ({s})" if s else k for k, s in sorted(standard_names.items()))
            raise LevyError(f"{folder} has no variable {variable.name!r}: there are {held}")
    _check_grids(arrays)
    variables = {key: _agreed(said) for key, said in completed.items()}
    joined = {key: _joined(variables[key], parts, config) for key, parts in arrays.items()}
    starts = {
        key: sorted(((a.time.to_numpy()[0], n) for n, a in parts), key=lambda p: p[0]) for key, parts in arrays.items()
    }
    running = frozenset(key for key, v in variables.items() if v.accumulated == RUNNING)
    return LazyFields(folder, config, _on_one_axis(joined, config), starts, running)


def choose_variable(datasets: list[xr.Dataset], variable: Variable, where: str) -> xr.DataArray | None:
    """The variable among a source's data sets, by its name or else its standard_name; None where it is not there.

    Raises:
        LevyError: several variables match.
    """
    matches = [d[variable.name] for d in datasets if variable.name in d.data_vars]
    if not matches:
        matches = [a for d in datasets for a in d.data_vars.values() if a.attrs.get("standard_name") == variable.name]
    if variable.level is not None and len(matches) > 1:
        matches = [a for a in matches if pressure_axis(a) is not None] or matches
    if len(matches) > 1:
        listing = ", ".join(
            sorted(f"{a.name} ({a.attrs.get('GRIB_typeOfLevel', a.attrs.get('long_name', '?'))})" for a in matches)
        )
        raise LevyError(
            f"{where} has several variables that are {variable.name!r}: {listing}; write the name of one, or split the file"
        )
    return matches[0] if matches else None


def _agreed(said: list[tuple[str, Variable]]) -> Variable:
    """What all sources of a variable say of it."""
    (name, first), *others = said
    for other_name, other in others:
        if other != first:
            raise LevyError(
                f"variable {first.name!r} is gathered in two ways: accumulated {first.accumulated} and stamped {first.stamped} in "
                f"{name}, {other.accumulated} and {other.stamped} in {other_name}: write `accumulated` and `stamped` in params, or "
                "bring files of one kind"
            )
    return first


def _joined(variable: Variable, parts: list[tuple[str, xr.DataArray]], config: FieldsConfig) -> xr.DataArray:
    """One variable in order of time, within the period; with ``begin``, by which it is resampled."""
    key = variable.key
    whole = timeline.join(key, parts)
    if variable.accumulated == RUNNING:
        whole = intervals.deaccumulate(whole)
    moved = variable if config.resample is not None else replace(variable, accumulated=None, stamped="start")
    whole = timeline.within(key, intervals.with_begins(whole, moved), config.period)
    timeline.check_regular(key, parts, whole.time.to_numpy())
    if config.resample is not None:
        intervals.check_tiled(variable, whole, config.how)
    return whole


def _on_one_axis(joined: dict[str, xr.DataArray], config: FieldsConfig) -> xr.Dataset:
    if config.resample is None:
        timeline.check_equal(joined)
        return xr.Dataset(joined).drop_vars("begin")
    if len({tuple(seconds_between(np.stack([a.begin[0], a.time[0]]))) for a in joined.values()}) == 1:
        timeline.check_equal(joined)
    steps = {key: timeline.resample(a, config.resample, config.how) for key, a in joined.items()}
    steps = timeline.in_common(steps)
    timeline.check_equal(steps)
    return xr.Dataset(steps)


def _in_units(
    array: xr.DataArray, variable: Variable, config: FieldsConfig, name: str, chunk_bytes: int
) -> xr.DataArray:
    where = f"{name}: variable {variable.name!r}"
    convert = conversion(variable, array.attrs.get("units"), name)
    field = canonical(at_level(array, variable.level, where), config.box, where, chunk_bytes)
    described = {**field.attrs, "units": variable.units}
    if "standard_name" in described:
        described["standard_name"] = suited_name(described["standard_name"], variable, array.attrs.get("units"))
    kept = {k: v for k, v in described.items() if v is not None}
    return xr.DataArray(convert(field.data), field.coords, field.dims, attrs=kept)


def _check_grids(arrays: dict[str, list[tuple[str, xr.DataArray]]]) -> None:
    every = [(key, name, array) for key, parts in arrays.items() for name, array in parts]
    key, name, first = every[0]
    for other_key, other_name, other in every[1:]:
        same = other.dims == first.dims and all(
            other.sizes[d] == first.sizes[d] and _equal(other[d].to_numpy(), first[d].to_numpy())
            for d in first.dims[1:]
        )
        if not same:
            raise LevyError(
                f"different grids: {_grid(first)} for {key!r} in {name}, but {_grid(other)} for {other_key!r} in {other_name}: "
                "all variables and files must lie on one grid, so interpolate or remove one"
            )
    for parts in arrays.values():  # equal but for rounding: they must be one to be joined
        parts[:] = [(n, a.assign_coords({d: first[d] for d in first.dims[1:]})) for n, a in parts]


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.array_equal(a, b) if a.dtype.kind == "U" else np.allclose(a, b, rtol=0, atol=1e-4))


def _grid(array: xr.DataArray) -> str:
    if "place" in array.dims:
        return f"{array.sizes['place']} places"
    latitude, longitude = array.latitude.to_numpy(), array.longitude.to_numpy()
    ends = f"{latitude[0]:g} to {latitude[-1]:g} and {longitude[0]:g} to {longitude[-1]:g}"
    return f"{len(latitude)} x {len(longitude)} cells from {ends} degrees"
