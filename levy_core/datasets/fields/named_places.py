"""Where observed values lie among the named places of a model, which has nothing between them."""

from collections.abc import Sequence
from dataclasses import dataclass

import cf_xarray  # noqa: F401  (the accessor .cf)
import numpy as np
import pandas as pd
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.base.sphere import great_circle

SAME_KM = 10.0  # coordinates of one place in two sources, at most
LISTED = 8  # places in messages


@dataclass(frozen=True, eq=False)
class NamedPlaces:
    """Names [W] of places, and their latitude and longitude in degrees, float64 [2, W], or None.

    Its methods give cells of a flattened field, int64 [n, 1], and their weights, float64 [n, 1], as those of ``placing.Grid``.
    """

    names: tuple[str, ...]
    locations: np.ndarray | None

    def find(self, table: pd.DataFrame, rows: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The places of a table, by its column ``place`` or by its latitudes and longitudes; ``rows`` are their names, for messages.

        Raises:
            LevyError: a place that the model does not have.
        """
        if "place" in table:
            return self.named(table["place"].tolist(), rows)
        return self.points(table["latitude"].to_numpy(), table["longitude"].to_numpy(), rows)

    def named(self, names: Sequence[str], rows: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The places of these names [n].

        Raises:
            LevyError: a name that is none of the model's.
        """
        for name, row in zip(names, rows, strict=True):
            if name not in self.names:
                raise LevyError(f"{row} is at {name!r}: the model has {self.listed}")
        return _single([self.names.index(name) for name in names])

    def points(self, latitude: np.ndarray, longitude: np.ndarray, rows: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The place nearest to each point [n], within ``SAME_KM``.

        Raises:
            LevyError: there is none, or the model does not know where its places lie.
        """
        if self.locations is None:
            raise LevyError(
                f"{rows[0]} is given by latitude and longitude, but the model does not know where its places lie: name one of {self.listed}"
            )
        apart = great_circle(np.stack([latitude, longitude])[:, :, None], self.locations[:, None])
        nearest = apart.argmin(1)
        for i, row in enumerate(rows):
            if not apart[i, nearest[i]] <= SAME_KM:
                raise LevyError(
                    f"{row} lies at latitude {latitude[i]:g}, longitude {longitude[i]:g}, {apart[i, nearest[i]]:.0f} km from "
                    f"{self.names[nearest[i]]}, the nearest of the model's places, and it knows nothing between them: give values at {self.listed}"
                )
        return _single(nearest)

    def dimensions(self, array: xr.DataArray, where: str) -> tuple[str, ...]:
        """The one of a data array along which there are names of the model's places, or latitudes and longitudes.

        Raises:
            LevyError: it has no such.
        """
        for name in reversed(list(map(str, array.dims))):
            if self._has_names(array, name) or all(
                k in array.coords and array[k].dims == (name,) for k in _degrees(array)
            ):
                return (name,)
        held = ", ".join(f"{name} ({array.sizes[name]})" for name in map(str, array.dims)) or "none"
        raise LevyError(
            f"{where} has the dimensions {held}: one is expected along which there are names of the model's places, or latitudes and longitudes; "
            f"the model has {self.listed}"
        )

    def of_array(self, array: xr.DataArray, where: str, means: bool) -> tuple[np.ndarray, np.ndarray]:
        """The places along the one dimension of a data array, as ``dimensions`` finds it.

        Raises:
            LevyError: means, or as ``points``.
        """
        if means:
            raise LevyError(
                f"{where}: means over cells are given, but the model's fields are values at places, which have no area"
            )
        (name,) = map(str, array.dims)
        rows = [f"{where}: entry {i} along {name}" for i in range(array.sizes[name])]
        if self._has_names(array, name):
            return self.named(array[name].to_numpy().astype(str).tolist(), rows)
        latitude, longitude = (array[k].to_numpy() for k in _degrees(array))
        return self.points(latitude, longitude, rows)

    def _has_names(self, array: xr.DataArray, dimension: str) -> bool:
        return dimension in array.coords and set(array[dimension].to_numpy().astype(str)) <= set(self.names)

    @property
    def listed(self) -> str:
        """The names, for messages."""
        more = len(self.names) - LISTED
        return ", ".join(self.names[:LISTED]) + (f" and {more} more" if more > 0 else "")


def _degrees(array: xr.DataArray) -> list[str]:
    """The coordinates that are a latitude and a longitude: their own names, where nothing says it."""
    return [next(iter(array.cf.coordinates.get(kind, [kind]))) for kind in ("latitude", "longitude")]


def _single(cells: Sequence[int] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    found = np.asarray(cells, dtype=np.int64)[:, None]
    return found, np.ones(found.shape)
