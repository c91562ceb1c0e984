"""From a folder of sources to one lazy data set: the wanted variables, in the wanted units, on one grid and one time axis."""

from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.base.rows import to_runs
from levy_core.datasets.fields import intervals
from levy_core.datasets.fields.axes import CHUNK_BYTES, at_level, canonical, own_dimensions, pressure_axis
from levy_core.datasets.fields.config import RUNNING, FieldsConfig, Variable
from levy_core.datasets.fields.curved import find_mapping
from levy_core.datasets.fields.dimensions import Selection
from levy_core.datasets.fields.fill import mask_declared, type_fill
from levy_core.datasets.fields.joining import Part, join_parts, on_one_axis, on_one_grid
from levy_core.datasets.fields.sources import expand, find, open_files, open_source
from levy_core.datasets.fields.timeline import source_at, starts
from levy_core.datasets.fields.units import conversion, suited_name


@dataclass(frozen=True)
class LazyFields:
    """Lazy fields.

    Attributes:
        folder, config: from which they were opened.
        data: one variable per channel, on (time, latitude, longitude), of curved grids (time, y, x), or (time, place), of members (time, member, ...); attributes are the source's, ``units`` as wanted.
        parts: of each channel the first time and the source of each of its parts, in order of time.
        running: the channels made of totals since 00 UTC.
        rows: of the folder's times those that are taken, int64 [N] (``take``); None: all.
    """

    folder: Path
    config: FieldsConfig
    data: xr.Dataset
    parts: dict[str, list[tuple[object, str]]]
    running: frozenset[str]
    rows: np.ndarray | None = None

    def __reduce__(self) -> tuple[object, tuple[Path, FieldsConfig, np.ndarray | None]]:
        """Another process opens the folder itself: open files and GRIB's index are not sent."""
        return open_rows, (self.folder.absolute(), self.config, self.rows)

    def take(self, rows: np.ndarray) -> "LazyFields":
        """The fields of some of all times, by their rows int64 [n], one after the other."""
        runs = [self.data.isel(time=run) for run in to_runs(rows)]
        data = xr.concat(
            runs, "time", data_vars="minimal", coords="minimal", compat="override", join="override", combine_attrs="override"
        )  # fmt: skip
        return replace(self, data=data, rows=rows)

    def source(self, key: str, time: object) -> str:
        """The source that a channel's field at some time comes from."""
        return source_at(self.parts[key], time)


def open_fields(folder: Path, config: FieldsConfig) -> xr.Dataset:
    """The fields of a data set, lazily: metadata are read and checked, no field is.

    Returns:
        One variable per channel (named ``Variable.key``), float64 in ``Variable.units``, on (time, latitude, longitude), from north
        to south and eastwards, (time, y, x) of curved grids as they are, or (time, place); with ``config.members`` on (time, member, ...).

    Raises:
        LevyError: no source, an unreadable one, an unknown variable, level or unit, different grids, calendars or times,
            irregular times, or a box or period outside the data.
    """
    return open_parts(folder, config).data


@open_files()
def open_parts(folder: Path, config: FieldsConfig, chunk_bytes: int = CHUNK_BYTES) -> LazyFields:
    """``open_fields`` with the source of every field, in dask chunks of ``chunk_bytes`` (at least one field)."""
    names, static = find(folder), static_sources(folder, config)
    parts: dict[str, list[Part]] = {v.key: [] for v in config.variables}
    standard_names: dict[str, str] = {}
    selection = Selection(config.select, config.members)
    for name in names:
        datasets = open_source(name)
        if config.static and name in static:
            datasets = [_without(d, config.static.variables) for d in datasets]
        standard_names |= {
            str(k): str(v.attrs.get("standard_name", "")) for d in datasets for k, v in d.data_vars.items()
        }
        for variable in config.variables:
            array = choose_variable(datasets, variable, name)
            if array is None:
                continue
            where = f"{name}: variable {variable.name!r}"
            chosen = selection.of(variable.key, array, own_dimensions(array, where), where)
            if chosen:
                bounds = intervals.find_bounds(datasets, chosen[0], where)
                parts[variable.key].append(
                    _part(chosen, bounds, find_mapping(datasets, chosen[0]), variable, config, name, chunk_bytes)
                )
    selection.check([key for key, own in parts.items() if not own])
    for variable in config.variables:
        if not parts[variable.key]:
            held = ", ".join(f"{k} ({s})" if s else k for k, s in sorted(standard_names.items()))
            raise LevyError(f"{folder} has no variable {variable.name!r}: there are {held}")
    parts = on_one_grid(parts)
    data = on_one_axis({key: join_parts(key, own, config) for key, own in parts.items()}, config)
    begun = {key: starts([(p.source, p.array) for p in own]) for key, own in parts.items()}
    running = frozenset(key for key, own in parts.items() if own[0].variable.accumulated == RUNNING)
    return LazyFields(folder, config, data, begun, running)


def open_rows(
    folder: Path, config: FieldsConfig, rows: np.ndarray | None, chunk_bytes: int = CHUNK_BYTES
) -> LazyFields:
    """``open_parts``, of which some times are taken."""
    fields = open_parts(folder, config, chunk_bytes)
    return fields if rows is None else fields.take(rows)


def static_sources(folder: Path, config: FieldsConfig) -> list[str]:
    """The sources of the fields that are the same at all times.

    Raises:
        LevyError: there are none where such fields are asked for.
    """
    return expand(config.static.files, folder, "`files` of `static`") if config.static else []


def _without(data: xr.Dataset, names: tuple[str, ...]) -> xr.Dataset:
    """Without fields of the surface that a variable at pressure levels may share its name with, such as z."""
    return data.drop_vars([k for k, v in data.data_vars.items() if {k, v.attrs.get("standard_name")} & {*names}])


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


def _part(
    chosen: list[xr.DataArray],
    bounds: np.ndarray | None,
    mapping: dict[str, Any],
    variable: Variable,
    config: FieldsConfig,
    name: str,
    chunk_bytes: int,
) -> Part:
    """What a source has of a variable, on our axes and in the wanted units; in each cell the first of ``chosen`` that is not missing."""
    array = chosen[0]
    where = f"{name}: variable {variable.name!r}"
    said = intervals.complete(variable, array, bounds, where)
    convert = conversion(said, array.attrs.get("units"), name, str(array.attrs.get("standard_name", "")))
    if config.resample is not None:
        intervals.check_stamped(said, array, where)
    levels = (at_level(each, variable.level, where) for each in chosen)
    fields = [canonical(each, config.box, config.members, mapping, where, chunk_bytes) for each in levels]
    field = reduce(xr.DataArray.combine_first, (each.copy(data=mask_declared(array, each.data)) for each in fields))
    described = {**fields[0].attrs, "units": variable.units}
    if "standard_name" in described:
        described["standard_name"] = suited_name(described["standard_name"], said, array.attrs.get("units"))
    kept = {k: v for k, v in described.items() if v is not None}
    converted = xr.DataArray(convert(field.data), field.coords, field.dims, attrs=kept)
    return Part(name, converted, said, convert, type_fill(array))
