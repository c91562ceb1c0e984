"""Observed values in the units of people: of data sets on a grid, and of tables of stations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import Variable
from levy_core.datasets.fields.fill import looks_like_fill
from levy_core.datasets.fields.named_places import NamedPlaces
from levy_core.datasets.fields.opening import choose_variable
from levy_core.datasets.fields.placing import Grid
from levy_core.datasets.fields.units import conversion_from

COLUMNS = ("variable", "latitude", "longitude", "value")
OF_PLACES = ("variable", "place", "value")  # of models of places, whose names say where they are


@dataclass(frozen=True)
class Values:
    """Values of one variable in its units: cells int64 [n, k] of a field, weights [n, k], values and std float64 [n]."""

    cells: np.ndarray
    weights: np.ndarray
    values: np.ndarray
    std: np.ndarray


def read_grid(
    datasets: list[xr.Dataset],
    source: str,
    codec: Codec,
    grid: Grid | NamedPlaces,
    std: Mapping[str, float],
    means: bool,
    time: str | None,
) -> tuple[dict[int, Values], Any]:
    """Values by channel, and their time, None where the data sets have none; ``source`` they come from, for messages.

    Raises:
        LevyError: none of the model's variables, another grid or unit, no std, or several fields of which none was chosen.
    """
    found, moment = {}, None
    for c, variable in enumerate(codec.variables):
        array = choose_variable(datasets, variable, source)
        if array is None:
            continue
        where = f"{source}: variable {variable.name!r}"
        array, moment = _at_time(array, where, time)
        space = grid.dimensions(array, where)
        array = array.squeeze([name for name in array.dims if array.sizes[name] == 1 and name not in space], drop=True)
        if left := set(array.dims) - set(space):
            named = ", ".join(f"{array.sizes[name]} entries along {name}" for name in sorted(map(str, left)))
            raise LevyError(f"{where} has {named}: choose one of them, so that a single field is left")
        array = array.transpose(*space)
        values = array.to_numpy()
        _refuse_fill(values.reshape(-1), where)
        values = conversion_from(str(array.attrs.get("units", "")), variable.units, where)(values)
        cells, weights = grid.of_array(array, where, means)
        seen = ~np.isnan(values).reshape(-1)
        error = np.full(int(seen.sum()), _std_of(std, variable, source))
        found[c] = Values(cells[seen], weights[seen], values.reshape(-1)[seen], error)
    if not any(len(part.values) for part in found.values()):
        held = ", ".join(sorted(str(name) for data in datasets for name in data.data_vars))
        raise LevyError(
            f"{source} has no observed value of {' or '.join(codec.names)} (it has {held or 'nothing'}): values are expected under "
            "these names, NaN where nothing was observed"
        )
    return {c: part for c, part in found.items() if len(part.values)}, moment


def read_table(path: Path) -> pd.DataFrame:
    """A CSV file's columns ``COLUMNS`` or ``OF_PLACES``, or all of them, and perhaps ``std``: finite numbers but for variable and place.

    Raises:
        LevyError: it is no such table.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise LevyError(f"{path} is no table of comma-separated values ({str(error).strip()})") from error
    columns = OF_PLACES if "place" in table else COLUMNS
    if missing := [name for name in columns if name not in table]:
        raise LevyError(
            f"{path} has no column {', '.join(missing)}: {', '.join(COLUMNS)} are expected, or for a model of places {', '.join(OF_PLACES)}, "
            "and perhaps std"
        )
    numbers = (
        table[[name for name in (*COLUMNS[1:], "std") if name in table]]
        .apply(pd.to_numeric, errors="coerce")
        .astype(float)
    )
    if bad := numbers.index[~np.isfinite(numbers).all(axis=1)].tolist():
        raise LevyError(f"{path}: line {bad[0] + 2} has no finite number for each of {', '.join(numbers.columns)}")
    if not len(table):
        raise LevyError(f"{path} has no line of values")
    return numbers.assign(**{name: table[name] for name in ("variable", "place") if name in table})


def place_stations(
    table: pd.DataFrame,
    names: Sequence[str],
    where: str,
    codec: Codec,
    grid: Grid | NamedPlaces,
    std: Mapping[str, float],
) -> dict[int, Values]:
    """Values by channel of a table as ``read_table`` gives it; ``names`` of its rows, for messages.

    Raises:
        LevyError: an unknown variable, a place outside the model's fields, a value that stands for none, no std.
    """
    found = {}
    for name, own in table.groupby("variable", sort=False):
        if name not in codec.names:
            raise LevyError(f"{where}: unknown variable {name!r}: the model has {', '.join(codec.names)}")
        c = codec.names.index(str(name))
        values = own["value"].to_numpy(dtype=np.float64)
        _refuse_fill(values, f"{where}: variable {name!r}")
        cells, weights = grid.find(own, [names[row] for row in own.index])
        gone = (~codec.valid[c].reshape(-1)[cells] & (weights > 0)).any(1)  # as on a coast: there, the nearest cell
        weights = np.where(gone[:, None], np.arange(weights.shape[1]) == weights.argmax(1)[:, None], weights)
        spread = own["std"].to_numpy() if "std" in own else np.full(len(own), _std_of(std, codec.variables[c], where))
        found[c] = Values(cells, weights, values, spread.astype(np.float64))
    return found


def _refuse_fill(values: np.ndarray, where: str) -> None:
    """Refuses values [n] as a file has them, NaN where nothing was observed, that are infinite or stand for none without saying so."""
    known = values[~np.isnan(values)].astype(np.float64)
    for value in (known.min(initial=0), known.max(initial=0)):
        if looks_like_fill(float(value)):
            raise LevyError(
                f"{where} has the value {value:g}, which looks like a fill value that the file does not declare: write NaN where nothing "
                "was observed"
            )


def _at_time(array: xr.DataArray, where: str, time: str | None) -> tuple[xr.DataArray, Any]:
    """The field of one moment, and that moment; None where the file does not say it."""
    name = next((str(k) for k in array.coords if array[k].dtype.kind == "M" or k in ("time", "valid_time")), None)
    if name is None:
        return array, None
    if array[name].size > 1:
        if time is None:
            raise LevyError(f"{where} has {array[name].size} times: say which one was observed (time)")
        try:
            array = array.sel({name: time})
        except (KeyError, ValueError) as error:
            raise LevyError(f"{where} has no time {time}") from error
        if array[name].size != 1:
            raise LevyError(f"{where} has {array[name].size} times at {time}: say the hour, too")
    return array, np.ravel(array[name].to_numpy())[0]


def _std_of(std: Mapping[str, float], variable: Variable, where: str) -> float:
    for name in (variable.key, variable.name, ""):
        if name in std:
            return float(std[name])
    raise LevyError(
        f"{where}: no std of the observed values of {variable.key}: say how far they may be from the truth, in {variable.units}, such as "
        f"std {variable.key}=0.5, or 0 for values that samples must have exactly"
    )
