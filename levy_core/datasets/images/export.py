"""Images as people want them: arrays with channels last, and PNG files."""

import csv
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from levy_core.base.errors import LevyError
from levy_core.base.event import Classify, Event, Given
from levy_core.base.observed import Observed
from levy_core.base.samples import Samples
from levy_core.datasets.images.events import read_event
from levy_core.datasets.images.observed import parse_observed, read_observed


class ImageExporter:
    """uint8 [N, H, W, C], and PNG files."""

    def __init__(self, folder: Path, samples: Samples):
        self._folder, self._samples = folder, samples

    def read_observed(self, path: Path, std: Mapping[str, float], means: bool, time: str | None) -> Observed:
        """The opaque pixels of a picture; see ``observed.read_observed``."""
        if means or time is not None:
            raise LevyError(
                "images have no means over coarse cells and no time: give a picture whose unseen pixels are transparent"
            )
        if unknown := sorted(set(std) - {""}):
            raise LevyError(
                f"std is given of {', '.join(unknown)}, but images have no variables: give one number of grey levels"
            )
        return read_observed(path, self._shape, std.get("", 0.0))

    def read_truth(self, path: Path, moment: Any) -> Observed:
        """The opaque pixels of a picture; images have no moment."""
        return read_observed(path, self._shape, 0.0)

    def parse_observed(self, described: Mapping[str, Any]) -> Observed:
        """See ``observed.parse_observed``."""
        return parse_observed(described, self._shape)

    @property
    def _shape(self) -> tuple[int, int, int]:
        """(C, H, W) of the model's images."""
        channels, height, width = json.loads((self._folder / "design.json").read_text())["net"]["shape"]
        return channels, height, width

    def read_event(self, text: str, time: str | None, classify: Callable[[], Classify]) -> Event:
        """See ``events.read_event``."""
        return read_event(text, self._shape, self._samples.classes, time, classify)

    def array(self, samples: np.ndarray, labels: np.ndarray, given: Given | None = None) -> np.ndarray:
        """Channels last."""
        return samples.transpose(0, 2, 3, 1)

    def write(
        self,
        samples: np.ndarray,
        labels: np.ndarray,
        drawn: Mapping[str, str],
        folder: Path,
        given: Given | None = None,
    ) -> str:
        """PNG files, and ``samples.csv``, the class of each: empty where none was asked for."""
        names = [*self._samples.classes, ""]
        with (folder / "samples.csv").open("w", newline="", encoding="utf-8") as stream:
            rows = csv.writer(stream, lineterminator="\n")
            rows.writerow(["file", "class"])
            for number, (image, label) in enumerate(zip(self.array(samples, labels), labels, strict=True)):
                file = f"{number:05d}.png"
                Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(folder / file)
                rows.writerow([file, names[label]])
        return f"{len(samples)} images"
