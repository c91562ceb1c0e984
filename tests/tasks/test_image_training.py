"""Images to training: from memory or from disk, the same batches."""

import numpy as np
import pytest
import torch

from levy_core.base.files import write_json
from levy_core.datasets.images.store import ImageStore, write_group
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.training.config import TrainConfig
from levy_core.training.trainer import Trainer
from tasks.kinds.images import training

CONFIG = TrainConfig(
    steps=6,
    batch=8,
    lr=1e-3,
    warmup=1,
    ema=0.9,
    clip=1.0,
    label_dropout=0.3,
    flip=True,
    seed=0,
    precision="float32",
    crop=1,
)


@pytest.fixture
def prepared(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (50, 1, 8, 8), dtype=np.uint8)
    statistics = write_group(
        tmp_path / "images.zarr",
        "train",
        np.arange(50),
        np.arange(50) % 2,
        ["a", "b"],
        (1, 8, 8),
        lambda i: images[i],
        iter,
    )
    described = {
        "kind": "images",
        "shape": [1, 8, 8],
        "flip": True,
        "crop": 1,
        "train": statistics,
        "balanced": statistics,
        "test": None,
    }
    write_json(tmp_path / "statistics.json", described)
    return tmp_path


def test_many_images_are_read_from_disk_and_give_the_model_that_memory_gives(prepared, monkeypatch):
    found = {}
    for most in (2**30, 0):
        monkeypatch.setattr(training, "IN_MEMORY", most)
        of = training.read_training_data(prepared)
        torch.manual_seed(0)
        net = UNet(UNetConfig((1, 8, 8), 2, (8,), augment=2))
        design = Design.from_mapping({"preset": "lim"})
        trainer = Trainer(design, net, of.data, of.cond, of.samples.absent, CONFIG, torch.device("cpu"))
        losses = [progress.loss for progress in trainer.run()]
        found[most] = type(of.data), of.hash, of.samples, losses, trainer.averaged_weights()
    memory, disk = found.values()
    assert (memory[0], disk[0]) == (torch.Tensor, ImageStore)
    assert memory[1:4] == disk[1:4]
    assert all(torch.equal(value, disk[4][name]) for name, value in memory[4].items())
