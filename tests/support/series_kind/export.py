"""Series as people want them: numbers in their units, and a CSV file."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from levy_core.base.samples import Samples
from tasks.kinds.series.scale import Scale


class SeriesExporter:
    """float32 [N, T]; one row per series."""

    def __init__(self, folder: Path, samples: Samples):
        self._scale = Scale.load(folder)

    def array(self, samples: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """In the units of the data."""
        return self._scale.restore(samples)

    def write(self, samples: np.ndarray, labels: np.ndarray, drawn: Mapping[str, str], folder: Path) -> str:
        """One CSV file."""
        np.savetxt(folder / "samples.csv", self._scale.restore(samples), delimiter=",")
        return f"{len(samples)} series in {folder / 'samples.csv'}"
