"""Observed values of fields from files, in physical units, as a model of standardised anomalies sees them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cf_xarray  # noqa: F401  (the accessor .cf)
import numpy as np
import pandas as pd
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.base.observed import Observed
from levy_core.base.samples import Samples
from levy_core.datasets.fields.codec import Codec, transform
from levy_core.datasets.fields.config import Variable
from levy_core.datasets.fields.fill import looks_like_fill
from levy_core.datasets.fields.opening import choose_variable
from levy_core.datasets.fields.placing import Grid
from levy_core.datasets.fields.sources import open_source
from levy_core.datasets.fields.timeline import say
from levy_core.datasets.fields.times import label_of, read_moment
from levy_core.datasets.fields.units import conversion

COLUMNS = ("variable", "latitude", "longitude", "value")


@dataclass(frozen=True)
class _Rows:
    """Values of one variable in its units: cells int64 [n, k] of a field, weights [n, k], values and std float64 [n]."""

    cells: np.ndarray
    weights: np.ndarray
    values: np.ndarray
    std: np.ndarray


def read_observed(
    path: Path, codec: Codec, samples: Samples, std: Mapping[str, float], means: bool = False, time: str | None = None
) -> Observed:
    """Observed values from a file on the model's grid (NetCDF, GRIB, zarr; NaN is not observed), or from a CSV table of stations.

    Args:
        std: standard deviation of the values' errors in their units, by variable; ``""`` stands for all others. A table may have
            a column ``std`` instead.
        means: the file has a coarser grid, of whose cells each is the mean over whole cells of the model's, weighted by area.
        time: the moment that was observed, where the file does not say it and the model needs it (a climatology or seasons).

    Raises:
        LevyError: another grid, box, variable, unit or time than the model knows, values that are impossible or missing, no std.
    """
    if codec.latitude is None or codec.longitude is None or codec.latitude.ndim == 2:
        raise LevyError(
            f"{path}: the model's fields lie on no grid of rows of one latitude and columns of one longitude, so nothing can be placed on them"
        )
    if not path.exists():
        raise LevyError(f"{path}: there is no such file of observations")
    if unknown := sorted(set(std) - {"", *codec.names, *(v.name for v in codec.variables)}):
        raise LevyError(f"std is given of {', '.join(unknown)}, but the model has {', '.join(codec.names)}")
    grid = Grid(codec.latitude, codec.longitude, codec.wraps)
    table = path.suffix.lower() == ".csv"
    if table and means:
        raise LevyError(
            f"{path} is a table of stations, which are points and no means over coarse cells: give a file on a coarse grid"
        )
    found, said = _read_table(path, codec, grid, std) if table else _read_grid(path, codec, grid, std, means, time)
    moment = _moment(path, codec, samples, time, said)
    cycle = np.zeros(codec.shape) if codec.climatology is None else codec.climatology.at(np.array([moment]))[0]
    rows = {c: _standardise(path, codec, c, cycle[c], own) for c, own in found.items()}
    width = max(part.cells.shape[1] for part in rows.values())
    pad = lambda values: np.pad(values, ((0, 0), (0, width - values.shape[1])))  # weights of 0 for cell 0
    size = codec.shape[1] * codec.shape[2]
    counts = ", ".join(f"{len(part.values)} values of {codec.names[c]}" for c, part in rows.items())
    return Observed(
        np.concatenate([pad(part.cells) + c * size for c, part in rows.items()]),
        np.concatenate([pad(part.weights) for part in rows.values()]),
        np.concatenate([part.values for part in rows.values()]),
        np.concatenate([part.std for part in rows.values()]),
        label_of(samples, moment, str(path)),
        moment,
        counts + (f" at {say(moment)}" if moment is not None else ""),
    )


def _read_grid(
    path: Path, codec: Codec, grid: Grid, std: Mapping[str, float], means: bool, time: str | None
) -> tuple[dict[int, _Rows], Any]:
    """Values by channel, and the file's time; None where it has none."""
    datasets, found, moment = open_source(str(path)), {}, None
    for c, variable in enumerate(codec.variables):
        array = choose_variable(datasets, variable, str(path))
        if array is None:
            continue
        where = f"{path}: variable {variable.name!r}"
        array, moment = _at_time(array, where, time)
        latitude, longitude = (_axis(array, name, where) for name in ("latitude", "longitude"))
        if left := set(array.dims) - {*latitude.dims, *longitude.dims}:
            named = ", ".join(f"{array.sizes[name]} entries along {name}" for name in sorted(map(str, left)))
            raise LevyError(f"{where} has {named}: choose one of them, so that a single field is left")
        values = array.transpose(*latitude.dims, *longitude.dims).to_numpy()
        plain = replace(variable, accumulated=None, stamped=None, source_units=None)
        standard_name = str(array.attrs.get("standard_name", ""))
        _refuse_fill(values.reshape(-1), where)
        values = conversion(plain, array.attrs.get("units"), str(path), standard_name)(values)
        place = grid.blocks if means else grid.cells
        cells, weights = place(latitude.to_numpy(), longitude.to_numpy(), where)
        seen = ~np.isnan(values).reshape(-1)
        error = np.full(int(seen.sum()), _std_of(std, variable, str(path)))
        found[c] = _Rows(cells[seen], weights[seen], values.reshape(-1)[seen], error)
    if not any(len(part.values) for part in found.values()):
        held = ", ".join(sorted(str(name) for data in datasets for name in data.data_vars))
        raise LevyError(
            f"{path} has no observed value of {' or '.join(codec.names)} (it has {held or 'nothing'}): values are expected under "
            "these names, NaN where nothing was observed"
        )
    return {c: part for c, part in found.items() if len(part.values)}, moment


def _read_table(path: Path, codec: Codec, grid: Grid, std: Mapping[str, float]) -> tuple[dict[int, _Rows], None]:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise LevyError(f"{path} is no table of comma-separated values ({str(error).strip()})") from error
    if missing := [name for name in COLUMNS if name not in table]:
        raise LevyError(
            f"{path} has no column {', '.join(missing)}: {', '.join(COLUMNS)} are expected, and perhaps std"
        )
    numbers = (
        table[[name for name in (*COLUMNS[1:], "std") if name in table]]
        .apply(pd.to_numeric, errors="coerce")
        .astype(float)
    )
    if bad := numbers.index[~np.isfinite(numbers).all(axis=1)].tolist():
        raise LevyError(f"{path}: line {bad[0] + 2} has no finite number for each of {', '.join(numbers.columns)}")
    found = {}
    for name, own in table.groupby("variable", sort=False):
        if name not in codec.names:
            raise LevyError(f"{path}: unknown variable {name!r}: the model has {', '.join(codec.names)}")
        c = codec.names.index(str(name))
        rows = numbers.loc[own.index]
        _refuse_fill(rows["value"].to_numpy(), f"{path}: variable {name!r}")
        cells, weights = grid.points(
            rows.latitude.to_numpy(), rows.longitude.to_numpy(), [f"{path}: line {line + 2}" for line in own.index]
        )
        if codec.variables[c].transform != "identity":  # what lies between cells is no mean of what the network sees
            cells = cells[np.arange(len(cells)), weights.argmax(1)][:, None]
            weights = np.ones(cells.shape)
        spread = (
            rows["std"].to_numpy() if "std" in rows else np.full(len(rows), _std_of(std, codec.variables[c], str(path)))
        )
        found[c] = _Rows(cells, weights, rows["value"].to_numpy(dtype=np.float64), spread.astype(np.float64))
    if not found:
        raise LevyError(f"{path} has no line of values")
    return found, None


def _standardise(path: Path, codec: Codec, c: int, cycle: np.ndarray, rows: _Rows) -> _Rows:
    variable = codec.variables[c]
    gone = ~codec.valid[c].reshape(-1)[rows.cells] & (rows.weights > 0)
    if gone.any():
        raise LevyError(
            f"{path}: {variable.key} is observed in {int(gone.any(1).sum())} places where the model's fields have no values"
        )
    if variable.minimum is not None and (rows.values < variable.minimum).any():
        raise LevyError(
            f"{path}: {variable.key} has {rows.values.min():g} {variable.units}, but its minimum is {variable.minimum:g}"
        )
    if not (rows.std >= 0).all():
        raise LevyError(f"{path}: the std of {variable.key} is {rows.std.min():g}, but must be 0 or more")
    if rows.cells.shape[1] > 1 and variable.transform != "identity":
        raise LevyError(
            f"{path}: means over cells of {variable.key} are no means of what the network sees, its {variable.transform}: "
            "give values of single cells, or a model of the variable as it is"
        )
    through = lambda values: transform((variable,), values[:, None])[:, 0]
    expected = (cycle.reshape(-1)[rows.cells] * rows.weights).sum(1) + codec.mean[c]
    low = rows.values - rows.std if variable.minimum is None else np.maximum(rows.values - rows.std, variable.minimum)
    spread = through(rows.values + rows.std) - through(low)
    reach = rows.values + rows.std - low
    slope = np.divide(spread, reach, out=np.ones(len(reach)), where=reach > 0)
    return _Rows(
        rows.cells, rows.weights, (through(rows.values) - expected) / codec.std[c], slope * rows.std / codec.std[c]
    )


def _refuse_fill(values: np.ndarray, where: str) -> None:
    """Refuses values [n] as a file has them, NaN where nothing was observed, that are infinite or stand for none without saying so."""
    known = values[~np.isnan(values)].astype(np.float64)
    for value in (known.min(initial=0), known.max(initial=0)):
        if looks_like_fill(float(value)):
            raise LevyError(
                f"{where} has the value {value:g}, which looks like a fill value that the file does not declare: write NaN where nothing "
                "was observed"
            )


def _axis(array: xr.DataArray, name: str, where: str) -> xr.DataArray:
    try:
        axis = array.cf[name]
    except KeyError:
        axis = next((array[k] for k in (name, name[:3]) if k in array.coords), None)
    if axis is None or axis.ndim != 1:
        raise LevyError(
            f"{where} has no {name} along a dimension of its own: dimensions {', '.join(map(str, array.dims))}"
        )
    return axis


def _at_time(array: xr.DataArray, where: str, time: str | None) -> tuple[xr.DataArray, Any]:
    """The field of one moment, and that moment; None where the file does not say it."""
    name = next((str(k) for k in array.coords if array[k].dtype.kind == "M" or k in ("time", "valid_time")), None)
    if name is None:
        return array.squeeze(drop=True), None
    if array[name].size > 1:
        if time is None:
            raise LevyError(f"{where} has {array[name].size} times: say which one was observed (--time)")
        try:
            array = array.sel({name: time})
        except (KeyError, ValueError) as error:
            raise LevyError(f"{where} has no time {time}") from error
        if array[name].size != 1:
            raise LevyError(f"{where} has {array[name].size} times at {time}: say the hour, too")
    moment = np.ravel(array[name].to_numpy())[0]
    return array.squeeze(drop=True), moment


def _moment(path: Path, codec: Codec, samples: Samples, time: str | None, said: Any) -> Any:
    """The observed moment in the codec's calendar; None where nothing depends on it."""
    if codec.climatology is None and len(samples.classes) == 1:
        return None
    if time is None and said is None:
        raise LevyError(
            f"{path} does not say when it was observed, and the model's fields depend on the day of the year: say it (--time 2019-07-25T12)"
        )
    return read_moment(time if time is not None else say(said), codec.calendar)


def _std_of(std: Mapping[str, float], variable: Variable, where: str) -> float:
    for name in (variable.key, variable.name, ""):
        if name in std:
            return float(std[name])
    raise LevyError(
        f"{where}: no std of the observed values of {variable.key}: say how far they may be from the truth, in {variable.units}, such as "
        f"--std {variable.key}=0.5, or 0 for values that samples must have exactly"
    )
