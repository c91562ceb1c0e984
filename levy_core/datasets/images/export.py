"""Images as people want them: arrays with channels last, and PNG files."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from levy_core.base.samples import Samples


class ImageExporter:
    """uint8 [N, H, W, C], and PNG files."""

    def __init__(self, folder: Path, samples: Samples):
        pass

    def array(self, samples: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Channels last."""
        return samples.transpose(0, 2, 3, 1)

    def write(self, samples: np.ndarray, labels: np.ndarray, drawn: Mapping[str, str], folder: Path) -> str:
        for number, image in enumerate(self.array(samples, labels)):
            Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(folder / f"{number:05d}.png")
        return f"{len(samples)} images in {folder}"
