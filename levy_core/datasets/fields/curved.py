"""Curved grids: latitude and longitude of each cell, as of rotated poles, conic projections and ocean models."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.grid import CLOSE, Box, contains, say_outside

SIDE = 9  # points of each side of a box that must lie on the grid
NEAR = 1.5  # cells


@dataclass(frozen=True)
class Projection:
    """The source's own axes of a curved grid, which files of samples have again.

    Attributes:
        names: of the two dimensions. axes: their coordinates, None where the source has none. attributes: of the coordinates.
        mapping: name and attributes of the grid mapping (CF), empty where the source has none.
    """

    names: tuple[str, str]
    axes: tuple[list[float] | None, list[float] | None]
    attributes: tuple[dict[str, Any], dict[str, Any]]
    mapping: dict[str, Any]

    @classmethod
    def of(cls, array: xr.DataArray, dims: Sequence[str], mapping: dict[str, Any]) -> "Projection":
        axes, attributes = [], []
        for dim in dims:
            axes.append(array[dim].to_numpy().astype(np.float64).tolist() if dim in array.coords else None)
            attributes.append(_plain(array[dim].attrs) if dim in array.coords else {})
        return cls((dims[0], dims[1]), (axes[0], axes[1]), (attributes[0], attributes[1]), mapping)

    @classmethod
    def from_mapping(cls, values: dict[str, Any]) -> "Projection":
        """From what ``dataclasses.asdict`` gave, lists standing for tuples."""
        names, axes, attributes = (tuple(values[name]) for name in ("names", "axes", "attributes"))
        return cls(names, axes, attributes, values["mapping"])


def find_mapping(datasets: list[xr.Dataset], array: xr.DataArray) -> dict[str, Any]:
    """Name (``name``) and attributes of a variable's grid mapping; empty where its source has none."""
    said = str(array.attrs.get("grid_mapping", array.encoding.get("grid_mapping", ""))).split()
    name = said[0].removesuffix(":") if said else ""
    for data in datasets:
        if name in data.variables:
            return {"name": name, **_plain(data[name].attrs)}
    return {}


def on_sphere(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Degrees [...] -> points of the unit sphere, float64 [..., 3]."""
    phi, theta = np.deg2rad(latitude), np.deg2rad(longitude)
    return np.stack([np.cos(phi) * np.cos(theta), np.cos(phi) * np.sin(theta), np.sin(phi)], axis=-1)


def corners(points: np.ndarray) -> np.ndarray:
    """Points of the sphere [H, W, 3] in the middle of cells -> their corners [H + 1, W + 1, 3]."""
    padded = np.pad(points, ((1, 1), (1, 1), (0, 0)), mode="reflect", reflect_type="odd")
    between = padded[:-1, :-1] + padded[:-1, 1:] + padded[1:, :-1] + padded[1:, 1:]
    return between / np.linalg.norm(between, axis=-1, keepdims=True)


def cell_areas(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """Areas of cells on the unit sphere, float64 [H, W], from the degrees [H, W] of their middles."""
    edges = corners(on_sphere(latitude, longitude))
    diagonals = edges[1:, 1:] - edges[:-1, :-1], edges[1:, :-1] - edges[:-1, 1:]
    return np.linalg.norm(np.cross(*diagonals), axis=-1) / 2


def check_cells(latitude: np.ndarray, longitude: np.ndarray, where: str) -> None:
    """Whether the cells [H, W] cover what they cover once.

    Raises:
        LevyError: fewer than 2 x 2 cells, cells that lie nowhere, are there twice or overlap.
    """
    if min(latitude.shape) < 2:
        raise LevyError(
            f"{where} lies on a curved grid of {latitude.shape[0]} x {latitude.shape[1]} cells: at least 2 x 2 are needed"
        )
    lost = ~(np.isfinite(latitude) & np.isfinite(longitude) & (np.abs(latitude) <= 90) & (np.abs(longitude) <= 540))
    if lost.any():
        row, column = np.argwhere(lost)[0]
        raise LevyError(
            f"{where} has {int(lost.sum())} cells without latitude or longitude, the first in row {row}, column {column}: its curved "
            "grid must be known everywhere, also where the fields are missing; take the coordinates from the model's grid file"
        )
    steps = [np.rint(degrees / CLOSE).astype(np.int64) for degrees in (latitude, longitude % 360)]
    keys = (steps[0] * 10**8 + steps[1] % round(360 / CLOSE)).ravel()
    places, counts = np.unique(keys, return_counts=True)
    if (counts > 1).any():
        one, other = (divmod(int(i), latitude.shape[1]) for i in np.flatnonzero(keys == places[counts > 1][0])[:2])
        raise LevyError(
            f"{where} has {int((counts > 1).sum())} places twice, the first in row {one[0]}, column {one[1]} and row {other[0]}, column "
            f"{other[1]}: remove the repeated rows and columns of the grid (ncks -d x,1,-2 for the seam of an ocean model)"
        )
    points = on_sphere(latitude, longitude)
    a, b, c, d = points[:-1, :-1], points[:-1, 1:], points[1:, :-1], points[1:, 1:]
    turns = np.stack([np.sign((x * np.cross(y, z)).sum(-1)) for x, y, z in ((a, b, c), (d, c, b))])
    wrong = turns != (1 if (turns > 0).mean() > 0.5 else -1)
    if wrong.any():
        _, row, column = np.argwhere(wrong)[0]
        raise LevyError(
            f"{where} has cells that overlap, at latitude {latitude[row, column]:g}, longitude {longitude[row, column]:g} (row {row}, "
            f"column {column}): neighbours of a curved grid must follow on each other; repair its coordinates"
        )


def cut(latitude: np.ndarray, longitude: np.ndarray, box: Box, where: str) -> tuple[slice, slice, np.ndarray]:
    """The rows and columns that hold all cells [H, W] in a box, and which of them lie outside, bool.

    Raises:
        LevyError: none is in it, or it reaches beyond the grid.
    """
    inside = contains(latitude, longitude, box)
    points, (south, north, west, east) = on_sphere(latitude, longitude).reshape(-1, 3), box
    along, up = np.linspace(0, 1, SIDE), np.linspace(south, north, SIDE)
    width = 360.0 if east - west >= 360 else (east - west) % 360
    sides = [(x, west + width * along) for x in (south, north)] + [(up, west + width * x) for x in (0, 1)]
    rim = np.concatenate([on_sphere(*np.broadcast_arrays(phi, theta)) for phi, theta in sides])
    apart = np.arccos((points @ rim.T).max(0).clip(-1, 1)).max()
    if not inside.any() or apart > NEAR * np.sqrt(cell_areas(latitude, longitude).max()):
        held = f"latitudes {latitude.min():g} to {latitude.max():g} and longitudes {longitude.min():g} to {longitude.max():g} on a curved grid"
        raise LevyError(say_outside(where, box, held))
    rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    kept = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    return *kept, ~inside[kept]


def _plain(attributes: dict[Any, Any]) -> dict[str, Any]:
    """Attributes as JSON has them."""
    return {str(k): v.tolist() if isinstance(v, np.ndarray | np.generic) else v for k, v in attributes.items()}
