"""Samples as files that anything in the field reads: CF-1.11 NetCDF or zarr, in physical units, with provenance."""

import re
import shutil
from pathlib import Path

import numpy as np
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.base.files import replacing
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.store import TIME_UNITS

FILL = np.float32(9.969209968386869e36)  # netCDF's own for floats
ON_SCALE = ("K", "degC", "degF")  # of these CF wants to know that they are no differences
DRAW = "realization"
REALIZATION = {"standard_name": "realization", "long_name": "independent draw", "units": "1"}
TIME = {"standard_name": "time", "long_name": "day of the year and hour that the draw is of; its year means nothing"}
LATITUDE = {"standard_name": "latitude", "long_name": "latitude", "units": "degrees_north"}
LONGITUDE = {"standard_name": "longitude", "long_name": "longitude", "units": "degrees_east"}


def write_cf(path: Path, codec: Codec, x: np.ndarray, times: np.ndarray | None, about: dict[str, str]) -> None:
    """Standardised samples as physical fields in a file.

    Values are those of ``Codec.decode``. Cells that are always missing hold ``_FillValue``. The same arguments give the same values and attributes: there is no time of writing among them.

    Args:
        path: ends in ``.nc`` or ``.zarr``; what is there is replaced.
        x: [N, C, H, W].
        times: [N], of whose day and hour the samples are; None for samples of no time. Samples are independent draws and no
            series: the file's first dimension is ``realization``, and ``time`` lies along it.
        about: global attributes such as title, source and history; ``Conventions`` is added.

    Raises:
        LevyError: another suffix, or a wrong shape.
    """
    data = dataset(codec, x, times, about)
    encoding: dict[str, dict[str, object]] = {name: {"_FillValue": FILL, "dtype": "float32"} for name in codec.names}
    encoding |= {str(k): {"_FillValue": None} for k in data.coords if data[k].dtype.kind == "f"}
    if times is not None:
        encoding["time"] = {"units": TIME_UNITS, "calendar": codec.calendar, "dtype": "int64"}
    if path.suffix == ".nc":
        packed = {k: v | ({"zlib": True, "complevel": 1} if k in codec.names else {}) for k, v in encoding.items()}
        with replacing(path) as temporary:
            data.to_netcdf(temporary, format="NETCDF4", engine="netcdf4", encoding=packed)
    elif path.suffix == ".zarr":
        temporary = path.with_name(f".{path.name}")
        shutil.rmtree(temporary, ignore_errors=True)
        data.to_zarr(temporary, mode="w", zarr_format=2, consolidated=True, encoding=encoding)
        shutil.rmtree(path, ignore_errors=True)
        temporary.rename(path)
    else:
        raise LevyError(f"{path} ends in {path.suffix!r}: fields are written as .nc or .zarr")


def dataset(codec: Codec, x: np.ndarray, times: np.ndarray | None, about: dict[str, str]) -> xr.Dataset:
    """The data set that ``write_cf`` writes: one float32 variable per channel."""
    values = codec.decode(x, times)
    coordinates: dict[str, tuple] = {DRAW: (DRAW, np.arange(len(values)), REALIZATION)}
    if times is not None:
        coordinates["time"] = (DRAW, times, TIME)
    if codec.places is not None:
        space: tuple[str, ...] = ("place",)
        coordinates["place"] = ("place", np.array(codec.places), {"long_name": "name of the place"})
        if codec.locations is not None:
            coordinates["latitude"] = ("place", codec.locations[0], LATITUDE)
            coordinates["longitude"] = ("place", codec.locations[1], LONGITUDE)
    elif codec.projection is not None:
        space = codec.projection.names
        coordinates |= {
            name: (name, axis, codec.projection.attributes[i])
            for i, (name, axis) in enumerate(zip(space, codec.projection.axes, strict=True))
            if axis is not None
        }
        coordinates["latitude"] = (space, codec.latitude, LATITUDE)
        coordinates["longitude"] = (space, codec.longitude, LONGITUDE)
    elif codec.latitude is not None:
        space = ("latitude", "longitude")
        coordinates["latitude"] = ("latitude", codec.latitude, LATITUDE | {"axis": "Y"})
        coordinates["longitude"] = ("longitude", codec.longitude, LONGITUDE | {"axis": "X"})
    else:
        space = ("y", "x")  # tiles have no place
    mapping = {} if codec.projection is None else codec.projection.mapping
    variables: dict[str, tuple] = {}
    if mapping:
        variables[mapping["name"]] = ((), np.int32(0), {k: v for k, v in mapping.items() if k != "name"})
    for c, v in enumerate(codec.variables):
        field = values[:, c].reshape(len(values), *(codec.shape[1:] if len(space) == 2 else codec.shape[2:]))
        description = {"long_name": v.key, **codec.attributes[c], "units": v.units}
        if "cell_methods" in description:  # sources call their time by other names
            description["cell_methods"] = re.sub(r"\b\w*time\w*:", "time:", description["cell_methods"])
        if v.units in ON_SCALE:
            description["units_metadata"] = "temperature: on_scale"
        if mapping:
            description["grid_mapping"] = mapping["name"]
        variables[v.key] = ((DRAW, *space), field.astype(np.float32), description)
    return xr.Dataset(variables, coordinates, {"Conventions": "CF-1.11", "history": "drawn by levy", **about})
