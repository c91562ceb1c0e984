"""The smooth cycle of each cell by day of the year and hour of the day: a few harmonics, fitted by least squares in one pass."""

from dataclasses import dataclass

import numpy as np
import xarray as xr

DAY_HARMONICS = 3
HOUR_HARMONICS = 2
SINGULAR = 1e-10  # relative: terms that the data do not tell apart (sin of 2 per day, with 4 fields per day) get 0


def design(kind: str, times: np.ndarray) -> np.ndarray:
    """The terms at some times, float64 [N, terms].

    Args:
        kind: none (a constant), day, hour or day-hour. times: [N] datetime64 or cftime of any calendar.

    A constant, 3 harmonics of the year and 2 of the day; with both, the year's first harmonic also multiplies the day's,
    since days differ from summer to winter. Hours are the data's own (UTC): each cell has coefficients of its own.
    """
    year, day = phases(times)
    yearly = _harmonics(year, DAY_HARMONICS) if "day" in kind else np.empty((len(times), 0))
    hourly = _harmonics(day, HOUR_HARMONICS) if "hour" in kind else np.empty((len(times), 0))
    both = (yearly[:, :2, None] * hourly[:, None]).reshape(len(times), -1) if kind == "day-hour" else yearly[:, :0]
    return np.hstack([np.ones((len(times), 1)), yearly, hourly, both])


def phases(times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where times [N] lie in their year and in their day, each from 0 up to 1."""
    clock = xr.DataArray(times, dims="time").dt
    day = ((clock.hour + clock.minute / 60 + clock.second / 3600) / 24).to_numpy()
    return (clock.dayofyear.to_numpy() - 1 + day) / clock.days_in_year.to_numpy(), day


def _harmonics(phase: np.ndarray, count: int) -> np.ndarray:
    angles = 2 * np.pi * phase[:, None] * np.arange(1, count + 1)
    return np.stack([np.cos(angles), np.sin(angles)], axis=2).reshape(len(phase), -1)


@dataclass(frozen=True)
class Climatology:
    """Coefficients float64 [C, terms, H, W] of the terms of ``design(kind, times)``, in transformed units."""

    kind: str
    coefficients: np.ndarray

    def at(self, times: np.ndarray) -> np.ndarray:
        """The cycle at some times, float64 [N, C, H, W]."""
        c, t, h, w = self.coefficients.shape
        cycles = design(self.kind, times) @ self.coefficients.reshape(c, t, h * w)  # [C, N, H * W]
        return cycles.reshape(c, len(times), h, w).swapaxes(0, 1)

    def at_cells(self, times: np.ndarray, channel: int, cells: np.ndarray) -> np.ndarray:
        """The same of some cells [k] of one channel, flattened, float64 [N, k]."""
        own = self.coefficients[channel]
        return design(self.kind, times) @ own.reshape(len(own), -1)[:, cells]


class Fit:
    """Least squares of one channel, cell by cell, from blocks of fields: only sums are kept, and those of two spans can be added.

    Memory: terms x cells, and terms x terms for each cell that lacks some of the times.
    """

    def __init__(self, terms: int, cells: int):
        self.count = np.zeros(cells, dtype=np.int64)
        self._gram = np.zeros((terms, terms))
        self._moment = np.zeros((terms, cells))
        self._squares = np.zeros(cells)
        self._slot = np.full(cells, -1)  # of a cell with gaps in _lacking
        self._lacking = np.zeros((0, terms, terms))  # what its gaps would have added to the Gram matrix

    def add(self, terms: np.ndarray, values: np.ndarray) -> None:
        """A block of fields: terms [n, T] and values [n, cells], NaN where missing."""
        block = Fit(*self._moment.shape)
        missing = np.isnan(values)
        filled = np.where(missing, 0.0, values)
        block.count = (~missing).sum(0)
        gaps = np.flatnonzero(missing.any(0) & (block.count > 0))
        if len(gaps):
            products = (terms[:, :, None] * terms[:, None]).reshape(len(terms), -1)
            lacking = missing[:, gaps].T.astype(np.float64) @ products
            block._lack(gaps, lacking.reshape(-1, *block._gram.shape))
        block._gram = terms.T @ terms
        block._moment = terms.T @ filled
        block._squares = (filled**2).sum(0)
        self.merge(block)

    def merge(self, later: "Fit") -> None:
        late = (self.count == 0) & (later.count > 0) & (self._gram[0, 0] > 0)  # seen there first: all before is a gap
        gone = (self.count > 0) & (later.count == 0)  # all of the later is a gap
        within = later._slot >= 0
        gaps = np.flatnonzero(late | gone | within)
        if len(gaps):
            lacking = late[gaps, None, None] * self._gram + gone[gaps, None, None] * later._gram
            lacking[within[gaps]] += later._lacking[later._slot[gaps[within[gaps]]]]
            self._lack(gaps, lacking)
        self.count += later.count
        self._gram += later._gram
        self._moment += later._moment
        self._squares += later._squares

    def _lack(self, cells: np.ndarray, lacking: np.ndarray) -> None:
        """Adds to what gaps of some cells would have added to the Gram matrix."""
        opened = cells[self._slot[cells] < 0]
        self._slot[opened] = len(self._lacking) + np.arange(len(opened))
        self._lacking = np.concatenate([self._lacking, np.zeros((len(opened), *self._gram.shape))])
        self._lacking[self._slot[cells]] += lacking

    def sums(self) -> tuple[float, float]:
        """The sum of all values and that of their squares."""
        return float(self._moment[0].sum()), float(self._squares.sum())

    def solve(self) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients [T, cells] (0 in cells that are always missing) and each cell's sum of squared residuals [cells]."""
        coefficients = np.linalg.pinv(self._gram, rcond=SINGULAR, hermitian=True) @ self._moment
        cells = np.flatnonzero(self._slot >= 0)
        grams = self._gram - self._lacking[self._slot[cells]]
        inverses = np.linalg.pinv(grams, rcond=SINGULAR, hermitian=True)
        coefficients[:, cells] = np.einsum("cts,sc->tc", inverses, self._moment[:, cells])
        return coefficients, self._squares - (self._moment * coefficients).sum(0)
