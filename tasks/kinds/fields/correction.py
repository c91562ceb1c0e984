"""Quantile mapping of a model's fields: fitted to the training period."""

from pathlib import Path
from typing import Any

import numpy as np

from levy_core.base.rows import Rows
from levy_core.base.tensors import read_tensors
from levy_core.datasets.fields.config import SEASON
from levy_core.datasets.fields.correction import fit_mappings
from levy_core.datasets.fields.labels import SEASONS
from levy_core.datasets.fields.times import times_of
from tasks.kinds.fields.metrics import SEASONS_FILE, FieldMetrics

FIELDS, VALUES = 2000, 8_000_000  # that mappings are fitted to, at most; no fewer than LEAST fields
LEAST = 100


def count(shape: tuple[int, ...]) -> int:
    """How many fields of a model mappings are fitted to."""
    return min(FIELDS, max(LEAST, VALUES // int(np.prod(shape))))


def fit(reference: Path, samples: Rows, labels: np.ndarray) -> dict[str, Any]:
    """Mappings, from samples of a model [N, C, H, W] with labels [N] to the training period."""
    metrics = FieldMetrics(reference)
    times = times_of(metrics.codec, metrics.samples, labels)
    by_season = any(v.quantile_mapping == SEASON for v in metrics.codec.variables)
    seasons = np.array(SEASONS)[read_tensors(reference / SEASONS_FILE)["train"].numpy()] if by_season else None
    train = metrics.references["train"]
    return fit_mappings(metrics.codec, samples, times, train.summary.values, train.frame.pooled, seasons)
