"""Images from the packed store to training."""

from math import prod
from pathlib import Path

import numpy as np
import torch

from levy_core.base.conditions import of_labels
from levy_core.base.samples import RECORDED, Samples
from levy_core.datasets.images.store import ImageStore
from tasks.kinds.images.statistics import ImageStatistics
from tasks.kinds.kind import TrainingData
from tasks.kinds.statistics import read_statistics

IN_MEMORY = 2**30  # bytes of float32 images up to which they are read once: the batches are the same


def read_training_data(prepared: Path) -> TrainingData:
    """Long-tailed images in [-1, 1], from memory or, where they are many, from disk."""
    store = ImageStore.open(prepared / "images.zarr", "train")
    statistics = read_statistics(prepared, ImageStatistics)
    test = None if statistics.test is None else ImageStore.open(prepared / "images.zarr", "test")
    small = 4 * len(store) * prod(store.shape) <= IN_MEMORY
    return TrainingData(
        torch.from_numpy(store[:]) if small else store,
        of_labels(torch.from_numpy(store.labels)),
        Samples(
            "images",
            store.classes,
            RECORDED["images"]["dtype"],
            RECORDED["images"]["exporter"],
            tuple((np.bincount(store.labels, minlength=len(store.classes)) / len(store)).tolist()),
        ),
        store.hash(),
        statistics.flip,
        statistics.crop,
        statistics.colour,
        held_out=None if test is None else (test, of_labels(torch.from_numpy(test.labels))),
    )
