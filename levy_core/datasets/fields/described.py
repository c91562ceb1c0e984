"""Observed values of fields as a request has them, in JSON: stations, or a data set in the words of ``xarray.Dataset.to_dict``."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.base.observed import Observed, read_std
from levy_core.base.samples import Samples
from levy_core.base.typed import array, mapping, real, text
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.observed import observe_grid, observe_stations
from levy_core.datasets.fields.reported import COLUMNS, OF_PLACES

WAYS = ("stations", "cells", "means")
KEYS = (*WAYS, "std", "time", "guide")  # the guide is whoever's who draws
TIMES = ("time", "valid_time")
PARTS = (
    "dims",
    "data",
    "attrs",
    "dtype",
    "shape",
    "encoding",
    "name",
)  # of an array in to_dict; the first three are read


def parse_observed(described: Mapping[str, Any], codec: Codec, samples: Samples) -> Observed:
    """What a request says of a sample.

    Args:
        described: one of ``stations`` (a list of objects with the keys ``COLUMNS`` or, of models of places, ``OF_PLACES``, and perhaps ``std``), ``cells`` and ``means`` (a data
            set as ``xarray.Dataset.to_dict`` writes it, null where nothing was observed), and perhaps ``std`` and ``time``.

    Raises:
        LevyError: another key or type; as ``read_observed`` of a file.
    """
    where = "observed"
    described = mapping(where, described, KEYS)
    ways = [name for name in WAYS if name in described]
    if len(ways) != 1:
        raise LevyError(f"{where} has {' and '.join(ways) or 'no values'}, but one of {', '.join(WAYS)} is expected")
    (way,) = ways
    std = read_std(f"{where}.std", described["std"]) if "std" in described else {}
    time = text(f"{where}.time", described["time"]) if "time" in described else None
    where = f"{where}.{way}"
    if way != "stations":
        return observe_grid([_dataset(where, described[way])], where, codec, samples, std, way == "means", time)
    table = _table(where, described[way])
    return observe_stations(table, [f"{where}[{row}]" for row in table.index], where, codec, samples, std, time)


def _table(where: str, value: Any) -> pd.DataFrame:
    if not isinstance(value, list | tuple | np.ndarray) or not len(value):
        raise LevyError(f"{where} is {value!r:.40}, but a list of objects with {', '.join(COLUMNS)} is expected")
    known = dict.fromkeys((*COLUMNS, *OF_PLACES, "std"))
    rows = [mapping(f"{where}[{row}]", station, tuple(known)) for row, station in enumerate(value)]
    keys = [*(OF_PLACES if "place" in rows[0] else COLUMNS), *(["std"] if "std" in rows[0] else [])]
    for row, station in enumerate(rows):
        if missing := [key for key in keys if key not in station]:
            raise LevyError(f"{where}[{row}] has no {missing[0]}: each station has {', '.join(keys)}")
        if "std" in station and "std" not in keys:
            raise LevyError(
                f"{where}[{row}] has a std, and {where}[0] has none: give all of them one, or one std beside"
            )
    read = {key: text if key in ("variable", "place") else real for key in keys}
    return pd.DataFrame(
        {key: [read[key](f"{where}[{row}].{key}", station[key]) for row, station in enumerate(rows)] for key in keys}
    )


def _dataset(where: str, value: Any) -> xr.Dataset:
    described = mapping(where, value, ("coords", "data_vars", "dims", "attrs", "encoding"))
    parts = {
        name: {
            key: _variable(f"{where}.{name}.{key}", key, own)
            for key, own in mapping(f"{where}.{name}", described.get(name, {})).items()
        }
        for name in ("coords", "data_vars")
    }
    try:
        return xr.Dataset(**parts)
    except (ValueError, TypeError) as error:  # sizes that do not fit together
        raise LevyError(f"{where} is no data set ({str(error).splitlines()[0]})") from error


def _variable(where: str, name: str, value: Any) -> tuple[list[str], np.ndarray, dict[str, str]]:
    described = mapping(where, value, PARTS)
    if missing := [key for key in ("dims", "data") if key not in described]:
        raise LevyError(f"{where} has no {missing[0]}: dims and data are expected, and the units in attrs")
    dims, data = described["dims"], described["data"]
    dims = [dims] if isinstance(dims, str) else dims
    data = data[()] if isinstance(data, np.ndarray) and data.ndim == 0 else data  # as to_dict(data="array") has scalars
    if not isinstance(dims, list | tuple | np.ndarray):
        raise LevyError(f"{where}.dims is {dims!r:.40}, but a list of names is expected")
    if name in TIMES:
        several = isinstance(data, list | tuple | np.ndarray)
        data = np.array([text(f"{where}.data", part) for part in (data if several else [data])])
        data = data if several else data[0]
    else:
        data = array(f"{where}.data", data)
    if len(dims) != np.ndim(data):
        raise LevyError(
            f"{where} has {len(dims)} dims, but lists in lists of data make {np.ndim(data)}: one name for each is expected"
        )
    said = mapping(f"{where}.attrs", described.get("attrs", {}))
    return [text(f"{where}.dims", part) for part in dims], data, {k: v for k, v in said.items() if isinstance(v, str)}
