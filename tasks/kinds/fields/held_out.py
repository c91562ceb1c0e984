"""Fields of the held-out period, in physical units, of which experiments observe something."""

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from levy_core.base.files import hash_files
from levy_core.datasets.fields.append import PREPARED
from levy_core.datasets.fields.codec import JSON, TENSORS, Codec
from levy_core.datasets.fields.observed import look_behind, standardise, weigh
from levy_core.datasets.fields.reported import Values
from levy_core.datasets.fields.store import FieldStore
from levy_core.datasets.fields.timeline import say
from levy_core.observations.nonlinear import Through
from levy_core.observations.operators import CellMeans, Operator
from tasks.kinds.statistics import STATISTICS

APART = 5  # fields: storms last
VALUES = 20_000_000  # of the climatology at a time, at most


class HeldOutFields:
    """The group ``test``; values are in the units of their variables."""

    apart, reach = APART, None

    def __init__(self, prepared: Path):
        self._store, self._codec = FieldStore.open(prepared / "fields.zarr", "test"), Codec.load(prepared)
        self.variables, self.wraps = self._codec.names, self._codec.wraps
        self.labels, self.runs = self._store.labels, self._store.runs
        self.hash = hash_files(*(prepared / name for name in (STATISTICS, JSON, TENSORS, PREPARED)))

    @property
    def valid(self) -> Tensor:
        return torch.from_numpy(self._codec.valid)

    @property
    def area(self) -> Tensor | None:
        areas = self._codec.areas
        if areas is None:
            return None
        # A row of cells at a pole has no area, and a mean has to have one.
        cells = torch.from_numpy(areas).clamp(min=1e-6 * float(areas.max()))
        return cells[:, None] if cells.dim() == 1 else cells

    def __len__(self) -> int:
        return len(self._store)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Physical values, float64 [n, C, H, W], NaN where missing."""
        return self.to_units(self._store[rows], rows)

    def name(self, row: int) -> str:
        """The time, to the hour."""
        return say(self._store.times[row])[:13]

    def errors(self, operator: Operator, std: float | dict[str, float]) -> np.ndarray:
        """One number for all, or that of the value's variable."""
        each = [std[name] if isinstance(std, dict) else std for name in self.variables]
        return np.array(each, dtype=np.float64)[self._channels(operator)]

    def clip(self, operator: Operator, values: np.ndarray) -> np.ndarray:
        """Not below the minimum of their variable."""
        least = np.array([-np.inf if v.minimum is None else v.minimum for v in self._codec.variables])
        return np.maximum(values, least[self._channels(operator)])

    def standardise(
        self, operator: Operator, values: np.ndarray, std: np.ndarray, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """As observations of a file are: each through the transform of its variable, less the cycle of its time."""
        assert isinstance(operator, CellMeans)
        size = int(np.prod(self._codec.shape[1:]))
        found, spread = np.empty(values.shape), np.empty(values.shape)
        channels, cells, weights = self._channels(operator), operator.cells.numpy() % size, operator.weights.numpy()
        for i, cycle in enumerate(self._cycles(rows)):
            codec = self._codec.of_moment(self._store.times[rows[i]])
            for c in np.unique(channels):
                own = channels == c
                seen = Values(cells[own], weights[own], values[i, own], std[own])
                made = standardise(f"held-out field {rows[i]}", codec, int(c), cycle[c], seen)
                found[i, own], spread[i, own] = made.values, made.std
        return found, spread

    def corrected(self, found: Mapping[str, Any]) -> "HeldOutFields":
        """Between the units and the numbers of a model whose values are mapped."""
        if not found:
            return self
        other = copy(self)
        other._codec = self._codec.corrected(found)
        return other

    def see(self, operator: Operator, row: int) -> Operator:
        """Means of variables with a transform as they are, seen through it, about the cycle of the row's time; of others itself, or with
        other weights where cells differ in their standard deviation."""
        assert isinstance(operator, CellMeans)
        channels, cells, weights = self._channels(operator), operator.cells.numpy(), operator.weights.numpy()
        seen, _ = weigh(weights, self._codec.moments(channels, cells)[1])
        own = operator if seen is weights else replace(operator, weights=torch.from_numpy(seen))
        codec = self._codec.of_moment(self._store.times[row])
        behind = look_behind(codec, next(self._cycles(np.array([row]))), channels, cells, weights)
        return own if behind is None else Through(own, behind.inside, behind.outside)

    def to_units(self, samples: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Standardised fields at the times of the rows, in physical units."""
        return self._codec.decode(samples, self._store.times[rows])

    def _cycles(self, rows: np.ndarray) -> Iterator[np.ndarray]:
        """What was taken off each field, [C, H, W]."""
        codec = self._codec
        if codec.climatology is None:
            yield from np.broadcast_to(0.0, (len(rows), *codec.shape))
            return
        together = max(1, VALUES // int(np.prod(codec.shape)))  # one by one they take ten times as long
        for start in range(0, len(rows), together):
            yield from np.nan_to_num(codec.climatology.at(self._store.times[rows[start : start + together]]))

    def _channels(self, operator: Operator) -> np.ndarray:
        """Of each observed value, int64 [rows of the operator]."""
        assert isinstance(operator, CellMeans)  # as all views of fields are
        return operator.cells[:, 0].numpy() // int(np.prod(self._codec.shape[1:]))
