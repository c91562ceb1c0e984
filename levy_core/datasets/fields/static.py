"""Fields that are the same at all times, such as orography and the land-sea mask: what a network is told of each cell of a sample."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.base.tensors import read_tensors, write_tensors
from levy_core.datasets.fields.axes import canonical, has_time, own_dimensions
from levy_core.datasets.fields.config import Variable
from levy_core.datasets.fields.curved import find_mapping
from levy_core.datasets.fields.dimensions import Selection
from levy_core.datasets.fields.fill import looks_like_fill, mask_declared
from levy_core.datasets.fields.joining import fit_grid
from levy_core.datasets.fields.opening import LazyFields, choose_variable, static_sources
from levy_core.datasets.fields.sources import open_files, open_source

TENSORS = "static.safetensors"
ANY = np.datetime64("1970-01-01", "ns")  # the time of a field without one


@dataclass(frozen=True, eq=False)
class StaticField:
    """One field in its source's units.

    Args:
        values: float64 [H, W], NaN where missing; of places [1, W].
    """

    name: str
    values: np.ndarray

    @property
    def standardised(self) -> np.ndarray:
        """Mean 0 and standard deviation 1 over the cells that have values, float32 [H, W]; 0, the mean, where missing."""
        anomalies = self.values - np.nanmean(self.values)
        return np.nan_to_num(anomalies / np.nanstd(self.values)).astype(np.float32)

    @property
    def statistics(self) -> dict[str, object]:
        """Its name, numbers of the cells that have values, in the source's units, and how many have none."""
        known = self.values[~np.isnan(self.values)]
        found = {"mean": known.mean(), "std": known.std(), "min": known.min(), "max": known.max()}
        numbers = {name: float(value) for name, value in found.items()}
        return {"name": self.name, **numbers, "missing": self.values.size - known.size}


@open_files()
def read_static(fields: LazyFields) -> list[StaticField]:
    """What ``FieldsConfig.static`` asks for, on the grid of the fields, in its order; none where it asks for nothing.

    Raises:
        LevyError: no such file or variable, or one that is there twice; another grid; values that change in time, are all missing, are the
            same everywhere, or look like an undeclared fill value.
    """
    static = fields.config.static
    if static is None:
        return []
    found: dict[str, tuple[str, xr.DataArray]] = {}
    held: set[str] = set()
    for source in static_sources(fields.folder, fields.config):
        datasets = open_source(source)
        held |= {str(name) for data in datasets for name in data.data_vars}
        for name in static.variables:
            array = choose_variable(datasets, Variable(name, ""), source)
            if array is None:
                continue
            if name in found:
                raise LevyError(
                    f"static variable {name!r} is in {found[name][0]} and in {source}: name one of them in `files` of `static`"
                )
            found[name] = source, _on_grid(fields, array, find_mapping(datasets, array), f"{name!r} in {source}")
    if lacking := [name for name in static.variables if name not in found]:
        raise LevyError(
            f"{static.files} in {fields.folder} has no variable {lacking[0]!r} for `static`: there are {', '.join(sorted(held))}"
        )
    return [_read(name, *found[name]) for name in static.variables]


def write_static(static: list[StaticField], folder: Path) -> None:
    """Writes the standardised fields, where there are any."""
    if static:
        write_tensors(folder / TENSORS, {field.name: torch.from_numpy(field.standardised) for field in static})


def load_static(folder: Path, names: Sequence[str]) -> np.ndarray:
    """What ``write_static`` wrote, float32 [K, H, W] in the order of the names.

    Raises:
        LevyError: it is missing, damaged, or of other variables.
    """
    tensors = read_tensors(folder / TENSORS)
    if {*tensors} != {*names}:
        raise LevyError(
            f"{folder / TENSORS} holds {', '.join(sorted(tensors))}, but {', '.join(names)} are expected: run the prepare stage again"
        )
    return np.stack([tensors[name].numpy() for name in names])


def _on_grid(fields: LazyFields, array: xr.DataArray, mapping: dict, where: str) -> xr.DataArray:
    """The variable on (time, ...) of the fields' grid, lazily."""
    key, first = next(iter(fields.data.data_vars.items()))
    where_first = f"{key!r} in {fields.source(str(key), fields.data.time[0].to_numpy())}"
    if not has_time(array):
        array = array.assign_coords(moment=ANY)
    config, said = fields.config, f"static variable {where}"
    selection = Selection({k: v for k, v in config.select.items() if k in array.dims}, None)
    chosen = selection.of(str(array.name), array, own_dimensions(array, said), said)
    selection.check([] if chosen else [str(array.name)])
    field = canonical(chosen[0], config.box, None, mapping, said)
    field = field.copy(data=mask_declared(array, field.data))
    return fit_grid(field, where, first.isel(member=0, drop=True) if "member" in first.dims else first, where_first)


def _read(name: str, source: str, array: xr.DataArray) -> StaticField:
    """The one field of an array (time, ...), whose first and last must be the same."""
    values, last = (np.atleast_2d(array[i].data.compute(scheduler="synchronous")).astype(np.float64) for i in (0, -1))
    where, known = f"{source}: static variable {name!r}", np.isfinite(values)
    if not known.any():
        raise LevyError(
            f"{where} has no value in any cell of the fields: take a file that has values there, or leave it out"
        )
    if not np.array_equal(values, last, equal_nan=True):
        raise LevyError(
            f"{where} has {len(array)} times, of which the first and the last differ: what changes in time belongs to `variables` of the data set"
        )
    low, high = values[known].min(), values[known].max()
    for extreme in (low, high):
        if looks_like_fill(extreme):
            raise LevyError(
                f"{where} has the value {extreme:g}, which looks like a fill value that the file does not declare: set its attribute "
                f"_FillValue (ncatted -a _FillValue,{name},o,f,{extreme:g} FILE)"
            )
    if low == high:
        raise LevyError(f"{where} is {low:g} in all cells of the fields, which tells a network nothing: leave it out")
    return StaticField(name, np.where(known, values, np.nan))
