"""Fields as people want them: physical units, and CF files."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

import numpy as np

from levy_core.base.samples import Samples
from levy_core.datasets.fields.cf import write_cf
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.times import drawn_times, times_of


class FieldExporter:
    """Physical units, float32 [N, C, H, W], and a CF file; times of the labels' seasons, for the climatology."""

    def __init__(self, folder: Path, samples: Samples):
        self._codec, self._samples = Codec.load(folder), samples

    def array(self, samples: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """NaN in cells that are always missing."""
        return self._codec.decode(samples, times_of(self._codec, self._samples, labels)).astype(np.float32)

    def write(self, samples: np.ndarray, labels: np.ndarray, drawn: Mapping[str, str], folder: Path) -> str:
        """One NetCDF file."""
        path = folder / "samples.nc"
        about = {
            "title": "Generated fields",
            "source": f"levy {version('levy')}, a generative model",
            "comment": "Drawn from a model, not observations or forecasts.",
            "history": f"levy sample: {len(samples)} fields drawn with seed {drawn['seed']} by {drawn['sampler']}",
            **{f"levy_{name}": value for name, value in drawn.items()},
        }
        write_cf(path, self._codec, samples, drawn_times(self._codec, self._samples, labels), about)
        return f"{len(samples)} fields in {path}"
