"""Samples as people want them: arrays and files, one form a kind of data."""

from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from levy_core.checkpoint import Model
from levy_core.datasets.fields.cf import write_cf
from levy_core.datasets.fields.codec import Codec
from tasks.fields import times_of


class Form(Protocol):
    """What becomes of samples [N, C, H, W] as ``draw_samples`` gives them, with their labels [N]."""

    def __init__(self, folder: Path, model: Model) -> None:
        """Reads what is kept with a model."""

    def array(self, samples: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """For `predict`."""

    def write(self, samples: np.ndarray, labels: np.ndarray, folder: Path) -> str:
        """Files in a folder; says which in a few words."""


class Pictures:
    """uint8 [N, H, W, C], and PNG files."""

    def __init__(self, folder: Path, model: Model):
        pass

    def array(self, samples: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Channels last."""
        return samples.transpose(0, 2, 3, 1)

    def write(self, samples: np.ndarray, labels: np.ndarray, folder: Path) -> str:
        """A file an image."""
        for number, image in enumerate(self.array(samples, labels)):
            Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(folder / f"{number:05d}.png")
        return f"{len(samples)} images in {folder}"


class Fields:
    """Physical units, float32 [N, C, H, W], and a CF file; times of the labels' seasons, for the climatology."""

    def __init__(self, folder: Path, model: Model):
        self._codec, self._samples = Codec.load(folder), model.samples

    def array(self, samples: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """NaN in cells that are always missing."""
        return self._codec.decode(samples, times_of(self._codec, self._samples, labels)).astype(np.float32)

    def write(self, samples: np.ndarray, labels: np.ndarray, folder: Path) -> str:
        """One NetCDF file."""
        path = folder / "samples.nc"
        about = {"title": "Generated fields", "comment": "Drawn from a model, not observations or forecasts."}
        write_cf(path, self._codec, samples, times_of(self._codec, self._samples, labels), about)
        return f"{len(samples)} fields in {path}"


FORMS: dict[str, type[Form]] = {"images": Pictures, "fields": Fields}
