"""Samples as people want them: arrays and files, one form a kind of data."""

from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from levy_core.training.checkpoint import Model


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


def form_of(kind: str) -> type[Form]:
    """The form of a kind of data; who looks up images needs nothing of what reads and writes fields."""
    if kind == "fields":
        from tasks.kinds.fields.exporter import Fields

        return Fields
    return Pictures
