"""Quantile mapping of a model's fields, undone into the numbers that all stages keep."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from levy_core.base.samples import Samples
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.times import times_of
from tasks.kinds.kind import Correct


def open_correction(folder: Path, found: Mapping[str, Any], of_model: Samples) -> Correct:
    """What makes of samples of the model in a folder those that are mapped, as the data set's codec has them: of some rows of all labels."""
    codec = Codec.load(folder)
    source = codec.corrected(found)

    def correct(samples: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> np.ndarray:
        times = None if not source.needs_times else times_of(codec, of_model, labels)[rows]
        return codec.recode(samples, times, source)

    return correct
