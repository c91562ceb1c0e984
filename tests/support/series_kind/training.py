"""Series from the prepared file to training."""

from pathlib import Path

import torch

from levy_core.base.conditions import of_labels
from levy_core.base.files import hash_files
from levy_core.base.samples import Samples
from levy_core.base.tensors import read_tensors
from tasks.kinds.kind import TrainingData
from tasks.kinds.series.scale import FILE, Scale


def read_training_data(prepared: Path) -> TrainingData:
    """Standardised series without classes."""
    path = prepared / "series.safetensors"
    series = read_tensors(path)["train"]
    return TrainingData(
        series,
        of_labels(torch.zeros(len(series), dtype=torch.int64)),
        Samples("series", (), "float32", "tasks.kinds.series.export:SeriesExporter"),
        hash_files(path, prepared / FILE),
        sigma_data=1.0,
        save=Scale.load(prepared).save,
    )
