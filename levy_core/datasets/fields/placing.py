"""Where observed values lie among the cells of a model's grid, and with which weights the cells make them."""

from collections.abc import Sequence
from dataclasses import dataclass

import cf_xarray  # noqa: F401  (the accessor .cf)
import numpy as np
import pandas as pd
import xarray as xr

from levy_core.base.cells import bilinear, blocks
from levy_core.base.errors import LevyError
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.grid import CLOSE
from levy_core.datasets.fields.named_places import NamedPlaces


@dataclass(frozen=True, eq=False)
class Grid:
    """Latitudes [H] from north to south and longitudes [W] eastwards, in degrees; ``wraps`` round the globe.

    Its methods give cells of a flattened field, int64 [n, k], and their weights, float64 [n, k].
    """

    latitude: np.ndarray
    longitude: np.ndarray
    wraps: bool

    @property
    def shape(self) -> tuple[int, int]:
        """H, W."""
        return len(self.latitude), len(self.longitude)

    def dimensions(self, array: xr.DataArray, where: str) -> tuple[str, ...]:
        """Of a data array those of latitudes and of longitudes.

        Raises:
            LevyError: it has no such.
        """
        return tuple(str(_axis(array, name, where).dims[0]) for name in ("latitude", "longitude"))

    def of_array(self, array: xr.DataArray, where: str, means: bool) -> tuple[np.ndarray, np.ndarray]:
        """As ``cells``, or of means as ``blocks``, of a data array on these dimensions."""
        latitude, longitude = (_axis(array, name, where).to_numpy() for name in ("latitude", "longitude"))
        return (self.blocks if means else self.cells)(latitude, longitude, where)

    def cells(self, latitude: np.ndarray, longitude: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
        """The model's cell of each of a grid's, which may be a part of it in any order: [h * w, 1] each."""
        row, column = _places(self.latitude, latitude, 0), _places(self.longitude, longitude, 360)
        for name, places, values in (("latitude", row, latitude), ("longitude", column, longitude)):
            if (places < 0).any():
                own = self.latitude if name == "latitude" else self.longitude
                raise LevyError(
                    f"{where} has {name} {values[np.argmax(places < 0)]:g}, which is none of the model's ({own.min():g} to {own.max():g}, "
                    f"{len(own)} values): observations on the model's grid are expected; for a coarser one say that they are means, for "
                    "stations give a CSV table"
                )
        cells = (row[:, None] * self.shape[1] + column).reshape(-1, 1)
        return cells, np.ones(cells.shape)

    def blocks(self, latitude: np.ndarray, longitude: np.ndarray, where: str) -> tuple[np.ndarray, np.ndarray]:
        """The model's cells under each of a coarser grid's, and their shares of its area: [h * w, cells]."""
        height, width = self.shape
        down, across = height // max(1, len(latitude)), width // max(1, len(longitude))
        fits = down * across > 1 and (down * len(latitude), across * len(longitude)) == (height, width)
        order = np.argsort(-latitude, kind="stable")
        east = np.argsort((longitude - self.longitude[0] + 180 / max(1, width)) % 360, kind="stable")
        if fits:
            centres = self.latitude.reshape(-1, down).mean(1), self.longitude.reshape(-1, across).mean(1)
            apart = (longitude[east] - centres[1] + 180) % 360 - 180
            fits = bool(
                np.allclose(latitude[order], centres[0], atol=CLOSE * 10) and (np.abs(apart) < CLOSE * 10).all()
            )
        if not fits:
            raise LevyError(
                f"{where} lies on {len(latitude)} x {len(longitude)} cells, which are not means over whole cells of the model's "
                f"{height} x {width}: a grid is expected whose cells each cover the same number of them"
            )
        area = np.repeat(np.cos(np.deg2rad(self.latitude)), width).reshape(height, width)
        cells, weights = blocks((height, width), (down, across), area)
        number = np.arange(len(cells)).reshape(len(latitude), len(longitude))  # of each block, from north and west
        own = number[np.ix_(np.argsort(order), np.argsort(east))].reshape(-1)
        return cells[own], weights[own]

    def find(self, table: pd.DataFrame, rows: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """As ``points``, of a table's latitudes and longitudes; ``rows`` are its names, for messages.

        Raises:
            LevyError: it has none, or as ``points``.
        """
        if "latitude" not in table:
            raise LevyError(
                f"{rows[0]} is of a place by its name, but the model's fields lie on a grid: give latitude and longitude instead"
            )
        return self.points(table["latitude"].to_numpy(), table["longitude"].to_numpy(), rows)

    def points(
        self, latitude: np.ndarray, longitude: np.ndarray, names: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The four cells around each place, and their weights by bilinear interpolation: [n, 4]; ``names`` of the places, for messages."""
        if (far := np.abs(longitude) > 360).any():
            first = int(np.argmax(far))
            raise LevyError(
                f"{names[first]} lies at longitude {longitude[first]:g}, but -180 to 360 degrees are expected"
            )
        edge = self.longitude[0] - (0 if self.wraps else CLOSE)
        turned = edge + (longitude - edge) % 360
        own = np.append(self.longitude, self.longitude[0] + 360) if self.wraps else self.longitude
        row = np.interp(-latitude, -self.latitude, np.arange(len(self.latitude)), left=np.nan, right=np.nan)
        column = np.interp(turned, own, np.arange(len(own)), left=np.nan, right=np.nan)
        outside = np.isnan(row) | np.isnan(column)
        if outside.any():
            first = int(np.argmax(outside))
            raise LevyError(
                f"{names[first]} lies at latitude {latitude[first]:g}, longitude {longitude[first]:g}, outside the model's fields "
                f"(latitude {self.latitude.min():g} to {self.latitude.max():g}, longitude {self.longitude.min():g} to {self.longitude.max():g})"
            )
        return bilinear(row, column, self.shape, self.wraps)


def grid_of(codec: Codec, where: str) -> Grid | NamedPlaces:
    """What finds values among the cells of a model's fields; ``where`` they are asked for, for messages.

    Raises:
        LevyError: the fields are tiles, or lie on a curved grid.
    """
    if codec.places is not None:
        return NamedPlaces(codec.places, codec.locations)
    if codec.latitude is None or codec.longitude is None:
        raise LevyError(
            f"{where}: the model's fields are tiles of larger ones, which may lie anywhere (`patch`), so that nothing has a place in them: train "
            "without `patch`; of events ask for mean, max or min"
        )
    if codec.latitude.ndim == 2:
        raise LevyError(
            f"{where}: the model's fields lie on a curved grid, on which nothing is placed yet: of events ask for mean, max or min, perhaps "
            "of a box"
        )
    return Grid(codec.latitude, codec.longitude, codec.wraps)


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


def _places(own: np.ndarray, asked: np.ndarray, turn: float) -> np.ndarray:
    """Positions of coordinates among the model's, -1 for others."""
    apart = np.abs(asked[:, None] - own)
    if turn:
        apart = np.minimum(apart % turn, turn - apart % turn)
    return np.where(apart.min(1) <= 10 * CLOSE, apart.argmin(1), -1)
