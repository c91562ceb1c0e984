"""Fields as people want them: physical units, and CF files."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from levy_core.base.event import Classify, Event, Given
from levy_core.base.observed import Observed
from levy_core.base.samples import Samples
from levy_core.datasets.fields.cf import write_cf
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.described import parse_observed
from levy_core.datasets.fields.events import read_event
from levy_core.datasets.fields.observed import read_observed, read_truth
from levy_core.datasets.fields.times import drawn_times, times_of


class FieldExporter:
    """Physical units, float32 [N, C, H, W], and a CF file; times of the labels' seasons, for the climatology."""

    def __init__(self, folder: Path, samples: Samples):
        self._codec, self._samples = Codec.load(folder), samples

    def array(self, samples: np.ndarray, labels: np.ndarray, given: Given | None = None) -> np.ndarray:
        """NaN in cells that are always missing."""
        times = times_of(self._codec, self._samples, labels) if given is None else given.times
        return self._codec.decode(samples, times).astype(np.float32)

    def read_observed(self, path: Path, std: Mapping[str, float], means: bool, time: str | None) -> Observed:
        """See ``observed.read_observed``."""
        return read_observed(path, self._codec, self._samples, std, means, time)

    def parse_observed(self, described: Mapping[str, Any]) -> Observed:
        """See ``described.parse_observed``."""
        return parse_observed(described, self._codec, self._samples)

    def read_truth(self, path: Path, moment: Any) -> Observed:
        """See ``observed.read_truth``."""
        return read_truth(path, self._codec, self._samples, moment)

    def read_event(self, text: str, time: str | None, classify: Callable[[], Classify]) -> Event:
        """See ``events.read_event``; the season of a field is no event."""
        return read_event(text, self._codec, self._samples, time)

    def write(
        self,
        samples: np.ndarray,
        labels: np.ndarray,
        drawn: Mapping[str, str],
        folder: Path,
        given: Given | None = None,
    ) -> str:
        """One NetCDF file."""
        path = folder / "samples.nc"
        about = {
            "title": "Generated fields",
            "source": f"levy {version('levy')}, a generative model",
            "comment": "Drawn from a model, not observations or forecasts.",
            "history": f"levy sample: {len(samples)} fields drawn with seed {drawn['seed']} by {drawn['sampler']}",
            **{f"levy_{name}": value for name, value in drawn.items()},
        }
        times = drawn_times(self._codec, self._samples, labels)
        if given is not None:
            about["comment"] = f"Drawn from a model given {given.text}, not observations or forecasts."
            times = given.times
        write_cf(path, self._codec, samples, times, about)
        return f"{len(samples)} fields ({path.name})"
