"""Images from the packed store to training."""

import hashlib
from pathlib import Path

import numpy as np
import torch

from levy_core.base.conditions import of_labels
from levy_core.base.pixels import to_unit
from levy_core.base.samples import RECORDED, Samples
from levy_core.datasets.images.store import read_group
from tasks.kinds.images.statistics import ImageStatistics
from tasks.kinds.kind import TrainingData
from tasks.kinds.statistics import read_statistics


def read_training_data(prepared: Path) -> TrainingData:
    """Long-tailed images in [-1, 1]."""
    found = read_group(prepared / "images.zarr", "train")
    digest = hashlib.sha256(found.image.tobytes())
    digest.update(found.label.tobytes())
    statistics = read_statistics(prepared, ImageStatistics)
    return TrainingData(
        torch.from_numpy(to_unit(found.image)),
        of_labels(torch.from_numpy(found.label)),
        Samples(
            "images",
            found.classes,
            RECORDED["images"]["dtype"],
            RECORDED["images"]["exporter"],
            tuple((np.bincount(found.label, minlength=len(found.classes)) / len(found.label)).tolist()),
        ),
        digest.hexdigest(),
        statistics.flip,
        statistics.crop,
    )
