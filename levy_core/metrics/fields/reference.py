"""Real weather fields, measured once, and the distance of generated ones from them that samplers are chosen by."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from levy_core.base.errors import LevyError
from levy_core.base.rows import BlockMap, parts, thin_rows
from levy_core.metrics.common.bootstrap import block_rows
from levy_core.metrics.common.extremes import return_levels
from levy_core.metrics.common.intervals import PERIODS, count_exceedances, estimates
from levy_core.metrics.common.marginal import NAN, Tail, mean_square
from levy_core.metrics.fields import spatial
from levy_core.metrics.fields.distances import Distances, Real, spectrum_error
from levy_core.metrics.fields.geometry import PLANE, Geometry, Places, read_geometry
from levy_core.metrics.fields.summary import HOLES, Fields, Frame, Holes, Summary, summarise


@dataclass(frozen=True)
class FieldsMeasures:
    """Settings.

    Attributes:
        levels: upper quantiles of the reach that ``tail_error`` looks at, those that enough values lie above.
        tail_share: share of the values that Hill's index and the generalised Pareto shape are estimated from.
        block: times per block of the bootstrap: several times as long as weather remembers.
        resamples: draws of the bootstrap. most: real fields looked at, in blocks spread evenly over the period.
    """

    levels: tuple[float, ...] = (0.95, 0.98, 0.99, 0.995, 0.998, 0.999)
    tail_share: float = 0.01
    block: int = 10
    resamples: int = 200
    most: int = 2000


@dataclass(frozen=True, eq=False)
class FieldsReference:
    """Real fields to judge against; what does not depend on the samples is computed once.

    Attributes:
        summary: of M real fields in the order of time. labels: int64 [M]. names: [C]. frame: which cells are looked at. config: settings.
        runs: which run of neighbouring times each field belongs to, ascending int64 [M].
        estimates: by variable, the real numbers with their intervals (``intervals.estimates``) and what extremes rest on
            (``intervals.count_exceedances``).
        wet: by variable, the value from which on a cell counts as wet, for those that have one.
    """

    summary: Summary
    labels: np.ndarray
    names: tuple[str, ...]
    frame: Frame
    config: FieldsMeasures
    runs: np.ndarray
    estimates: dict[str, Any]
    wet: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        values: Fields,
        labels: np.ndarray,
        names: tuple[str, ...],
        areas: np.ndarray | None,
        config: FieldsMeasures,
        wet: Mapping[str, float] | None = None,
        valid: np.ndarray | None = None,
        block_map: BlockMap = map,
        runs: np.ndarray | None = None,
        geometry: Geometry = PLANE,
    ) -> "FieldsReference":
        """Measures real fields [N, C, H, W], labels int64 [N], with confidence intervals.

        ``areas`` [H] or [H, W] thin the smaller cells of a grid (``even_cells``). At most ``config.most`` fields are looked at
        (``rows.thin_rows`` says which), and read, a part at a time; with ``valid``, bool [C, H, W] of cells that may have values, once, as
        long as each has one among the first. Parts are summarised through ``block_map``, perhaps in other processes, and joined here.
        ``runs`` [N] say which fields follow on each other (the attribute); None: all. ``geometry`` says how cells lie beside each other.

        Raises:
            LevyError: shapes that do not fit together, or a variable without any value.
        """
        shape = tuple(values.shape)
        if len(shape) != 4 or shape[:2] != (len(labels), len(names)) or not shape[0]:
            raise LevyError(
                f"real fields have the shape {shape} with {len(labels)} labels and the variables {', '.join(names)}: "
                f"[N, C, H, W] with N labels, C names and at least one field was expected"
            )
        runs = np.zeros(len(labels), dtype=np.int64) if runs is None else runs
        rows = thin_rows(len(values), config.most, config.block, runs)
        known = _find_known(values, rows, valid)
        for c, name in enumerate(names):
            if not known[c].any():
                raise LevyError(f"{name} has no value in any of {len(rows)} real fields: look at the prepared data")
        frame = Frame(known, areas, len(rows), geometry=geometry)
        every = max(1, -(-len(rows) * int(np.prod(shape[1:])) // HOLES))
        seen = list(block_map(partial(_look, values, rows, frame, every), parts(len(rows), shape[1:])))
        if any(found.has_holes for found in seen):
            packed = np.concatenate([found.missing for found in seen])
            frame = replace(frame, holes=Holes(packed, labels[rows[::every]].astype(np.int64), shape[1:]))
        summary, labels = Summary.join([found.summary for found in seen]), labels[rows].astype(np.int64)
        found = cls(summary, labels, tuple(names), frame, config, runs[rows], {}, wet or {})
        return replace(found, estimates={name: found._estimate(c) for c, name in enumerate(names)})

    def _estimate(self, c: int) -> dict[str, Any]:
        config, largest, means = self.config, self.summary.maxima[:, c], self.summary.means[:, c]
        values, block, runs = self.summary.values[:, c].astype(np.float64), config.block, self.runs
        return {
            **estimates(values, largest, means, config.levels, config.tail_share, block, config.resamples, runs=runs),
            **count_exceedances(values, largest, config.levels, block, runs),
        }

    def tensors(self) -> dict[str, torch.Tensor]:
        """For a safetensors file; with ``description`` all that ``read`` needs."""
        its = self.summary
        arrays = {"values": its.values, "means": its.means, "maxima": its.maxima, "power": its.power}
        arrays |= {"labels": self.labels, "valid": self.frame.valid}
        arrays |= {f"beside.{c}": values for c, values in enumerate(self.summary.beside)}
        if self.runs[0] != self.runs[-1]:
            arrays["runs"] = self.runs
        if self.frame.areas is not None:
            arrays["areas"] = self.frame.areas
        arrays |= self.frame.geometry.arrays()
        if self.frame.holes is not None:
            arrays |= {"holes": self.frame.holes.packed, "holes.labels": self.frame.holes.labels}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}

    def description(self) -> dict[str, Any]:
        """For a JSON file: settings, names, and under ``variables`` each real number with its interval."""
        return {
            "names": list(self.names),
            "config": asdict(self.config) | {"levels": list(self.config.levels)},
            "variables": self.estimates,
            "wet": dict(self.wet),
        }

    @classmethod
    def read(cls, tensors: dict[str, torch.Tensor], description: dict[str, Any]) -> "FieldsReference":
        """The reference again, from what ``tensors`` and ``description`` gave."""
        config = FieldsMeasures(**description["config"] | {"levels": tuple(description["config"]["levels"])})
        arrays, names = {name: tensor.numpy() for name, tensor in tensors.items()}, tuple(description["names"])
        valid, beside = arrays["valid"], tuple(arrays[f"beside.{c}"] for c in range(len(names)))
        summary = Summary(arrays["values"], arrays["means"], arrays["maxima"], arrays["power"], beside)
        return cls(
            summary,
            arrays["labels"],
            names,
            Frame(
                valid,
                arrays.get("areas"),
                len(arrays["labels"]),
                Holes(arrays["holes"], arrays["holes.labels"], valid.shape) if "holes" in arrays else None,
                read_geometry(arrays),
            ),
            config,
            arrays.get("runs", np.zeros(len(arrays["labels"]), dtype=np.int64)),
            description["variables"],
            description["wet"],
        )

    def rows(self, rows: np.ndarray) -> "FieldsReference":
        """The reference of some of its fields, without estimates."""
        return replace(
            self, summary=self.summary.rows(rows), labels=self.labels[rows], runs=self.runs[rows], estimates={}
        )

    def floor(self, n: int, draws: int = 8) -> float:
        """The distance to expect of n perfect samples: what remains because they, and the real fields, are few.

        Real fields drawn one by one stand for the samples, and a resample of blocks for the real fields.
        """
        rng = np.random.default_rng(0)
        distances = []
        for rows in block_rows(len(self.summary), self.config.block, draws, rng, self.runs):
            chosen = rng.integers(len(self.summary), size=n)
            distances.append(self.rows(rows).distance(self.summary.rows(chosen)))
        return float(np.mean(distances))

    @cached_property
    def variables(self) -> tuple[Real, ...]:
        """What distances need, by variable."""
        config, modes = self.config, self.frame.modes
        return tuple(
            Real.of(self.summary.power[:, c], modes, self.summary.ordered(c), config.levels, config.tail_share)
            for c in range(len(self.names))
        )

    @cached_property
    def return_levels(self) -> tuple[np.ndarray, ...]:
        """By variable: levels that a field's largest value exceeds once in ``PERIODS`` fields."""
        return tuple(return_levels(self.summary.maxima, PERIODS).T)

    @cached_property
    def means(self) -> tuple[tuple[float, Tail], ...]:
        """By variable: the median of the means over the area, and how far they reach from it."""
        found = []
        for c in range(len(self.names)):
            means = self.summary.known_means(c)
            centre = float(np.median(means))
            found.append((centre, Tail.of(np.abs(means - centre))))
        return tuple(found)

    @cached_property
    def correlations(self) -> tuple[list[np.ndarray], ...]:
        """By variable and class of distance: correlations of the frame's pairs of cells."""
        return tuple(
            [spatial.rank_correlation(seen, pairs) for pairs in classes]
            for seen, classes in zip(self.summary.beside, self.frame.pairs, strict=True)
        )

    @cached_property
    def joint(self) -> tuple[np.ndarray, ...]:
        """By variable: joint exceedance of two cells by class of distance, [classes]."""
        return tuple(
            np.array([spatial.joint_exceedance(seen, pairs) for pairs in classes])
            for seen, classes in zip(self.summary.beside, self.frame.pairs, strict=True)
        )

    @cached_property
    def chi(self) -> np.ndarray:
        """Dependence of the extremes of every two variables, [C, C]."""
        return spatial.joint_extremes(self.summary.values)

    @cached_property
    def classes(self) -> dict[int, "FieldsReference"]:
        """The fields of each label."""
        return {int(label): self.rows(np.flatnonzero(self.labels == label)) for label in np.unique(self.labels)}

    def distances_of(self, generated: Summary, c: int) -> Distances:
        """Variable ``c`` of generated fields against the real one."""
        return Distances.of(generated.ordered(c), self.variables[c], self._error_beside(generated, c))

    def _error_beside(self, generated: Summary, c: int) -> float | None:
        if self.has_spectrum:
            return spectrum_error(generated.power[:, c], self.frame.modes, self.variables[c])
        return self.correlation_error(generated, c) if self.frame.pairs[c] else None

    @property
    def has_spectrum(self) -> bool:
        """Not of places."""
        return not isinstance(self.frame.geometry, Places)

    def correlation_error(self, generated: Summary, c: int) -> float:
        """Root mean square difference of the rank correlations of pairs of cells, each class of distance alike; NaN for too few fields.

        A generated cell that is the same in all fields knows nothing of others: 0, where leaving it out would reward it.
        """
        values = generated.beside[c]
        constant = np.nanmax(values, 0, initial=-np.inf) == np.nanmin(values, 0, initial=np.inf)
        constant &= (~np.isnan(values)).sum(0) >= spatial.FEWEST_FIELDS
        differences = []
        for pairs, theirs in zip(self.frame.pairs[c], self.correlations[c], strict=True):
            found = spatial.rank_correlation(values, pairs)
            found[np.isnan(found) & (constant[pairs[0]] | constant[pairs[1]])] = 0
            differences.append(theirs - found)
        squares = np.array([mean_square(each[~np.isnan(each)]) for each in differences])
        squares = squares[~np.isnan(squares)]
        return float(np.sqrt(squares.mean())) if len(squares) else NAN

    def distance(self, generated: Summary) -> float:
        """The number that samplers are chosen by: the mean over variables of ``Distances.distance``; 0 is perfect. NaN for too few samples."""
        return float(np.mean([self.distances_of(generated, c).distance for c in range(len(self.names))]))


def distance(generated: Fields, real: FieldsReference, labels: np.ndarray | None = None) -> float:
    """``FieldsReference.distance`` of fields [N, C, H, W] in the units of the real ones; labels as of ``summarise``."""
    return real.distance(summarise(generated, {"": real.frame}, labels)[""])


@dataclass(frozen=True)
class _Looked:
    """A part of the real fields: their numbers, of every so many which cells are missing (``Holes.packed``), and whether any that has values is."""

    summary: Summary
    missing: np.ndarray
    has_holes: bool


def _look(values: Fields, rows: np.ndarray, frame: Frame, every: int, part: slice) -> _Looked:
    fields = values[rows[part]].astype(np.float32)
    missing = np.isnan(fields)
    kept = missing[np.arange(len(rows))[part] % every == 0]
    packed = np.packbits(kept.reshape(-1, frame.valid.size), axis=1)
    return _Looked(frame.look(fields), packed, bool((missing & frame.valid).any()))


def _find_known(values: Fields, rows: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
    """Cells that have a value in any of these fields, bool [C, H, W]; reads no further once all that may have one had."""
    shape = tuple(values.shape[1:])
    known = np.zeros(shape, dtype=bool)
    may = np.ones(shape, dtype=bool) if valid is None else valid
    for part in parts(len(rows), shape):
        known |= np.logical_not(np.isnan(values[rows[part]]).all(axis=0))
        if (known | ~may).all():
            break
    return known
