"""Real weather fields, measured once, and the distance of generated ones from them that samplers are chosen by."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch

from levy_core.base.errors import LevyError
from levy_core.base.rows import thin_rows
from levy_core.metrics.common.bootstrap import block_rows
from levy_core.metrics.common.extremes import return_levels
from levy_core.metrics.common.intervals import PERIODS, count_exceedances, estimates
from levy_core.metrics.common.marginal import Tail
from levy_core.metrics.fields import spatial
from levy_core.metrics.fields.distances import Distances, Real
from levy_core.metrics.fields.spatial import even_cells


@dataclass(frozen=True)
class FieldsMeasures:
    """Settings.

    Attributes:
        levels: upper quantiles of the reach that ``tail_error`` looks at, those that enough values lie above.
        tail_share: share of the values that Hill's index and the generalised Pareto shape are estimated from.
        block: times per block of the bootstrap: several times as long as weather remembers.
        resamples: draws of the bootstrap. most: real fields kept, in blocks spread evenly over the period.
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
        fields: float32 [M, C, H, W] in the order of time, NaN where missing. labels: int64 [M]. names: [C].
        areas: of cells [H, W], or [H] of the cells of each row, up to a factor; or None. config: settings.
        estimates: by variable, the real numbers with their intervals (``intervals.estimates``) and what extremes rest on
            (``intervals.count_exceedances``).
        wet: by variable, the value from which on a cell counts as wet, for those that have one.
    """

    fields: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    areas: np.ndarray | None
    config: FieldsMeasures
    estimates: dict[str, Any]
    wet: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        values: np.ndarray,
        labels: np.ndarray,
        names: tuple[str, ...],
        areas: np.ndarray | None,
        config: FieldsMeasures,
        wet: Mapping[str, float] | None = None,
    ) -> "FieldsReference":
        """Measures real fields [N, C, H, W], labels int64 [N], with confidence intervals.

        ``areas`` [H] or [H, W] thin the smaller cells of a grid (``even_cells``). At most ``config.most``
        fields are kept and looked at; ``rows.thin_rows`` says which, so that a caller need not read the others.

        Raises:
            LevyError: shapes that do not fit together, or a variable without any value.
        """
        if values.ndim != 4 or values.shape[:2] != (len(labels), len(names)) or not len(values):
            raise LevyError(
                f"real fields have the shape {values.shape} with {len(labels)} labels and the variables {', '.join(names)}: "
                f"[N, C, H, W] with N labels, C names and at least one field was expected"
            )
        rows = thin_rows(len(values), config.most, config.block)
        fields = values[rows].astype(np.float32)
        for c, name in enumerate(names):
            if np.isnan(fields[:, c]).all():
                raise LevyError(f"{name} has no value in any of {len(fields)} real fields: look at the prepared data")
        cells = even_cells(areas, (fields.shape[2], fields.shape[3]))
        pooled = {name: fields[:, c][:, cells].astype(np.float64) for c, name in enumerate(names)}
        found = {
            name: {
                **estimates(values, config.levels, config.tail_share, config.block, config.resamples),
                **count_exceedances(values, config.levels, config.block),
            }
            for name, values in pooled.items()
        }
        return cls(fields, labels[rows].astype(np.int64), tuple(names), areas, config, found, wet or {})

    def tensors(self) -> dict[str, torch.Tensor]:
        """For a safetensors file; with ``description`` all that ``read`` needs."""
        arrays = {"fields": self.fields, "labels": self.labels} | ({} if self.areas is None else {"areas": self.areas})
        return {name: torch.from_numpy(array) for name, array in arrays.items()}

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
        return cls(
            tensors["fields"].numpy(),
            tensors["labels"].numpy(),
            tuple(description["names"]),
            tensors["areas"].numpy() if "areas" in tensors else None,
            config,
            description["variables"],
            description["wet"],
        )

    def rows(self, rows: np.ndarray) -> "FieldsReference":
        """The reference of some of its fields, without estimates."""
        return FieldsReference(self.fields[rows], self.labels[rows], self.names, self.areas, self.config, {}, self.wet)

    def floor(self, n: int, draws: int = 8) -> float:
        """The distance to expect of n perfect samples: what remains because they, and the real fields, are few.

        Real fields drawn one by one stand for the samples, and a resample of blocks for the real fields.
        """
        rng = np.random.default_rng(0)
        distances = []
        for rows in block_rows(len(self.fields), self.config.block, draws, rng):
            chosen = rng.integers(len(self.fields), size=n)
            distances.append(distance(self.fields[chosen].astype(np.float64), self.rows(rows)))
        return float(np.mean(distances))

    @cached_property
    def missing(self) -> np.ndarray:
        """bool [M, C, H, W]."""
        return np.isnan(self.fields)

    @cached_property
    def valid(self) -> np.ndarray:
        """Cells that are not always missing, bool [C, H, W]."""
        return np.logical_not(self.missing.all(axis=0))

    @cached_property
    def cells(self) -> np.ndarray:
        """Cells whose values are pooled, bool [H, W]."""
        return even_cells(self.areas, self.shape)

    @cached_property
    def variables(self) -> tuple[Real, ...]:
        """What distances need, by variable."""
        return tuple(self._real(c) for c in range(len(self.names)))

    def _real(self, c: int) -> Real:
        fields = self.fields[:, c].astype(np.float64)
        return Real.of(fields, self.pooled(fields, c), self.config.levels, self.config.tail_share)

    def ordered(self, c: int) -> np.ndarray:
        """Ascending values of variable ``c``, those that are pooled."""
        return self.pooled(self.fields[:, c].astype(np.float64), c)

    @cached_property
    def return_levels(self) -> tuple[np.ndarray, ...]:
        """By variable: levels that a field's largest value exceeds once in ``PERIODS`` fields."""
        return tuple(return_levels(self.fields[:, c].astype(np.float64), PERIODS) for c in range(len(self.names)))

    @cached_property
    def means(self) -> tuple[tuple[float, Tail], ...]:
        """By variable: the median of the fields' area means, and their reach."""
        found = []
        for c in range(len(self.names)):
            means = self.area_means(self.fields[:, c].astype(np.float64), c)
            centre = float(np.median(means))
            found.append((centre, Tail.of(np.abs(means - centre))))
        return tuple(found)

    @cached_property
    def correlations(self) -> tuple[list[tuple[spatial.Pairs, np.ndarray]], ...]:
        """By variable and class of distance: pairs of cells and their correlations."""
        pairs = [spatial.pairs_by_distance(valid) for valid in self.valid]
        return tuple(
            [(p, spatial.rank_correlation(self.fields[:, c], p)) for p in classes] for c, classes in enumerate(pairs)
        )

    @cached_property
    def joint(self) -> tuple[np.ndarray, ...]:
        """By variable: joint exceedance of two cells by class of distance, [classes]."""
        return tuple(
            np.array([spatial.joint_exceedance(self.fields[:, c], pairs) for pairs, _ in classes])
            for c, classes in enumerate(self.correlations)
        )

    @cached_property
    def chi(self) -> np.ndarray:
        """Dependence of the extremes of every two variables, [C, C]."""
        return spatial.joint_extremes(self.fields)

    @cached_property
    def classes(self) -> dict[int, "FieldsReference"]:
        """The fields of each label."""
        return {int(label): self.rows(np.flatnonzero(self.labels == label)) for label in np.unique(self.labels)}

    @property
    def shape(self) -> tuple[int, int]:
        return self.fields.shape[2], self.fields.shape[3]

    def pooled(self, fields: np.ndarray, c: int) -> np.ndarray:
        """Ascending values of variable ``c`` in fields [N, H, W], without those of cells that are always missing."""
        values = fields[:, self.cells & self.valid[c]].reshape(-1)
        return np.sort(values[~np.isnan(values)])

    def area_means(self, fields: np.ndarray, c: int) -> np.ndarray:
        """The mean over the area of each field [N, H, W] of variable ``c`` that has values, [at most N]."""
        values = fields[:, self.cells & self.valid[c]]
        known = ~np.isnan(values)
        counts = known.sum(1)
        return np.where(known, values, 0).sum(1)[counts > 0] / counts[counts > 0]

    def masked(self, generated: np.ndarray) -> np.ndarray:
        """Generated fields [N, C, H, W], NaN where real ones are: in cells that are always missing, and in the single
        holes of real fields spread over the period, one for each sample, so that both sides lack the same.

        Raises:
            LevyError: they are of another shape than the real ones.
        """
        if generated.ndim != 4 or generated.shape[1:] != self.fields.shape[1:]:
            raise LevyError(
                f"generated fields have the shape {generated.shape}, the real ones [N, C, H, W] with "
                f"{self.fields.shape[1:]} ({', '.join(self.names)}): sample from a model of the same prepared data"
            )
        if not self.missing.any():
            return generated
        rows = np.arange(len(generated)) * len(self.fields) // max(1, len(generated))
        return np.where(self.missing[rows], np.nan, generated)

    def distances_of(self, fields: np.ndarray, c: int) -> Distances:
        """Variable ``c`` of generated fields, [N, H, W] of ``masked`` ones, against the real one."""
        return Distances.of(fields, self.pooled(fields, c), self.variables[c])


def distance(generated: np.ndarray, real: FieldsReference) -> float:
    """The number that samplers are chosen by: the mean over variables of ``distances.Apart.distance``; 0 is perfect.

    ``generated`` is float64 [N, C, H, W] in the units of the real fields. NaN for too few samples.
    """
    fields = real.masked(generated)
    return float(np.mean([real.distances_of(fields[:, c], c).distance for c in range(len(real.names))]))
