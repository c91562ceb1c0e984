"""One variable of a source on the axes that we use, whatever its own are called: time, and a grid or places."""

from dataclasses import dataclass
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from cf_xarray.units import units as registry

from levy_core.base.errors import LevyError
from levy_core.datasets.fields import curved, grid
from levy_core.datasets.fields.dimensions import refuse_dimensions, with_members
from levy_core.datasets.fields.grid import Box

CHUNK_BYTES = 8 * 2**20
DESCRIBING = (
    "coordinates",
    "cell_measures",
    "grid_mapping",
)  # keys of an encoding by which cf_xarray finds coordinates
GUESSES: dict[tuple, dict[str, dict[str, Any]]] = {}
PRESSURE_NAMES = ("isobaricinhpa", "pressure_level", "level", "plev", "pressure", "lev")


def at_level(array: xr.DataArray, level: float | None, where: str) -> xr.DataArray:
    """The variable at a pressure level in hPa; without a level the variable itself.

    A vertical coordinate without units counts as hPa where its name says pressure and no value exceeds 1100.

    Raises:
        LevyError: the variable has no such level, or several where none was chosen.
    """
    name = pressure_axis(array)
    if level is None:
        if name is not None and array[name].size > 1:
            held = ", ".join(f"{x:g}" for x in _hectopascals(array[name]))
            raise LevyError(f"{where} has the levels {held} hPa: choose one with `level`")
        return array
    if name is None:
        raise LevyError(f"{where} has no pressure levels, but level {level:g} is wanted: remove `level`")
    levels = _hectopascals(array[name])
    found = np.flatnonzero(np.isclose(levels, level))
    if not len(found):
        raise LevyError(f"{where} has no level {level:g} hPa: there are {', '.join(f'{x:g}' for x in levels)}")
    return array.isel({name: int(found[0])}, drop=True) if array[name].ndim else array.drop_vars(name)


def pressure_axis(array: xr.DataArray) -> str | None:
    """The name of the variable's coordinate of pressure, if it has one."""
    for name, coordinate in array.coords.items():
        units = str(coordinate.attrs.get("units", ""))
        named = str(name).lower() in PRESSURE_NAMES and not units and np.all(coordinate.to_numpy() <= 1100)
        if coordinate.ndim < 2 and (
            named or coordinate.attrs.get("standard_name") == "air_pressure" or _is_pressure(units)
        ):
            return str(name)
    return None


def _is_pressure(units: str) -> bool:
    try:
        return bool(units) and registry.parse_units(units).is_compatible_with("Pa")
    except Exception:  # pint raises many kinds
        return False


def _hectopascals(coordinate: xr.DataArray) -> np.ndarray:
    values = np.atleast_1d(coordinate.to_numpy()).astype(np.float64)
    units = str(coordinate.attrs.get("units", "")) or "hPa"
    return registry.Quantity(values, registry.parse_units(units)).to("hPa").magnitude


def canonical(
    array: xr.DataArray,
    box: Box | None,
    members: str | None,
    mapping: dict[str, Any],
    where: str,
    chunk_bytes: int = CHUNK_BYTES,
) -> xr.DataArray:
    """The variable on (time, latitude, longitude) or (time, place), lazily, with no other coordinate than these.

    On a curved grid it is on (time, y, x), as it lies in the source, with ``latitude`` and ``longitude`` [y, x]; the latitude has
    the ``Projection`` with the grid ``mapping`` as an attribute. Cells outside the box are missing there.

    Where the dimension ``members`` is named, it follows that of the times, as ``member``.

    ``time`` is the time for which a field holds: of forecasts the reference times and steps together. Places carry
    ``latitude`` and ``longitude`` where the source has them. Only the box is read; latitudes run from north to south,
    longitudes eastwards from the box's western edge.

    Raises:
        LevyError: no time or place can be recognised, another dimension has more than one entry, or the box is outside.
    """
    array = guess_axes(array)
    if members is not None:
        array = with_members(array, members, where)
    time = time_name(array, where)
    latitude, longitude = (_horizontal(array, kind, where) for kind in ("latitude", "longitude"))
    time_dims = tuple(map(str, array[time].dims))
    space = [d for name in (latitude, longitude) if name for d in array[name].dims if d not in time_dims]
    extra_dims = [d for d in array.dims if d not in (*time_dims, *space, members)]
    long_dims = [str(d) for d in extra_dims if array.sizes[d] > 1]
    if len(long_dims) == 1 and not space:
        extra_dims.remove(long_dims[0])
        space = [*long_dims]
    elif long_dims and space:
        refuse_dimensions(array, long_dims, where)
    elif long_dims:
        listing = ", ".join(f"{d} ({array.sizes[d]})" for d in long_dims)
        raise LevyError(
            f"{where} has beside time the dimensions {listing}: no latitude and longitude (degrees_north, degrees_east) is among them"
        )
    array = array.isel(dict.fromkeys(extra_dims, 0), drop=True)
    space = list(dict.fromkeys(space))
    if latitude and longitude and max(array[latitude].ndim, array[longitude].ndim) > 1:
        lies = _on_curved(array, latitude, longitude, box, mapping, where)
    elif latitude and longitude and len(space) == 2:
        lies = _on_grid(array, latitude, longitude, box, where)
    else:
        lies = _at_places(array, latitude, longitude, space, box, where)
    moments = array[time].to_numpy()
    ensemble = {} if members is None else {"member": array[members].to_numpy()}
    order = (*time_dims, *([members] if ensemble else []), *space)
    data = da.concatenate(
        [_chunked(p, time_dims, chunk_bytes).variable.transpose(*order).data for p in lies.pieces], axis=-1
    )
    data = data.reshape((moments.size, *map(len, ensemble.values()), *lies.shape))
    if len(time_dims) > 1:
        held = _held(data)
        data, moments = data[held], moments.ravel()[held]
    if lies.outside is not None:
        data = da.where(lies.outside, np.nan, data)
    coords = {"time": moments.ravel(), **ensemble, **lies.coords}
    return xr.DataArray(data, coords, ("time", *ensemble, *lies.dims), attrs=_plain(array.attrs))


@dataclass(frozen=True)
class _Space:
    """How a variable lies in space: pieces from west to east, our dimensions, their lengths, coordinates, and cells outside the box."""

    pieces: list[xr.DataArray]
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    coords: dict[str, tuple]
    outside: np.ndarray | None = None


def _on_grid(array: xr.DataArray, latitude: str, longitude: str, box: Box | None, where: str) -> _Space:
    north_south, eastwards = (array[name].to_numpy().astype(np.float64) for name in (latitude, longitude))
    rows = grid.rows(north_south, box, where)
    runs, longitudes = grid.columns(eastwards, box, where)
    array = array.isel({array[latitude].dims[0]: rows})
    dim, latitudes = array[longitude].dims[0], north_south[rows]
    coords = {"latitude": ("latitude", latitudes), "longitude": ("longitude", longitudes)}
    shape = (len(latitudes), len(longitudes))
    return _Space([array.isel({dim: run}) for run in runs], ("latitude", "longitude"), shape, coords)


def _on_curved(
    array: xr.DataArray, latitude: str, longitude: str, box: Box | None, mapping: dict[str, Any], where: str
) -> _Space:
    dims = tuple(map(str, array[latitude].dims))
    if len(dims) != 2 or {*dims} != {*map(str, array[longitude].dims)}:
        others = ", ".join(map(str, array[longitude].dims))
        raise LevyError(
            f"{where} has a latitude of {', '.join(dims)} and a longitude of {others}: both of the same two dimensions of space are "
            "expected, for all times, so repair the file"
        )
    degrees = [array[name].transpose(*dims).to_numpy().astype(np.float64) for name in (latitude, longitude)]
    curved.check_cells(degrees[0], degrees[1], where)
    outside = None
    if box is not None:
        rows, columns, outside = curved.cut(degrees[0], degrees[1], box, where)
        array, degrees = array.isel({dims[0]: rows, dims[1]: columns}), [each[rows, columns] for each in degrees]
    said = {"projection": curved.Projection.of(array, dims, mapping)}
    coords = {"latitude": (("y", "x"), degrees[0], said), "longitude": (("y", "x"), degrees[1])}
    return _Space([array], ("y", "x"), degrees[0].shape, coords, outside)


def _at_places(
    array: xr.DataArray, latitude: str | None, longitude: str | None, space: list, box: Box | None, where: str
) -> _Space:
    size = array.sizes[space[0]] if space else 1
    names = _names(array, space[0]) if space else np.arange(size)
    spatial = {
        kind: np.broadcast_to(array[name].to_numpy(), (size,)).astype(np.float64)
        for kind, name in (("latitude", latitude), ("longitude", longitude))
        if name
    }
    kept = np.arange(size) if box is None else grid.inside(spatial, box, where)
    spatial = {"place": _text(names), **spatial}
    coords = {kind: ("place", values[kept]) for kind, values in spatial.items()}
    return _Space([array.isel({space[0]: kept}) if space else array], ("place",), (len(kept),), coords)


def _names(array: xr.DataArray, dim: str) -> np.ndarray:
    """Of places: their own coordinate, else what CF calls a timeseries_id, or the only text, if it tells them apart; else their positions."""
    if dim in array.coords:
        return array[dim].to_numpy()
    along = {k: c for k, c in array.coords.items() if c.dims == (dim,)}
    texts = [k for k, c in along.items() if c.dtype.kind in "OSU"]
    said = [k for k, c in along.items() if c.attrs.get("cf_role") == "timeseries_id"] or texts
    if len(said) == 1:
        names = along[said[0]].to_numpy()
        if len(np.unique(_text(names))) == len(names):
            return names
    return np.arange(array.sizes[dim])


def _text(names: np.ndarray) -> np.ndarray:
    """Names as text; a file may hold their bytes."""
    decoded = [name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name) for name in names.tolist()]
    return np.array(decoded, dtype=str)


def guess_axes(array: xr.DataArray) -> xr.DataArray:
    """``array.cf.guess_coord_axis()``: coordinates with the attributes that their names suggest.

    It takes 30 ms, most of the time in which many small files are opened, so that variables whose coordinates are named, described
    and laid out alike, as those of a series of files are, share one guess.
    """
    variables = array.coords.variables
    laid_out = [
        (n, v.dims, v.dtype.kind, _is_cftime(v), repr(v.attrs), n in array.indexes) for n, v in variables.items()
    ]
    described = (repr(array.attrs), *(repr(array.encoding.get(key)) for key in DESCRIBING))
    if (key := (array.dims, *described, *laid_out)) not in GUESSES:
        guessed = array.cf.guess_coord_axis().coords.variables
        GUESSES[key] = {str(n): dict(v.attrs) for n, v in guessed.items() if v.attrs != variables[n].attrs}
    array = array.copy(deep=False)
    for name, attributes in GUESSES[key].items():
        array[name].attrs = dict(attributes)
    return array


def own_dimensions(array: xr.DataArray, where: str) -> set[str]:
    """The dimensions and coordinates of the variable's times and of its space; of forecasts, neither reference times nor steps.

    Raises:
        LevyError: no time can be recognised.
    """
    array = guess_axes(array)
    names = [name for kind in ("latitude", "longitude") if (name := _horizontal(array, kind, where))]
    time = time_name(array, where)
    spanned = [*names, time] if array[time].ndim < 2 else names
    return {time, *names, *(str(d) for name in spanned for d in array[name].dims)}


def time_name(array: xr.DataArray, where: str) -> str:
    """The coordinate of the times for which a variable's fields hold.

    Raises:
        LevyError: it has none.
    """
    moments = [
        n
        for n in _moments(array)
        if array[n].attrs.get("standard_name") != "forecast_reference_time" and not n.endswith("bnds")
    ]
    candidates = [n for n in moments if array[n].attrs.get("standard_name") == "time"]
    candidates = (
        candidates or [n for n in moments if n == "valid_time"] or [n for n in moments if n in array.dims] or moments
    )
    if not candidates:
        raise LevyError(
            f"{where} has no time (coordinates: {', '.join(map(str, array.coords)) or 'none'}): a coordinate with units such as "
            "'hours since 1900-01-01' is needed"
        )
    return candidates[0]


def has_time(array: xr.DataArray) -> bool:
    """Whether a variable has a coordinate of times."""
    return bool(_moments(array))


def _moments(array: xr.DataArray) -> list[str]:
    return [str(n) for n, c in array.coords.items() if c.dtype.kind == "M" or _is_cftime(c)]


def _is_cftime(coordinate: xr.DataArray | xr.Variable) -> bool:
    return coordinate.dtype == object and coordinate.size > 0 and hasattr(coordinate.to_numpy().flat[0], "calendar")


def _horizontal(array: xr.DataArray, kind: str, where: str) -> str | None:
    names = [str(n) for n in array.cf.coordinates.get(kind, [])]
    exact = [n for n in names if array[n].attrs.get("standard_name") == kind] or names
    if len(exact) > 1:
        raise LevyError(f"{where} has several coordinates that are a {kind}: {', '.join(exact)}; keep one")
    return exact[0] if exact else None


def _chunked(array: xr.DataArray, time_dims: tuple[str, ...], chunk_bytes: int) -> xr.DataArray:
    """Chunks of a few MB in time, along those of the file where they are smaller."""
    if not time_dims:
        return array.chunk()
    first = time_dims[0]
    rows = max(1, chunk_bytes // max(1, 4 * array.size // array.sizes[first]))
    stored = array.encoding.get("preferred_chunks", {}).get(first, 1)
    return array.chunk({**dict.fromkeys(array.dims, -1), first: rows // stored * stored if stored < rows else rows})


def _held(fields: da.Array) -> slice:
    """Without the fields at either end that have no value: a file need not hold each step of its first and last forecast."""
    empty = (bool(np.isnan(fields[i].compute()).all()) for i in range(len(fields)))
    first = next((i for i, e in enumerate(empty) if not e), 0)
    backwards = (bool(np.isnan(fields[i].compute()).all()) for i in range(len(fields) - 1, first, -1))
    return slice(first, len(fields) - next((i for i, e in enumerate(backwards) if not e), 0))


def _plain(attributes: dict) -> dict:
    kept = {k: str(v) for k, v in attributes.items() if k in ("standard_name", "long_name", "cell_methods")}
    return {k: v for k, v in kept.items() if v not in ("", "unknown")}
