"""What series are standardised by; it is kept with the data and with every model of them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from levy_core.base.files import write_json

FILE = "scale.json"


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of the training series."""

    mean: float
    std: float

    def standardise(self, series: np.ndarray) -> np.ndarray:
        """[N, T] in their units -> float32 [N, 1, 1, T]."""
        return ((series - self.mean) / self.std).astype(np.float32)[:, None, None, :]

    def restore(self, samples: np.ndarray) -> np.ndarray:
        """[N, 1, 1, T] -> float32 [N, T] in their units."""
        return (samples[:, 0, 0] * self.std + self.mean).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Beside what it belongs to."""
        write_json(folder / FILE, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> "Scale":
        """The inverse of ``save``."""
        return cls(**json.loads((folder / FILE).read_text()))
