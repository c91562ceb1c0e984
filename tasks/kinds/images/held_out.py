"""Held-out images, in grey levels, of which experiments observe something."""

import hashlib
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from levy_core.base.errors import LevyError
from levy_core.base.pixels import to_uint8
from levy_core.datasets.images.store import read_group
from levy_core.observations.operators import Operator
from tasks.kinds.images.settings import GREY_LEVELS


class HeldOutImages:
    """The group ``test``; values are grey levels from 0 to 255.

    Raises:
        LevyError: no images were held out.
    """

    variables: tuple[str, ...] = ()
    apart, wraps, area, reach = 1, False, None, GREY_LEVELS

    def __init__(self, prepared: Path):
        if not (prepared / "images.zarr" / "test").exists():
            raise LevyError(f"no images were held out of {prepared}: set test_share of the data set above 0")
        self._images = read_group(prepared / "images.zarr", "test")
        self.labels = self._images.label
        self.runs = np.zeros(len(self.labels), dtype=np.int64)

    @cached_property
    def hash(self) -> str:
        digest = hashlib.sha256(self._images.image.tobytes())
        digest.update(self.labels.tobytes())
        return digest.hexdigest()

    @property
    def valid(self) -> Tensor:
        return torch.ones(self._images.image.shape[1:], dtype=torch.bool)

    def __len__(self) -> int:
        return len(self.labels)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """Grey levels, float64 [n, C, H, W]."""
        return self._images.image[rows].astype(np.float64)

    def name(self, row: int) -> str:
        """The class."""
        return f"class {self._images.classes[self.labels[row]]}"

    def errors(self, operator: Operator, std: float | dict[str, float]) -> np.ndarray:
        """One number for all."""
        return np.full(operator.rows, std, dtype=np.float64)

    def clip(self, operator: Operator, values: np.ndarray) -> np.ndarray:
        """As they are: half of the errors of a black pixel would be lost."""
        return values

    def standardise(
        self, operator: Operator, values: np.ndarray, std: np.ndarray, rows: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """In [-1, 1], as operators keep what is the same everywhere."""
        half = GREY_LEVELS / 2
        return values / half - 1, np.tile(std / half, (len(values), 1))

    def corrected(self, found: Mapping[str, Any]) -> "HeldOutImages":
        """Themselves: no samples of images are corrected."""
        return self

    def see(self, operator: Operator, row: int) -> Operator:
        """Itself: grey levels are what networks see, on another scale."""
        return operator

    def to_units(self, samples: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Pixels, or values in [-1, 1] as the pixels that they become."""
        pixels = samples if samples.dtype == np.uint8 else to_uint8(samples)
        return pixels.astype(np.float64)
