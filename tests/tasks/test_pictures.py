"""Pictures of samples along a training: the same after an interruption, and the training as without."""

import numpy as np
import pytest
import torch
from PIL import Image

from levy_core.base.conditions import LABEL, of_labels
from levy_core.base.samples import RECORDED, Samples
from levy_core.nets.latent import fit_latent
from levy_core.nets.mlp import MLP, MLPConfig
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.training.config import TrainConfig
from levy_core.training.preview import EVALUATIONS
from levy_core.training.trainer import Trainer
from tasks.training.pictures import GAP, LONGEST, MOST, Pictures, lay_out

CONFIG = TrainConfig(
    steps=10, batch=4, lr=1e-3, warmup=1, ema=0.9, clip=1.0, label_dropout=0.5, flip=False, seed=0, precision="float32"
)
IMAGES = torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
OF_IMAGES = Samples("images", ("a", "b"), **RECORDED["images"])
OF_FIELDS = Samples("fields", ("a", "b"), **RECORDED["fields"])


def begin(net=None, data=IMAGES):
    torch.manual_seed(0)
    net = net or UNet(UNetConfig((1, 8, 8), 2, (8,), dropout=0.5))
    design, cond = Design.from_mapping({"preset": "edm"}), of_labels(torch.arange(6) % 2)
    return Trainer(design, net, data, cond, {LABEL: torch.tensor(2)}, CONFIG, torch.device("cpu"))


def follow(trainer, pictures, until=CONFIG.steps):
    """The steps of a training with its pictures, and the steps that have one."""
    pictures.begin(trainer.step, CONFIG.steps)
    drawn = []
    for progress in trainer.run():
        drawn += [progress.step] if pictures.draw(trainer, progress.step) else []
        if progress.step == until:
            break
    return drawn


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("number", "steps"), [(1, [10]), (4, [3, 5, 8, 10]), (10, list(range(1, 11))), (30, list(range(1, 11)))]
)
def test_there_is_one_after_each_interval(tmp_path, number, steps):
    assert follow(begin(), Pictures(tmp_path / "all", number, OF_IMAGES, None)) == steps
    assert sorted(files(tmp_path / "all")) == [f"{step:08d}.png" for step in steps]


def test_they_take_no_more_samples_together_than_a_step(tmp_path):
    """Which is what fits into memory."""
    trainer, asked = begin(), []
    next(trainer.run())
    trainer.averaged.register_forward_hook(lambda module, given, made: asked.append(len(made)))
    pictures = Pictures(tmp_path, CONFIG.steps, OF_IMAGES, None)
    assert pictures.draw(trainer, trainer.step)
    assert max(asked) == CONFIG.batch
    assert sum(asked) == MOST * EVALUATIONS


def test_a_training_is_the_same_with_them_and_they_are_the_same_after_an_interruption(tmp_path):
    plain, shown, first, second = (begin() for _ in range(4))
    assert follow(plain, Pictures(tmp_path / "none", 0, OF_IMAGES, None)) == []
    assert not (tmp_path / "none").exists()
    follow(shown, Pictures(tmp_path / "whole", 4, OF_IMAGES, None))
    assert all(torch.equal(value, shown.state()[name]) for name, value in plain.state().items())

    assert follow(first, Pictures(tmp_path / "parts", 4, OF_IMAGES, None), until=6) == [3, 5]
    second.restore(first.state())
    pictures = Pictures(tmp_path / "parts", 4, OF_IMAGES, None)
    assert follow(second, pictures) == [8, 10]
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    assert len(set(files(tmp_path / "whole").values())) == 4
    pictures.clear()
    assert not (tmp_path / "parts").exists()


def test_coefficients_are_shown_as_the_fields_that_they_stand_for(tmp_path):
    fields = torch.randn(6, 2, 8, 12, generator=torch.Generator().manual_seed(0))
    latent = fit_latent(fields, 3)
    trainer = begin(MLP(MLPConfig((3,), 2, 16)), latent.encode(fields))
    follow(trainer, Pictures(tmp_path / "all", 1, OF_FIELDS, latent))
    with Image.open(tmp_path / "all/00000010.png") as picture:
        assert picture.mode == "L"
        assert picture.size == (8 * (4 * 12 + GAP), 2 * 2 * (4 * 8 + GAP))  # two rows of eight for each variable


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((16, 1, 32, 32), (2 * 34, 8 * 34)),
        ((16, 3, 32, 32), (2 * 34, 8 * 34, 3)),
        ((3, 3, 64, 48), (64 + GAP, 3 * (48 + GAP), 3)),
        ((9, 1, 32, 32), (2 * 34, 8 * 34)),
        ((1, 2, 721, 1440), (2 * (121 + GAP), 240 + GAP)),
        ((4, 1, 1, 100), (2 + GAP, 4 * (200 + GAP))),
    ],
)
def test_a_picture_is_legible_and_small(shape, expected):
    assert lay_out(np.zeros(shape, np.uint8)).shape == expected
    assert max(shape[2:]) // LONGEST < 8


def test_samples_stand_in_rows_in_their_order():
    pixels = np.arange(16, dtype=np.uint8)[:, None, None, None].repeat(32, 2).repeat(32, 3)
    sheet = lay_out(pixels)
    assert [[sheet[34 * r, 34 * c] for c in range(8)] for r in range(2)] == [list(range(8)), list(range(8, 16))]
    assert (sheet[:, 32:34] == 128).all()
