"""Training on patches of fields: at places of the step's own, whoever reads, shares or resumes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from levy_core.base.conditions import LABEL, PLACE, of_labels
from levy_core.base.patches import Patches
from levy_core.base.samples import RECORDED, Samples
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.training import batches
from levy_core.training.config import TrainConfig
from levy_core.training.share import WHOLE, Share
from levy_core.training.trainer import Trainer
from tasks.kinds.kind import TrainingData
from tasks.train import _fingerprint
from tasks.training.held_out import HeldOut
from tasks.training.pictures import Pictures

SHAPE = (2, 12, 16)
PATCHES = Patches((8, 8), 2)
CONFIG = TrainConfig(
    steps=6, batch=5, lr=1e-3, warmup=1, ema=0.9, clip=1.0, label_dropout=0.5, flip=False, seed=0, precision="float32"
)
NET = UNetConfig(SHAPE, 3, (8,), wraps=True, coordinates=True, patches=PATCHES)
LATITUDE, LONGITUDE = np.linspace(80, -80, 12), np.arange(16) * 22.5


class Store:
    """Samples that are read by rows."""

    def __init__(self, values):
        self.values, self.shape, self.most = values, values.shape[1:], 0

    def __len__(self):
        return len(self.values)

    def __getitem__(self, rows):
        self.most = max(self.most, len(rows))
        return self.values[rows]


def fields():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((20, *SHAPE), np.float32)
    values[rng.random(values.shape) < 0.05] = np.nan
    return values


def begin(data=None, patches=PATCHES, config=CONFIG, share=WHOLE, preset="tedm"):
    torch.manual_seed(0)
    net = UNet(replace(NET, patches=patches), LATITUDE, LONGITUDE)
    data = torch.from_numpy(fields()) if data is None else data
    cond = of_labels(torch.arange(len(data)) % 3)
    design = Design.from_mapping({"preset": preset})
    return Trainer(design, net, data, cond, {LABEL: torch.tensor(3)}, config, torch.device("cpu"), share)


def seen_by(trainer):
    """What its network is shown at each step that it makes."""
    shown = []
    trainer.predictor.register_forward_pre_hook(lambda module, given: shown.append(given))
    return shown


def same(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_step_sees_one_patch_of_each_of_its_samples_at_a_place_of_its_own():
    trainer = begin()
    shown = seen_by(trainer)
    list(trainer.run())
    places = torch.stack([cond[PLACE] for _, _, cond in shown])
    assert places.shape == (6, 5, 2)
    assert len(places.flatten(0, 1).unique(dim=0)) > 20
    for step, (y, rho, cond) in enumerate(shown):
        assert y.shape == (5, 2, 8, 8)
        fields = trainer.data[trainer.made.drawing(step).rows].nan_to_num()
        clean = trainer.made.cover.cut(fields, cond[PLACE])
        mixing = ((y - clean) / rho.view(-1, 1, 1, 1)).flatten(1).square().mean(1)  # that of Student-t noise
        assert ((mixing > 0.05) & (mixing < 50)).all()


def test_a_stopped_training_goes_on_to_the_same_model():
    whole, first = begin(), begin()
    list(whole.run())
    for progress in first.run():
        if progress.step == 3:
            break
    second = begin()
    second.restore(first.state())
    list(second.run())
    assert same(whole.state(), second.state())


@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_a_store_is_the_same_as_memory_and_few_whole_fields_are_read_at_once(monkeypatch, at_once):
    monkeypatch.setattr(batches, "READ_BYTES", at_once * 4 * np.prod(SHAPE))
    memory, store = begin(), Store(fields())
    trainer = begin(store)
    assert list(memory.run()) == list(trainer.run())
    assert same(memory.state(), trainer.state())
    assert store.most == min(at_once, CONFIG.batch)


def test_processes_see_the_rows_of_one():
    one = begin()
    whole = seen_by(one)
    next(one.run())
    for index, rows in ((0, slice(0, 2)), (1, slice(2, 5))):
        trainer = begin(share=Share(index, 2, lambda flat: None))
        shown = seen_by(trainer)
        next(trainer.run())
        (y, rho, cond), (y_own, rho_own, cond_own) = whole[0], shown[0]
        assert torch.equal(y_own, y[rows])
        assert torch.equal(rho_own, rho[rows])
        assert {key: v.tolist() for key, v in cond_own.items()} == {key: v[rows].tolist() for key, v in cond.items()}


@pytest.mark.parametrize("preset", ["tedm", "lim", "dlpm"])
def test_patches_as_large_as_the_field_train_the_plain_network_bit_for_bit(preset):
    plain, patched = begin(patches=None, preset=preset), begin(patches=Patches(SHAPE[1:], 3), preset=preset)
    assert list(plain.run()) == list(patched.run())
    assert same(plain.state(), patched.state())


def training_data():
    samples = Samples("fields", ("a", "b", "c"), **RECORDED["fields"])
    held_out = (Store(fields()), of_labels(torch.arange(20) % 3))
    return TrainingData(
        torch.from_numpy(fields()), of_labels(torch.arange(20) % 3), samples, hash="one", held_out=held_out
    )


def test_the_held_out_loss_is_that_of_patches_that_stay_the_same():
    trainer = begin()
    one, other = (HeldOut(training_data(), None, CONFIG.steps, trainer.made.cover) for _ in range(2))
    whole = HeldOut(training_data(), None, CONFIG.steps)
    assert one.hash == other.hash != whole.hash
    loss = one.loss_of(trainer, trainer.averaged)
    assert np.isfinite(loss)
    assert loss == one.loss_of(trainer, trainer.averaged) == other.loss_of(trainer, trainer.averaged)
    shown = []
    trainer.averaged.register_forward_pre_hook(lambda module, given: shown.append(given))
    one.loss_of(trainer, trainer.averaged)
    assert {tuple(x.shape[1:]) for x, _, _ in shown} == {(2, 8, 8)}
    assert sum(len(x) for x, _, _ in shown) == 256 // 20 * 20


def test_pictures_along_a_training_are_of_whole_fields_and_change_nothing(tmp_path):
    plain, watched = begin(), begin()
    list(plain.run())
    pictures = Pictures(tmp_path, 2, training_data().samples, None)
    drawn = [pictures.draw(watched, progress.step) for progress in watched.run()]
    assert sum(path is not None for path in drawn) == 2
    assert same(plain.state(), watched.state())


def test_another_size_or_overlap_is_another_training():
    design = lambda patches: Design.from_mapping({"preset": "tedm", "patches": patches and patches.to_mapping()})
    found = {
        _fingerprint(design(patches), replace(NET, patches=patches), CONFIG, training_data())
        for patches in (None, PATCHES, Patches((8, 8), 3), Patches((8, 12), 2))
    }
    assert len(found) == 4
