"""How cells lie beside each other, and so what power is by scale and which pairs of cells are near: on a plane, round the globe, or at places."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from levy_core.base.sphere import great_circle
from levy_core.metrics.fields import spatial
from levy_core.metrics.fields.spatial import PAIRS, Pairs

NEAR_KM = 25.0  # the first class of distance of places ends there


class Geometry(Protocol):
    """Where the cells of fields lie."""

    def wavenumbers(self, space: tuple[int, int]) -> np.ndarray:
        """Of fields of H, W = ``space``, [K]; none where cells have no order."""
        ...

    def modes(self, space: tuple[int, int]) -> np.ndarray:
        """How often the power of each wavenumber is in the variance of a field, [K]."""
        ...

    def power(self, values: np.ndarray) -> np.ndarray:
        """Of each field at each wavenumber, [N, H, W] -> [N, K], in squared units."""
        ...

    def pairs(self, valid: np.ndarray) -> list[Pairs]:
        """Pairs of the cells that have values, bool [H, W], by class of distance, the nearest first."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """For a safetensors file, which ``read_geometry`` reads."""
        ...


@dataclass(frozen=True)
class Plane:
    """Cells at equal steps in a box, with power by the cosine transform (``spatial.field_power``)."""

    def wavenumbers(self, space: tuple[int, int]) -> np.ndarray:
        return spatial.rings(space)[0]

    def modes(self, space: tuple[int, int]) -> np.ndarray:
        return spatial.modes(space)

    def power(self, values: np.ndarray) -> np.ndarray:
        return spatial.field_power(values)

    def pairs(self, valid: np.ndarray) -> list[Pairs]:
        return spatial.pairs_by_distance(valid)

    def arrays(self) -> dict[str, np.ndarray]:
        return {}


@dataclass(frozen=True, eq=False)
class Globe(Plane):
    """Rows of cells round the globe, whose areas are in proportion to ``areas`` [H]; pairs as on a plane."""

    areas: np.ndarray

    def wavenumbers(self, space: tuple[int, int]) -> np.ndarray:
        return np.arange(space[1] // 2 + 1).astype(np.float64)

    def modes(self, space: tuple[int, int]) -> np.ndarray:
        return np.ones(space[1] // 2 + 1)

    def power(self, values: np.ndarray) -> np.ndarray:
        """Zonal power: of the waves with 0, 1, 2, ... crests along a row, the mean over rows by area.

        It sums to the variance over the area (Parseval); wavenumber 0 is the variance of the rows' means. Missing cells count as the
        mean of the field. Of all equally spaced latitudes the same, with the poles or without, where an expansion in spherical
        harmonics wants nodes of its own. Source: Rasp et al. (2024), WeatherBench 2, there by wavelength.
        """
        width, weights = values.shape[2], self.areas / self.areas.sum()
        known = ~np.isnan(values)
        weighted = np.where(known, weights[:, None], 0)
        total = weighted.sum((1, 2), keepdims=True)
        filled = np.where(known, values, 0)
        mean = (filled * weighted).sum((1, 2), keepdims=True) / np.where(total > 0, total, 1)
        waves = np.fft.rfft(np.where(known, values - mean, 0), axis=2, norm="forward")
        twice = np.full(width // 2 + 1, 2.0)  # a wave and its conjugate
        twice[0] = 1
        if width % 2 == 0:
            twice[-1] = 1
        return weights @ (np.abs(waves) ** 2) * twice

    def arrays(self) -> dict[str, np.ndarray]:
        return {"globe": self.areas}


@dataclass(frozen=True, eq=False)
class Places:
    """Places of latitude and longitude [2, W] in degrees, NaN where not known, in whatever order: they have distances, and no spectrum."""

    degrees: np.ndarray

    def wavenumbers(self, space: tuple[int, int]) -> np.ndarray:
        return np.empty(0)

    def modes(self, space: tuple[int, int]) -> np.ndarray:
        return np.empty(0)

    def power(self, values: np.ndarray) -> np.ndarray:
        return np.empty((len(values), 0))

    def pairs(self, valid: np.ndarray) -> list[Pairs]:
        """Below 25 km, 25 to 50, 50 to 100, ...: all pairs of a class, or PAIRS of it spread evenly over its distances.

        The same pairs, in the same order, in whatever order the places are.
        """
        places = np.flatnonzero(valid.reshape(-1) & np.isfinite(self.degrees).all(0))
        places = places[np.lexsort(self.degrees[:, places])]
        one, other = (places[k] for k in np.triu_indices(len(places), 1))
        apart = self.kilometres((one, other))
        order = np.argsort(apart, kind="stable")
        of_class = np.ceil(np.log2(np.maximum(apart, NEAR_KM) / NEAR_KM)).astype(np.int64)[order]
        classes = []
        for k in np.unique(of_class):
            own = order[of_class == k]
            chosen = own[np.linspace(0, len(own) - 1, min(PAIRS, len(own))).round().astype(np.int64)]
            classes.append((one[chosen], other[chosen]))
        return classes

    def kilometres(self, pairs: Pairs) -> np.ndarray:
        """Great-circle distances of the two of each pair, [pairs]."""
        return great_circle(*(self.degrees[:, side] for side in pairs))

    def arrays(self) -> dict[str, np.ndarray]:
        return {"places": self.degrees}


PLANE = Plane()


def read_geometry(arrays: dict[str, np.ndarray]) -> Geometry:
    """From the arrays that ``arrays`` gave, among others."""
    if "places" in arrays:
        return Places(arrays["places"])
    return Globe(arrays["globe"]) if "globe" in arrays else PLANE
