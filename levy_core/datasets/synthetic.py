"""Fields in the style of ERA5, made up, whose truth is known: cycles plus Student-t anomalies.

An anomaly is ``g / sqrt(chi2 / nu)``: g is Gaussian with unit variance, a power-law spectrum in space and AR(1) in time;
chi2 is chi-square with nu degrees of freedom, one per time step for all cells, AR(1) through its Gaussian quantile. So the
cells of a step are jointly Student-t (spherical mixing), and every weighted sum of cells has the tail index nu.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from math import inf, pi, sqrt

import numpy as np
import xarray as xr
from scipy import fft, special, stats

from levy_core.base.errors import LevyError, choose

Profile = Callable[[np.ndarray], np.ndarray]  # of the latitude in radians
TIME = "valid_time"  # the name that the Climate Data Store gives it
YEAR = 365.2425  # days


@dataclass(frozen=True)
class Kind:
    """A variable of ERA5: its attributes and, in ``units``, its climate and the scale of its anomalies by latitude.

    ``above``: the field is ``scale * max(anomaly - above, 0)``: zero in most cells, with the tail index of the anomaly.
    """

    attributes: dict[str, str]
    scale: Profile
    mean: Profile = np.zeros_like
    season: Profile = np.zeros_like  # amplitude, largest on 19 July
    day: Profile = np.zeros_like  # amplitude, largest at 15:00 local solar time
    above: float | None = None


KINDS = {
    "t2m": Kind(
        {"long_name": "2 metre temperature", "standard_name": "air_temperature", "units": "K"},
        scale=lambda phi: 1 + 3 * np.sin(phi) ** 2,
        mean=lambda phi: 300 - 45 * np.sin(phi) ** 2,
        season=lambda phi: 12 * np.sin(phi),
        day=lambda phi: 4 * np.cos(phi),
    ),
    "u10": Kind(
        {"long_name": "10 metre U wind component", "standard_name": "eastward_wind", "units": "m s**-1"},
        scale=lambda phi: 1.5 + 1.5 * np.sin(2 * phi) ** 2,
        mean=lambda phi: -5 * np.cos(3 * phi),  # trade winds, westerlies, polar easterlies
        season=lambda phi: -1 * np.sin(2 * phi),
    ),
    "tp": Kind(
        {
            "long_name": "Total precipitation",
            "standard_name": "lwe_thickness_of_precipitation_amount",
            "units": "m",
            "cell_methods": f"{TIME}: sum",
        },
        scale=lambda phi: 0.002 + 0.004 * np.cos(phi) ** 4,
        above=0.5,
    ),
}


@dataclass(frozen=True)
class Synthetic:
    """Everything that determines the fields but their number, and what is known of them.

    Args:
        variables: keys of ``KINDS``. shape: cells north to south and west to east.
        box: south, north, west, east in degrees, ends included; None: round the globe, which is periodic.
        nu: degrees of freedom, the tail index. slope: power falls as ``wavenumber**-slope`` (cycles per cell).
        persistence: AR(1) coefficient from one step to the next. hours: length of a step.
        shared: how much of the mixing variable the variables have in common: 1 all, 0 each its own.

    Raises:
        LevyError: names the setting, its value and what is allowed.
    """

    variables: tuple[str, ...] = ("t2m", "u10", "tp")
    shape: tuple[int, int] = (16, 32)
    box: tuple[float, float, float, float] | None = None
    nu: float = 4.0
    slope: float = 3.0
    persistence: float = 0.6
    shared: float = 1.0
    start: str = "2001-01-01T12"
    hours: int = 24
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.variables:
            choose("variable", name, KINDS)
        choices = {
            "nu": (self.nu > 0, "above 0"),
            "persistence": (0 <= self.persistence < 1, "from 0 up to, not including, 1"),
            "shared": (0 <= self.shared <= 1, "from 0 to 1"),
            "hours": (self.hours >= 1, "at least 1"),
        }
        for name, (fits, range_) in choices.items():
            if not fits:
                raise LevyError(f"{name} is {getattr(self, name)}, but must be {range_}")
        if self.box and not (-90 <= self.box[0] < self.box[1] <= 90 and self.box[2] < self.box[3] < self.box[2] + 360):
            raise LevyError(
                f"box is {self.box}, but must be south, north, west, east in degrees, less than the globe round"
            )

    @property
    def latitude(self) -> np.ndarray:
        """Degrees north, falling, [H]: middles of equal bands, or the box's edges included."""
        if self.box is None:
            return 90 - (np.arange(self.shape[0]) + 0.5) * 180 / self.shape[0]
        return np.linspace(self.box[1], self.box[0], self.shape[0])

    @property
    def longitude(self) -> np.ndarray:
        """Degrees east, rising, [W]."""
        if self.box is None:
            return np.arange(self.shape[1]) * 360 / self.shape[1]
        return np.linspace(self.box[2], self.box[3], self.shape[1])

    def times(self, steps: int) -> np.ndarray:
        """The first times, datetime64[ns] [steps]."""
        return np.datetime64(self.start, "ns") + np.arange(steps) * np.timedelta64(self.hours, "h")

    def scale(self, variable: str) -> np.ndarray:
        """What a standard Student-t anomaly is multiplied by, in the variable's units, [H, W]."""
        return np.repeat(KINDS[variable].scale(np.deg2rad(self.latitude))[:, None], self.shape[1], axis=1)

    def cycles(self, variable: str, times: np.ndarray) -> np.ndarray:
        """The field without its anomalies, in the variable's units, [T, H, W]."""
        kind, phi = KINDS[variable], np.deg2rad(self.latitude)[:, None]
        days = (times - np.datetime64("2001-01-01", "ns")) / np.timedelta64(1, "D")
        season = np.cos(2 * pi * (days - 199) / YEAR)[:, None, None]
        day = np.cos(2 * pi * (days[:, None, None] + self.longitude / 360 - 15 / 24))
        return kind.mean(phi) + kind.season(phi) * season + kind.day(phi) * day

    def quantile(self, variable: str, level: float) -> np.ndarray:
        """Exact quantile of the field minus its cycles, in the variable's units, [H, W]."""
        anomaly, above = stats.t.ppf(level, self.nu), KINDS[variable].above
        return self.scale(variable) * (anomaly if above is None else max(anomaly - above, 0.0))

    @cached_property
    def _amplitude(self) -> np.ndarray:
        # On a torus twice as high as the field (and as wide, in a box), whose part the field is: no edge meets another.
        height, width = 2 * self.shape[0], self.shape[1] * (1 if self.box is None else 2)
        k = np.hypot(fft.fftfreq(height)[:, None], fft.fftfreq(width)[None])
        k[0, 0] = inf
        amplitude = k ** (-self.slope / 2)
        return amplitude / sqrt(np.mean(amplitude**2))

    def correlation(self) -> np.ndarray:
        """Exact correlation of two cells' anomalies by their distance in rows and columns, [H, W]."""
        return fft.ifft2(self._amplitude**2).real[: self.shape[0], : self.shape[1]]

    def anomalies(self) -> Iterator[np.ndarray]:
        """Standard Student-t anomalies (scale 1), step after step without end, float64 [C, H, W]."""
        cells, mixing = (np.random.default_rng(s) for s in np.random.SeedSequence(self.seed).spawn(2))
        fresh, count = sqrt(1 - self.persistence**2), len(self.variables)

        def gaussian() -> np.ndarray:
            white = cells.standard_normal((count, *self._amplitude.shape))
            return fft.ifft2(self._amplitude * fft.fft2(white)).real[:, : self.shape[0], : self.shape[1]]

        g, u = gaussian(), mixing.standard_normal(1 + count)
        while True:
            z = sqrt(self.shared) * u[0] + sqrt(1 - self.shared) * u[1:]
            chi2 = 2 * special.gammaincinv(self.nu / 2, special.ndtr(z))
            yield g / np.sqrt(chi2 / self.nu)[:, None, None]
            g = self.persistence * g + fresh * gaussian()
            u = self.persistence * u + fresh * mixing.standard_normal(1 + count)

    def field(self, variable: str, anomaly: np.ndarray, times: np.ndarray) -> np.ndarray:
        """Physical values of standard anomalies [T, H, W], float32."""
        above = KINDS[variable].above
        moved = anomaly if above is None else np.maximum(anomaly - above, 0)
        return (self.cycles(variable, times) + self.scale(variable) * moved).astype(np.float32)

    def attributes(self) -> dict[str, str]:
        """Of a file: what these fields are, and everything that makes them again."""
        settings = ", ".join(f"{key} {value}" for key, value in asdict(self).items())
        return {
            "Conventions": "CF-1.7",
            "title": "Synthetic fields in the style of ERA5: neither observations nor a reanalysis",
            "source": "levy_core.datasets.synthetic, a random generator",
            "comment": f"Cycles plus Student-t anomalies of tail index {self.nu:g}. Settings: {settings}",
        }


def dataset(config: Synthetic, times: np.ndarray, values: dict[str, np.ndarray]) -> xr.Dataset:
    """Fields [T, H, W] of each variable with ERA5's coordinates and attributes."""
    about = {
        "latitude": {"units": "degrees_north", "standard_name": "latitude", "long_name": "latitude"},
        "longitude": {"units": "degrees_east", "standard_name": "longitude", "long_name": "longitude"},
        TIME: {"standard_name": "time", "long_name": "time"},
    }
    coordinates = {TIME: times, "latitude": config.latitude, "longitude": config.longitude}
    return xr.Dataset(
        {name: ((TIME, "latitude", "longitude"), array, KINDS[name].attributes) for name, array in values.items()},
        {name: (name, array, about[name]) for name, array in coordinates.items()},
        config.attributes(),
    )


def blocks(config: Synthetic, steps: int, block: int) -> Iterator[xr.Dataset]:
    """The first ``steps`` fields, ``block`` of them in memory at a time; the values do not depend on ``block``."""
    anomalies, times = config.anomalies(), config.times(steps)
    for first in range(0, steps, block):
        now = times[first : first + block]
        drawn = np.stack(list(islice(anomalies, len(now))))
        yield dataset(config, now, {v: config.field(v, drawn[:, i], now) for i, v in enumerate(config.variables)})
