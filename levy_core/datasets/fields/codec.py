"""Between physical units and the standardised numbers that networks see, exactly and both ways."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from levy_core.base.errors import LevyError
from levy_core.base.files import write_json
from levy_core.base.samples import CORRECTION
from levy_core.base.tensors import read_tensors, write_tensors
from levy_core.datasets.fields.climatology import Climatology
from levy_core.datasets.fields.config import DTYPES, Variable
from levy_core.datasets.fields.curved import Projection, cell_areas
from levy_core.datasets.fields.labels import SEASONS, seasons_of
from levy_core.datasets.fields.normal_scores import NormalScores
from levy_core.datasets.fields.physical import (
    are_alike,
    each_season,
    maps_seasons,
    of_season,
    physical,
    transform,
    unbounded,
)
from levy_core.datasets.fields.quantile_mapping import read_mapping

JSON, TENSORS = "codec.json", "codec.safetensors"
NEAR = 2.0**-20  # standard deviations: float32 numbers below 16 are nearer to what was rounded
HOURS = (0, 6, 12, 18)  # where a codec of before does not say


@dataclass(frozen=True, eq=False)
class Codec:
    """Physical <-> standardised: x = (transform(value) - climatology(time) - mean) / std.

    Attributes:
        variables: the channels.
        mean, std: of the transformed anomalies in the training period, float64 [C], or [C, H, W] where each cell has its own.
        valid: bool [C, H, W], cells that are not always missing. Elsewhere every result is NaN.
        latitude, longitude: float64 [H] from north to south and [W] eastwards, in degrees; of a curved grid [H, W] both; None for
            places and tiles.
        projection: the source's own axes of a curved grid, or None.
        places: names of the places [W], or None. locations: their latitude and longitude, float64 [2, W].
        climatology: the cycle that was taken off, or None.
        calendar: CF name of the calendar of the times.
        attributes: of each channel in its source (long_name, standard_name, cell_methods).
        hours: of the day that the training period has fields of.
        days: of the year that it has fields of, ``month-day``; None where it has all, or a codec of before does not say.
        dtype: of the prepared store's numbers.
    """

    variables: tuple[Variable, ...]
    mean: np.ndarray
    std: np.ndarray
    valid: np.ndarray
    latitude: np.ndarray | None = None
    longitude: np.ndarray | None = None
    places: tuple[str, ...] | None = None
    locations: np.ndarray | None = None
    projection: Projection | None = None
    climatology: Climatology | None = None
    calendar: str = "proleptic_gregorian"
    attributes: tuple[dict[str, str], ...] = ()
    hours: tuple[int, ...] = HOURS
    days: tuple[str, ...] | None = None
    dtype: str = "float32"

    @property
    def shape(self) -> tuple[int, int, int]:
        """C, H, W of a field."""
        return self.valid.shape

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(v.key for v in self.variables)

    @property
    def wraps(self) -> bool:
        """Whether the fields go round the globe: the cell after the last longitude is the first."""
        if self.longitude is None or self.longitude.ndim == 2 or len(self.longitude) < 2:
            return False
        step = (self.longitude[-1] - self.longitude[0]) / (len(self.longitude) - 1)
        return bool(abs(step * len(self.longitude) - 360) < step / 2)

    @property
    def areas(self) -> np.ndarray | None:
        """Areas of the cells of each row [H], of a curved grid of each cell [H, W], up to a factor; None for places and tiles."""
        if self.latitude is None or self.longitude is None:
            return None
        if self.latitude.ndim == 2:
            return cell_areas(self.latitude, self.longitude)
        return np.cos(np.deg2rad(self.latitude)).clip(min=0)

    @property
    def units(self) -> tuple[str, ...]:
        """The channels' physical units."""
        return tuple(v.units for v in self.variables)

    @property
    def anomaly_units(self) -> tuple[str, ...]:
        """Of each channel of ``anomalies``: those of temperatures are differences, in K and not in degC."""
        return tuple(
            ("K" if v.units == "degC" else v.units) if v.transform == "identity" else f"{v.transform} of {v.units}"
            for v in self.variables
        )

    def encode(self, values: np.ndarray, times: np.ndarray | None = None) -> np.ndarray:
        """Physical values [N, C, H, W], NaN where missing -> float32; ``times`` [N] where a climatology is taken off.

        Raises:
            LevyError: another shape than the codec's, or no times where they are needed.
        """
        self._check(values)
        return self._standardised(transform(self.variables, values, self._seasons(times, len(values))), times)

    def decode(self, x: np.ndarray, times: np.ndarray | None = None) -> np.ndarray:
        """Standardised [N, C, H, W] -> physical float64, NaN in cells that are always missing.

        Values below the ``minimum`` of their variable, or no further above it than float32 rounds, are the minimum; nothing else is changed.

        Raises:
            LevyError: another shape than the codec's, or no times where they are needed.
        """
        near = np.broadcast_to(NEAR * _channels(self.std), (1, *self.shape))[0]
        return self._back(x, times, lambda v, c, values: physical(v, values, near[c]))

    def unbounded(self, x: np.ndarray, times: np.ndarray | None = None) -> np.ndarray:
        """As ``decode``, with values below the minimum of their variable as they are."""
        return self._back(x, times, lambda v, c, values: unbounded(v, values))

    def _back(
        self, x: np.ndarray, times: np.ndarray | None, inverse: Callable[[Variable, int, np.ndarray], np.ndarray]
    ) -> np.ndarray:
        values = self.anomalies(x)
        values += self._cycle(times, len(x))
        for variables, rows in each_season(self.variables, self._seasons(times, len(x))):
            for c, v in enumerate(variables):
                values[rows, c] = inverse(v, c, values[rows, c])
        return values

    def decode_cells(
        self, channel: int, cells: np.ndarray, times: np.ndarray | None
    ) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
        """``decode`` of some cells of one channel, flattened, that have values, int64 [k]; their cycle is made once.

        Args:
            times: [m] that fields may have; None only where ``needs_times`` is not.

        Returns:
            of standardised values [n, k], of which each row has one of the times, int64 [n]: physical ones, float64 [n, k].
        """
        variable, cycle = self.variables[channel], None
        mean, std = self.moments(np.full(1, channel), channel * self.valid[channel].size + cells[None])  # [1, k]
        if self.climatology is not None:
            assert times is not None, "a climatology was taken off, so that samples have times"
            cycle = self.climatology.at_cells(times, channel, cells)
        seasons = self._seasons(times, None)

        def decode(x: np.ndarray, which: np.ndarray) -> np.ndarray:
            values = x * std + mean + (0.0 if cycle is None else cycle[which])
            for (own,), rows in each_season((variable,), None if seasons is None else seasons[which]):
                values[rows] = physical(own, values[rows], NEAR * std)
            return values

        return decode

    def moments(self, channels: np.ndarray, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of cells of a flattened field, int64 [rows, k]: [rows, k], or [rows, 1] where all cells of a channel
        have the same.

        Args:
            channels: of each row, int64 [rows].
        """
        mean, std = (v[channels, None] if v.ndim == 1 else v.reshape(-1)[cells] for v in (self.mean, self.std))
        return mean, std

    def recode(self, x: np.ndarray, times: np.ndarray | None, source: "Codec") -> np.ndarray:
        """Fields that ``source`` standardised -> as this codec standardises them, float32; ``source`` must cover this codec.

        They go through physical units only where the transforms differ: an inverse forgets what lies far beyond its range.
        """
        if not are_alike(self.variables, source.variables):
            return self._standardised(
                transform(self.variables, source.unbounded(x, times), self._seasons(times, len(x))), times
            )
        transformed = source.anomalies(x)
        transformed += source._cycle(times, len(x))
        return self._standardised(transformed, times)

    def covers(self, other: "Codec") -> bool:
        """Whether both have the same cells, and this one values wherever the other has them."""
        grids = (
            (getattr(self, name), getattr(other, name)) for name in ("latitude", "longitude", "locations", "places")
        )
        same = all(a is b or (a is not None and b is not None and np.array_equal(a, b)) for a, b in grids)
        return same and self.shape == other.shape and not (other.valid & ~self.valid).any()

    def anomalies(self, x: np.ndarray) -> np.ndarray:
        """Standardised [N, C, H, W] -> transformed values float64, without the climatology where one was taken off.

        Raises:
            LevyError: another shape than the codec's.
        """
        self._check(x)
        anomalies = x * _channels(self.std)  # float64, as the std is
        anomalies += _channels(self.mean)
        return self._masked(anomalies)

    def save(self, folder: Path) -> None:
        arrays = {name: getattr(self, name) for name in ("mean", "std", "valid", "latitude", "longitude", "locations")}
        if self.climatology is not None:
            arrays["climatology"] = self.climatology.coefficients
        tensors = {k: torch.from_numpy(np.array(v)) for k, v in arrays.items() if v is not None}
        write_tensors(folder / TENSORS, tensors)
        description = {
            "variables": [asdict(replace(v, mapping=None)) for v in self.variables],  # which lies in a file of its own
            "places": self.places,
            "climatology": None if self.climatology is None else self.climatology.kind,
            "projection": None if self.projection is None else asdict(self.projection),
            "calendar": self.calendar,
            "attributes": list(self.attributes),
            "hours": list(self.hours),
        } | ({} if self.days is None else {"days": list(self.days)})
        if self.dtype != DTYPES[0]:
            description["dtype"] = self.dtype
        write_json(folder / JSON, description)

    @classmethod
    def load(cls, folder: Path) -> "Codec":
        """The codec that ``save`` wrote.

        Raises:
            LevyError: its files are missing or damaged.
        """
        arrays = {k: v.numpy() for k, v in read_tensors(folder / TENSORS).items()}
        try:
            description: dict[str, Any] = json.loads((folder / JSON).read_text())
            coefficients, kind = arrays.pop("climatology", None), description["climatology"]
            projection = description.get("projection")
            codec = cls(
                **arrays,
                variables=tuple(map(_variable, description["variables"])),
                places=None if description["places"] is None else tuple(description["places"]),
                climatology=None if coefficients is None else Climatology(kind, coefficients),
                projection=None if projection is None else Projection.from_mapping(projection),
                calendar=description["calendar"],
                attributes=tuple(description["attributes"]),
                hours=tuple(description.get("hours", HOURS)),
                days=tuple(description["days"]) if "days" in description else None,
                dtype=description.get("dtype", DTYPES[0]),
            )
            corrected = folder / CORRECTION
            return codec.corrected(json.loads(corrected.read_text())) if corrected.exists() else codec
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LevyError(
                f"{folder} has no readable codec of fields ({type(error).__name__}: {error}): run the prepare stage again"
            ) from error

    def corrected(self, mappings: Mapping[str, Any]) -> "Codec":
        """The same for a model's samples, with what ``correction.fit_mappings`` gave.

        Raises:
            LevyError: mappings of other variables, or of another make.
        """
        if unknown := sorted(set(mappings) - set(self.names)):
            raise LevyError(f"a quantile mapping of {unknown[0]}, but the variables are {', '.join(self.names)}")
        found = {key: read_mapping(values, SEASONS) for key, values in mappings.items()}
        return replace(self, variables=tuple(replace(v, mapping=found.get(v.key)) for v in self.variables))

    @property
    def needs_times(self) -> bool:
        """Whether fields of unlike times have unlike values for the same numbers: a climatology, or mappings by season."""
        return self.climatology is not None or maps_seasons(self.variables)

    def of_moment(self, moment: Any) -> "Codec":
        """The same for fields of one moment: of mappings by season, its season's.

        Raises:
            LevyError: a season that the training period has not.
        """
        if not maps_seasons(self.variables):
            return self
        return replace(self, variables=of_season(self.variables, seasons_of(np.array([moment]))[0]))

    def _seasons(self, times: np.ndarray | None, n: int | None) -> np.ndarray | None:
        """Of fields, by name; None where nothing is mapped by season."""
        if not maps_seasons(self.variables):
            return None
        if times is None or n not in (None, len(times)):
            raise LevyError(
                f"{n} fields with {0 if times is None else len(times)} times: values are mapped by season, so each needs its time"
            )
        return seasons_of(times)

    def _check(self, x: np.ndarray) -> None:
        if x.ndim != 4 or x.shape[1:] != self.shape:
            raise LevyError(
                f"fields of shape {tuple(x.shape)}, but [N, {', '.join(map(str, self.shape))}] is expected "
                f"(channels {', '.join(self.names)})"
            )

    def _cycle(self, times: np.ndarray | None, n: int) -> np.ndarray | float:
        if self.climatology is None:
            return 0.0
        if times is None or len(times) != n:
            raise LevyError(
                f"{n} fields with {0 if times is None else len(times)} times: a climatology was taken off these fields, "
                "so each needs its time"
            )
        return self.climatology.at(times)

    def _standardised(self, transformed: np.ndarray, times: np.ndarray | None) -> np.ndarray:
        transformed -= self._cycle(times, len(transformed))
        transformed -= _channels(self.mean)
        transformed /= _channels(self.std)
        return self._masked(transformed).astype(np.float32)

    def _masked(self, x: np.ndarray) -> np.ndarray:
        if not self.valid.all():
            x[:, ~self.valid] = np.nan
        return x


def _variable(values: dict[str, Any]) -> Variable:
    scores = values.get("scores")
    return Variable(**{**values, "scores": scores and NormalScores.from_mapping(scores)})


def _channels(values: np.ndarray) -> np.ndarray:
    """Numbers of each channel, or of each of its cells, against fields."""
    return values[:, None, None] if values.ndim == 1 else values
