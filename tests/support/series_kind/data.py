"""Series from what a person brought to the prepared file: standardised, with a part held out."""

from pathlib import Path

import numpy as np
import torch

from levy_core.base.errors import LevyError
from levy_core.base.files import write_json
from levy_core.base.tensors import write_tensors
from tasks.kinds.series.scale import Scale
from tasks.kinds.series.settings import SeriesSettings


def read_series(raw: Path) -> np.ndarray:
    """float64 [N, T] of N files with one number per line.

    Raises:
        LevyError: fewer than two files, one that holds anything else, or series of several lengths.
    """
    files = sorted(raw.glob("*.csv"))
    if len(files) < 2:
        raise LevyError(f"{raw} holds {len(files)} files that end in .csv: put one per series there, two at least")
    series = [_read(file) for file in files]
    for file, values in zip(files, series, strict=True):
        if len(values) != len(series[0]):
            raise LevyError(
                f"{file} has {len(values)} numbers, but {files[0].name} has {len(series[0])}: cut them alike"
            )
    return np.stack(series)


def _read(file: Path) -> np.ndarray:
    try:
        values = np.loadtxt(file, ndmin=1)
    except ValueError as error:
        raise LevyError(f"{file} is no series ({error}): one number per line is expected") from error
    if values.ndim > 1 or len(values) < 2 or not np.isfinite(values).all():
        raise LevyError(f"{file} is no series: one finite number per line is expected, and two lines at least")
    return values


def prepare(raw: Path, settings: SeriesSettings, folder: Path, dataset: str) -> None:
    """Writes ``series.safetensors``, float32 [N, 1, 1, T] of each part, their scale, and ``statistics.json``."""
    series = read_series(raw)
    order = np.random.default_rng(settings.seed).permutation(len(series))
    held_out = min(max(1, round(len(series) * settings.test_share)), len(series) - 1)
    parts = {"train": series[order[held_out:]], "test": series[order[:held_out]]}
    scale = Scale(float(parts["train"].mean()), float(parts["train"].std()))
    write_tensors(folder / "series.safetensors", {k: torch.from_numpy(scale.standardise(v)) for k, v in parts.items()})
    scale.save(folder)
    counts = {name: {"samples": len(part)} for name, part in parts.items()}
    write_json(folder / "statistics.json", {"shape": [1, 1, series.shape[1]], **counts})
    print(f"{dataset}: {len(parts['train'])} training series of {series.shape[1]} times, {held_out} held out")
