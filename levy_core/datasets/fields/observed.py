"""Observed values of fields, in physical units, as a model of standardised anomalies sees them."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.base.observed import Behind, Observed, Reported
from levy_core.base.samples import Samples
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import Variable
from levy_core.datasets.fields.fill import HUGE
from levy_core.datasets.fields.named_places import NamedPlaces
from levy_core.datasets.fields.physical import physical, transform
from levy_core.datasets.fields.placing import Grid, grid_of
from levy_core.datasets.fields.plausible import find_beyond
from levy_core.datasets.fields.reported import Values, place_stations, read_grid, read_table
from levy_core.datasets.fields.sources import open_files, open_source
from levy_core.datasets.fields.timeline import say
from levy_core.datasets.fields.times import label_of, moment_of, read_moment

EXACT = {"": 0.0}  # the std of what is true


@open_files()
def read_observed(
    path: Path, codec: Codec, samples: Samples, std: Mapping[str, float], means: bool = False, time: str | None = None
) -> Observed:
    """Observed values from a file on the model's grid (NetCDF, GRIB, zarr; NaN is not observed), or from a CSV table of stations.

    Args:
        std, time: as of ``observe_grid``. A table may have a column ``std`` instead.
        means: the file has a coarser grid, of whose cells each is the mean over whole cells of the model's, weighted by area.

    Raises:
        LevyError: another grid, box, variable, unit or time than the model knows, values that are impossible or missing, no std.
    """
    if not path.exists():
        raise LevyError(f"{path}: there is no such file of observations")
    if path.suffix.lower() != ".csv":
        return observe_grid(open_source(str(path)), str(path), codec, samples, std, means, time)
    if means:
        raise LevyError(
            f"{path} is a table of stations, which are points and no means over coarse cells: give a file on a coarse grid"
        )
    table = read_table(path)
    return observe_stations(
        table, [f"{path}: line {line + 2}" for line in table.index], str(path), codec, samples, std, time
    )


@open_files()
def read_truth(path: Path, codec: Codec, samples: Samples, moment: Any) -> Observed:
    """True values at an observed moment, None where fields have none, from a file as of ``read_observed``.

    Raises:
        LevyError: as ``read_observed``; the file is of another time.
    """
    time = None if moment is None else str(moment)
    if path.suffix.lower() == ".csv" or not path.exists():
        return read_observed(path, codec, samples, EXACT, time=time)
    where = str(path)
    found, said = read_grid(open_source(where), where, codec, _grid_of(codec, EXACT, where), EXACT, False, time)
    if moment is not None and said is not None and read_moment(say(said), codec.calendar) != moment:
        raise LevyError(
            f"{where} is of {say(said)}, but what was observed is of {say(moment)}: give the truth of that time"
        )
    return _assemble(found, where, codec, samples, moment)


def observe_grid(
    datasets: list[xr.Dataset],
    where: str,
    codec: Codec,
    samples: Samples,
    std: Mapping[str, float],
    means: bool = False,
    time: str | None = None,
) -> Observed:
    """Observed values of a source's data sets; ``where`` they come from, for messages.

    Args:
        std: standard deviation of the values' errors in their units, by variable; ``""`` stands for all others.
        time: the moment that was observed, where the data sets do not say it and the model needs it (a climatology or seasons).

    Raises:
        LevyError: as ``read_observed``.
    """
    grid = _grid_of(codec, std, where)
    found, said = read_grid(datasets, where, codec, grid, std, means, time)
    return _assemble(found, where, codec, samples, moment_of(where, codec, samples, time, said))


def observe_stations(
    table: pd.DataFrame,
    names: Sequence[str],
    where: str,
    codec: Codec,
    samples: Samples,
    std: Mapping[str, float],
    time: str | None = None,
) -> Observed:
    """Observed values at places: a table with the columns ``COLUMNS`` and perhaps ``std``, in the model's units; ``names`` of its rows, for messages.

    Raises:
        LevyError: as ``read_observed``.
    """
    found = place_stations(table, names, where, codec, _grid_of(codec, std, where), std)
    return _assemble(found, where, codec, samples, moment_of(where, codec, samples, time, None), points=True)


def _grid_of(codec: Codec, std: Mapping[str, float], where: str) -> Grid | NamedPlaces:
    if unknown := sorted(set(std) - {"", *codec.names, *(v.name for v in codec.variables)}):
        raise LevyError(f"std is given of {', '.join(unknown)}, but the model has {', '.join(codec.names)}")
    return grid_of(codec, where)


def _assemble(
    found: Mapping[int, Values], where: str, codec: Codec, samples: Samples, moment: Any, points: bool = False
) -> Observed:
    """Values by channel as the network sees samples; ``points``: between cells."""
    codec = codec.of_moment(moment)
    cycle = np.zeros(codec.shape) if codec.climatology is None else codec.climatology.at(np.array([moment]))[0]
    rows = {c: standardise(where, codec, c, cycle[c], own) for c, own in found.items()}
    width = max(part.cells.shape[1] for part in rows.values())
    pad = lambda values: np.pad(values, ((0, 0), (0, width - values.shape[1])))  # weights of 0 for cell 0
    join = lambda parts: np.concatenate([pad(part.weights) for part in parts.values()])
    size = codec.shape[1] * codec.shape[2]
    counts = ", ".join(f"{len(part.values)} values of {codec.names[c]}" for c, part in rows.items())
    cells = np.concatenate([pad(part.cells) + c * size for c, part in rows.items()])
    weights = join(found)
    channels = np.repeat(np.array(list(found)), [len(part.values) for part in found.values()])
    return Observed(
        cells,
        join(rows),
        np.concatenate([part.values for part in rows.values()]),
        np.concatenate([part.std for part in rows.values()]),
        label_of(samples, moment, where),
        moment,
        counts + (f" at {say(moment)}" if moment is not None else ""),
        Reported(
            np.concatenate([part.values for part in found.values()]),
            np.concatenate([part.std for part in found.values()]),
            channels,
            tuple((v.key, v.units) for v in codec.variables),
            lambda x: codec.decode(x, None if moment is None else np.full(len(x), moment)),
            weights=weights,
        ),
        look_behind(codec, cycle, channels, cells, weights, points),
    )


def look_behind(
    codec: Codec, cycle: np.ndarray, channels: np.ndarray, cells: np.ndarray, weights: np.ndarray, points: bool = False
) -> Behind | None:
    """What leads from cells as the network sees them to their means in the variables' units, and from these to what the network sees.

    Args:
        cycle: of the fields' time, [C, H, W]. channels: of each value, int64 [rows]. cells: of a flattened sample, [rows, k].
        weights: of the means in units, [rows, k].

    Returns:
        What goes with the weights of ``weigh``; None where all values are linear in what the network sees: single cells, and variables
        without a transform.
    """
    several = (weights != 0).sum(1) > 1
    parts = {
        c: channels == c
        for c in np.unique(channels)
        if not codec.variables[c].is_linear and several[channels == c].any()
    }
    if not parts:
        return None
    mean, std = codec.moments(channels, cells)
    seen, scale = weigh(weights, std)
    offsets = np.where(weights != 0, np.nan_to_num(cycle).reshape(-1)[cells], 0.0) + mean
    heavier = 1.0 if seen is weights else scale[:, None] / std  # the weights in units

    def inside(cells: np.ndarray) -> np.ndarray:
        values = cells * std + offsets
        for c, own in parts.items():
            values[:, own] = physical(codec.variables[c], values[:, own])
        return values * heavier

    def outside(means: np.ndarray) -> np.ndarray:
        values = means.copy()
        for c, own in parts.items():
            values[:, own] = _through(codec.variables[c], values[:, own], several[own])
        return (values - (weights * offsets).sum(1)) / scale

    rows = np.isin(channels, list(parts))
    return Behind(inside, outside, rows, offsets / std, points)


def weigh(weights: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of cells in a mean as the network sees them, and the standard deviation that values of such means are divided by [rows]:
    ``sum_j w_j std_j x_j = scale sum_j w'_j x_j``, where w' sum to 1 as w do.

    Args:
        weights: in units, [rows, k]. std: of ``Codec.moments``.
    """
    if std.shape[1] == 1:
        return weights, std[:, 0]
    scale = (weights * std).sum(1)
    return weights * std / scale[:, None], scale


def standardise(where: str, codec: Codec, c: int, cycle: np.ndarray, rows: Values) -> Values:
    """Values of a variable, in its units, as a model sees samples: transformed, less the cycle [H, W] of their time; weights as of ``weigh``.

    Errors go through the slope of the transform.

    Raises:
        LevyError: cells without values, values below the variable's minimum, an impossible value or std.
    """
    variable = codec.variables[c]
    gone = ~codec.valid[c].reshape(-1)[rows.cells] & (rows.weights > 0)
    if gone.any():
        raise LevyError(
            f"{where}: {variable.key} is observed in {int(gone.any(1).sum())} places where the model's fields have no values"
        )
    if variable.minimum is not None and (rows.values < variable.minimum).any():
        raise LevyError(
            f"{where}: {variable.key} has {rows.values.min():g} {variable.units}, but its minimum is {variable.minimum:g}"
        )
    for value in (rows.values.min(), rows.values.max()):
        attributes = codec.attributes[c] if codec.attributes else {}
        beyond = find_beyond(float(value), variable.units, variable.name, attributes, variable.level)
        if beyond is not None:
            raise LevyError(
                f"{where}: {variable.key} has {value:g} {variable.units}, beyond what {beyond.names.split()[0]} is anywhere, {beyond.low:g} to "
                f"{beyond.high:g} {beyond.units}; look at the value and its unit"
            )
    if not ((rows.std >= 0) & (rows.std < HUGE)).all():
        wrong = rows.std[~((rows.std >= 0) & (rows.std < HUGE))][0]
        raise LevyError(f"{where}: the std of {variable.key} is {wrong:g}, but must be from 0 to {HUGE:g}")
    through = partial(_through, variable, several=(rows.weights != 0).sum(1) > 1)
    mean, std = codec.moments(np.full(len(rows.values), c), rows.cells + c * codec.valid[c].size)
    weights, scale = weigh(rows.weights, std)
    expected = (np.where(rows.weights != 0, cycle.reshape(-1)[rows.cells] + mean, 0.0) * rows.weights).sum(1)
    low = rows.values - rows.std if variable.minimum is None else np.maximum(rows.values - rows.std, variable.minimum)
    spread = through(rows.values + rows.std) - through(low)
    reach = rows.values + rows.std - low
    slope = np.divide(spread, reach, out=np.ones(len(reach)), where=reach > 0)
    return Values(rows.cells, weights, (through(rows.values) - expected) / scale, slope * rows.std / scale)


def _through(variable: Variable, values: np.ndarray, several: np.ndarray) -> np.ndarray:
    """Observed values [..., rows] through the transform; a mean of ``several`` cells at the minimum is just at it: all that lies lower gives it, too."""
    if variable.minimum is not None:
        values = np.where(several & (values <= variable.minimum), np.nextafter(variable.minimum, np.inf), values)
    return transform((variable,), values.reshape(-1, 1))[:, 0].reshape(values.shape)
