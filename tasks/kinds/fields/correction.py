"""Quantile mapping of a model's fields: fitted to the training period, and undone into the numbers that all stages keep."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from levy_core.base.samples import Samples
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.correction import fit_mappings
from levy_core.datasets.fields.times import times_of
from levy_core.metrics.fields.spatial import even_cells
from tasks.kinds.fields.metrics import FieldMetrics

FIELDS, VALUES = 2000, 8_000_000  # that mappings are fitted to, at most; no fewer than LEAST fields
LEAST = 100


def count(shape: tuple[int, ...]) -> int:
    """How many fields of a model mappings are fitted to."""
    return min(FIELDS, max(LEAST, VALUES // int(np.prod(shape))))


def fit(reference: Path, samples: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Mappings, from samples of a model [N, C, H, W] with labels [N] to the training period."""
    metrics = FieldMetrics(reference)
    times = None if metrics.codec.climatology is None else times_of(metrics.codec, metrics.samples, labels)
    _, height, width = metrics.codec.shape
    cells = even_cells(metrics.codec.areas, (height, width))
    return fit_mappings(metrics.codec, samples, times, metrics.references["train"].fields, cells)


def open_correction(
    folder: Path, found: Mapping[str, Any], of_model: Samples
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """What makes of samples of the model in a folder, with their labels, those that are mapped, as the data set's codec has them."""
    codec = Codec.load(folder)
    source = codec.corrected(found)

    def correct(samples: np.ndarray, labels: np.ndarray) -> np.ndarray:
        times = None if codec.climatology is None else times_of(codec, of_model, labels)
        return codec.recode(samples, times, source)

    return correct
