"""Series are measured in their units, against those that were trained on and those that were held out."""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from levy_core.base.code import hash_code
from levy_core.base.errors import LevyError
from levy_core.base.files import hash_files, hash_json
from levy_core.base.samples import Samples
from levy_core.base.tensors import read_tensors, write_tensors
from tasks.kinds.series.scale import FILE, Scale
from tasks.kinds.series.settings import SeriesEvaluation

REAL = "real.safetensors"
LEVELS = np.linspace(0.01, 0.99, 50)


def describe(series: np.ndarray, lags: int) -> tuple[np.ndarray, np.ndarray]:
    """Quantiles of all values at ``LEVELS``, and the autocorrelation at lags 1 to ``lags``, of series [N, T]."""
    centred = series - series.mean()
    together = [(centred[:, lag:] * centred[:, :-lag]).mean() for lag in range(1, min(lags, series.shape[1] - 1) + 1)]
    return np.quantile(series, LEVELS), np.array(together) / centred.var()


class SeriesMetrics:
    """The real series, and the scale that gives samples their units."""

    def __init__(self, reference: Path, settings: SeriesEvaluation):
        self._folder, self._lags = reference, settings.lags
        try:
            self.scale = Scale.load(reference)
            self.real = {name: part.double().numpy() for name, part in read_tensors(reference / REAL).items()}
        except (OSError, ValueError, TypeError) as error:
            raise LevyError(f"{reference} cannot be read ({error}): run the reference stage again") from error

    @cached_property
    def hash(self) -> str:
        """Of the real series, the scale, the settings and the code."""
        return hash_json([hash_files(self._folder / REAL, self._folder / FILE), hash_code(__name__), self._lags])[:16]

    def embed(self, samples: np.ndarray) -> Tensor:
        """Series in their units, [N, T]."""
        return torch.from_numpy(self.scale.restore(samples))

    def score(self, embedded: Sequence[Tensor], labels: np.ndarray, metric: str) -> float:
        """The distance from one part of the data."""
        return self._errors(torch.cat(list(embedded)).double().numpy(), metric.split("/")[1])[
            f"distance/{metric.split('/')[1]}"
        ]

    def watch(self, embedded: Sequence[Tensor], labels: np.ndarray) -> dict[str, float]:
        """Nothing."""
        return {}

    def measure(self, samples: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Against both parts."""
        series = self.scale.restore(samples).astype(np.float64)
        return {"samples": float(len(series)), **self._errors(series, "train"), **self._errors(series, "test")}

    def accept(
        self, folder: Path, shape: tuple[int, ...], samples: Samples
    ) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
        """Series of as many times, whatever they were standardised with."""
        length = self.real["train"].shape[1]
        if (samples.kind, tuple(shape)) != ("series", (1, 1, length)):
            raise LevyError(
                f"it draws {samples.kind} of shape {list(shape)}, but the data are series of {length} times"
            )
        scale = Scale.load(folder)
        return lambda drawn, labels: (self.scale.standardise(scale.restore(drawn)), labels)

    def measure_held_out(self, samples: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """Against the held-out series alone."""
        return self._errors(self.scale.restore(samples).astype(np.float64), "test")

    @property
    def undecidable(self) -> dict[str, str]:
        """Nothing is known of it."""
        return {}

    def floors(self, labels: np.ndarray) -> dict[str, float]:
        """The distance of as many real series, drawn with replacement."""
        rows = np.random.default_rng(0).integers(0, 2**31, len(labels))
        return {
            f"floor/distance/{name}": self._errors(real[rows % len(real)], name)[f"distance/{name}"]
            for name, real in self.real.items()
        }

    def _errors(self, series: np.ndarray, name: str) -> dict[str, float]:
        quantiles, correlation = describe(series, self._lags)
        real_quantiles, real_correlation = describe(self.real[name], self._lags)
        of_quantiles = float(np.abs(quantiles - real_quantiles).mean() / self.real[name].std())
        of_correlation = float(np.abs(correlation - real_correlation).mean())
        return {
            f"distance/{name}": of_quantiles + of_correlation,
            f"quantile_error/{name}": of_quantiles,
            f"autocorrelation_error/{name}": of_correlation,
        }


def make_reference(prepared: Path, folder: Path) -> None:
    """Writes the real series in their units, [N, T] of each part, and the scale."""
    scale = Scale.load(prepared)
    parts = read_tensors(prepared / "series.safetensors")
    write_tensors(folder / REAL, {name: torch.from_numpy(scale.restore(part.numpy())) for name, part in parts.items()})
    scale.save(folder)
