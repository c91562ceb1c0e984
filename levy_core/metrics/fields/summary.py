"""What measures need of each field, so that the fields themselves need not be kept: summaries of parts can be made anywhere and joined."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from levy_core.base.errors import LevyError
from levy_core.base.rows import parts
from levy_core.metrics.fields import spatial
from levy_core.metrics.fields.geometry import PLANE, Geometry
from levy_core.metrics.fields.spatial import Pairs

POOLED = 12_000_000  # values of a variable that are pooled, at most, unless FEWEST cells of each field are more,
FEWEST, FIELDS = 1000, 1000  # of FIELDS fields or fewer as many of each: generated ones may be more than real ones
HOLES = 2_000_000_000  # cells of fields of which is kept whether they are missing


class Fields(Protocol):
    """Fields that need not fit into memory."""

    @property
    def shape(self) -> tuple[int, ...]:
        """N, C, H, W."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """[n, C, H, W] of the rows, int64 [n]."""
        ...


@dataclass(frozen=True, eq=False)
class Holes:
    """Cells that are missing in single fields.

    Attributes:
        packed: bits uint8 [M, bytes], of fields spread evenly over all. labels: of these, int64 [M]. shape: C, H, W.
    """

    packed: np.ndarray
    labels: np.ndarray
    shape: tuple[int, ...]

    def choose(self, labels: np.ndarray) -> np.ndarray:
        """For generated fields of labels [n] real ones that have the same, or any where none has it, each about as often: int64 [n]."""
        chosen = _spread(len(labels), np.arange(len(self.packed)))
        for label in np.intersect1d(labels, self.labels):
            own = labels == label
            chosen[own] = _spread(int(own.sum()), np.flatnonzero(self.labels == label))
        return chosen

    def of(self, chosen: np.ndarray) -> np.ndarray:
        """Of some of the fields, bool [n, C, H, W]."""
        return (
            np.unpackbits(self.packed[chosen], axis=1, count=int(np.prod(self.shape)))
            .astype(bool)
            .reshape(-1, *self.shape)
        )


def _spread(n: int, over: np.ndarray) -> np.ndarray:
    return over[np.arange(n) * len(over) // max(1, n)]


@dataclass(frozen=True, eq=False)
class Summary:
    """Numbers of each of N fields of C variables.

    Attributes:
        values: of the K cells of a frame that are pooled, float32 [N, C, K], NaN where missing. means: over the area, float64 [N, C].
        maxima: over all cells, float64 [N, C]. power: at each wavenumber (``Geometry.power``), float64 [N, C, R].
        beside: of each variable the values of the cells that a frame has pairs of, float32 [N, P].
    """

    values: np.ndarray
    means: np.ndarray
    maxima: np.ndarray
    power: np.ndarray
    beside: tuple[np.ndarray, ...]

    def __len__(self) -> int:
        return len(self.values)

    def rows(self, rows: np.ndarray) -> "Summary":
        """Of some of the fields."""
        return Summary(
            self.values[rows],
            self.means[rows],
            self.maxima[rows],
            self.power[rows],
            tuple(b[rows] for b in self.beside),
        )

    @classmethod
    def join(cls, summaries: Sequence["Summary"]) -> "Summary":
        """Of all fields, one part after the other."""
        if len(summaries) == 1:
            return summaries[0]
        return cls(
            np.concatenate([s.values for s in summaries]),
            np.concatenate([s.means for s in summaries]),
            np.concatenate([s.maxima for s in summaries]),
            np.concatenate([s.power for s in summaries]),
            tuple(map(np.concatenate, zip(*(s.beside for s in summaries), strict=True))),
        )

    def ordered(self, c: int) -> np.ndarray:
        """Pooled values of variable ``c``, ascending float64 [n]."""
        values = self.values[:, c].astype(np.float64).reshape(-1)
        return np.sort(values[~np.isnan(values)])

    def known_means(self, c: int) -> np.ndarray:
        """Means of the fields of variable ``c`` that have values, [at most N]."""
        means = self.means[:, c]
        return means[~np.isnan(means)]


@dataclass(frozen=True, eq=False)
class Frame:
    """Which cells of fields are looked at.

    Attributes:
        valid: cells that are not always missing, bool [C, H, W]. areas: of cells [H, W], or [H] of the cells of each row, up to a factor; or None.
        most: fields that are expected: of fewer more cells are pooled.
        holes: that generated fields get as well, so that both sides lack the same; None for none. geometry: how cells lie beside each other.
    """

    valid: np.ndarray
    areas: np.ndarray | None
    most: int
    holes: Holes | None = None
    geometry: Geometry = PLANE

    @property
    def space(self) -> tuple[int, int]:
        """H, W."""
        return self.valid.shape[1], self.valid.shape[2]

    @property
    def wavenumbers(self) -> np.ndarray:
        """At which fields have power, [R]."""
        return self.geometry.wavenumbers(self.space)

    @cached_property
    def modes(self) -> np.ndarray:
        """How often each is in the variance of a field, [R]."""
        return self.geometry.modes(self.space)

    @cached_property
    def even(self) -> np.ndarray:
        """Cells that stand for equal areas, bool [H, W]."""
        return spatial.even_cells(self.areas, self.space)

    @cached_property
    def pooled(self) -> np.ndarray:
        """Those of them whose values are pooled, flat int64 [K], ascending: all, or drawn so that ``most`` fields have ``POOLED`` values.

        Neighbouring cells of large fields say the same. Of 6,000 cells of 2,000 fields 12,000 values lie above the 99.9 % quantile: even if all were
        independent, choosing cells would add 0.3 % to its error where the tail index is 3. A sample of values has no bias in any quantile, and
        its blocks of times can be drawn again for intervals, which sketches (t-digest, KLL) cannot. Of more fields fewer cells are drawn, all of
        them among those of fewer fields.
        """
        cells = np.flatnonzero(self.even)
        kept = max(FEWEST, POOLED // max(FIELDS, self.most))
        if len(cells) <= kept:
            return cells
        return np.sort(np.random.default_rng(0).permutation(cells)[:kept])

    @cached_property
    def cells(self) -> tuple[np.ndarray, ...]:
        """Of each variable the cells that pairs are of, flat int64 [P], ascending."""
        return tuple(
            np.unique(np.concatenate([np.empty(0, int), *map(np.concatenate, pairs)])) for pairs in self._pairs
        )

    @cached_property
    def pairs(self) -> tuple[list[Pairs], ...]:
        """Of each variable by class of distance, as positions among ``cells``."""
        return tuple(
            [(np.searchsorted(cells, a), np.searchsorted(cells, b)) for a, b in pairs]
            for cells, pairs in zip(self.cells, self._pairs, strict=True)
        )

    @cached_property
    def _pairs(self) -> tuple[list[Pairs], ...]:
        return tuple(self.geometry.pairs(valid) for valid in self.valid)

    def look(self, fields: np.ndarray) -> Summary:
        """The numbers of fields [N, C, H, W], NaN where missing."""
        flat = fields.reshape(*fields.shape[:2], self.even.size)
        means, power = np.full(flat.shape[:2], np.nan), np.empty((*flat.shape[:2], len(self.wavenumbers)))
        for c, valid in enumerate(self.valid):
            values = flat[:, c, (self.even & valid).reshape(-1)].astype(np.float64)
            known = ~np.isnan(values)
            counts = known.sum(1)
            np.divide(np.where(known, values, 0).sum(1), counts, out=means[:, c], where=counts > 0)
            power[:, c] = self.geometry.power(fields[:, c].astype(np.float64))
        maxima = np.fmax.reduce(flat, axis=2).astype(np.float64)
        beside = tuple(_to_float32(flat[:, c, cells]) for c, cells in enumerate(self.cells))
        return Summary(_to_float32(flat[:, :, self.pooled]), means, maxima, power, beside)

    def masked(self, fields: np.ndarray, chosen: np.ndarray | None = None) -> np.ndarray:
        """Generated fields [n, C, H, W], NaN where real ones are: in cells that are always missing, and in single holes, where there are
        such, those ``chosen`` by ``Holes.choose``.

        Raises:
            LevyError: they are of another shape than the real ones.
        """
        if fields.ndim != 4 or fields.shape[1:] != self.valid.shape:
            raise LevyError(
                f"generated fields have the shape {fields.shape}, the real ones [N, C, H, W] with {self.valid.shape}: sample from a "
                "model of the same prepared data"
            )
        if self.holes is not None and chosen is not None:
            return np.where(self.holes.of(chosen), np.nan, fields)
        return fields if self.valid.all() else np.where(self.valid, fields, np.nan)


def _to_float32(values: np.ndarray) -> np.ndarray:
    """No further out than its largest number: infinite values would be left out of the tails that they are."""
    most = np.finfo(np.float32).max
    return np.clip(values, -most, most).astype(np.float32)


def summarise(generated: Fields, frames: dict[str, Frame], labels: np.ndarray | None = None) -> dict[str, Summary]:
    """What each frame sees of generated fields [N, C, H, W], which are read once, a part at a time; by their labels [N] they get holes of
    real ones that have the same, because ice and darkness have seasons.

    Raises:
        LevyError: as ``Frame.masked``.
    """
    n, found = len(generated), {name: list[Summary]() for name in frames}
    of = np.full(n, -1) if labels is None else labels
    chosen = {name: frame.holes.choose(of) for name, frame in frames.items() if frame.holes is not None}
    for part in parts(n, generated.shape[1:]):
        rows = np.arange(n)[part]
        fields = generated[rows]
        for name, frame in frames.items():
            found[name].append(frame.look(frame.masked(fields, chosen[name][rows] if name in chosen else None)))
    return {name: Summary.join(seen) for name, seen in found.items()}
