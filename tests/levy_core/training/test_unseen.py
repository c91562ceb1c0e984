"""A training step on a GPU, as far as a device can tell that computes nothing: no operation mixes devices, and the host waits for no value of a step."""

from dataclasses import replace

import pytest
import torch

from levy_core.base.conditions import LABEL, of_labels
from levy_core.base.patches import Patches
from levy_core.nets.dit import DiT, DiTConfig
from levy_core.nets.mlp import MLP, MLPConfig
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.training.config import TrainConfig
from levy_core.training.preview import draw_preview
from levy_core.training.share import Share
from levy_core.training.trainer import Trainer
from tests.support.unseen import UNSEEN, unseen_device

CONFIG = TrainConfig(
    steps=1000,
    batch=6,
    lr=1e-3,
    warmup=2,
    ema=0.9,
    clip=1.0,
    label_dropout=0.3,
    flip=False,
    seed=0,
    precision="bfloat16",
)
SMALL = UNetConfig((3, 10, 8), 3, (8, 16), 1, (False, True), dropout=0.1)  # padded within
NETS = {
    "unet": lambda heads: UNet(replace(SMALL, heads=heads)),
    "adm": lambda heads: UNet(replace(SMALL, heads=heads, scale_shift=True, residual_resampling=True, wraps=True)),
    "augmented": lambda heads: UNet(replace(SMALL, heads=heads, augment=5)),
    "patches": lambda heads: UNet(replace(SMALL, heads=heads, patches=Patches((4, 4), 2))),
    "dit": lambda heads: DiT(DiTConfig((3, 10, 8), 3, 16, 2, heads=heads)),
    "mlp": lambda heads: MLP(MLPConfig((5,), 3, 16, 2, heads)),
}


def trainer(net, preset, **settings):
    share, missing, checkpointing = (settings.pop(key, None) for key in ("share", "missing", "checkpointing"))
    of_design = {key: settings.pop(key) for key in ("isotropic", "groups", "score_head", "cap") if key in settings}
    design = Design.from_mapping({"preset": preset, **of_design})
    one = NETS[net](design.heads)
    if checkpointing:
        one.checkpointing = True
    data = torch.randn(20, *one.config.shape, generator=torch.Generator().manual_seed(0))
    if missing:
        data[:, 0, 0] = torch.nan
    config, labels, absent = replace(CONFIG, **settings), of_labels(torch.arange(20) % 3), {LABEL: torch.tensor(3)}
    return Trainer(design, one, data, labels, absent, config, UNSEEN, Share(*share or ()), read_every=4)


def advance(one):
    rows = one.made.rows(one.step)
    one._advance(one.data[rows] if one.made.cover is None else one.made.cut(one.step, 0, one.data[rows]))


@pytest.mark.parametrize(
    ("net", "preset", "settings"),
    [
        ("unet", "lim", {"flip": True}),
        ("unet", "lim", {"isotropic": False, "accumulate": 3}),
        ("unet", "lim", {"missing": True, "score_head": True, "class_balancing": 1.0, "balance": 1.0}),
        ("unet", "dlpm-published", {"groups": 3, "checkpointing": True}),
        ("unet", "tedm", {"ema_lengths": (0.05, 0.1), "weight_decay": 0.1, "lr_schedule": "cosine"}),
        ("unet", "ddpm", {"share": (1, 2)}),
        ("unet", "lim", {"share": (1, 2), "accumulate": 2}),
        ("adm", "lim", {}),
        ("augmented", "edm", {"crop": 1, "colour": 0.2, "class_balancing": 1.0}),
        ("patches", "tflow", {}),
        ("dit", "lim", {"checkpointing": True, "isotropic": False, "score_head": True}),
        ("mlp", "dlpm", {}),
    ],
    ids=str,
)
def test_steps_mix_no_devices_and_nobody_waits_for_them(net, preset, settings):
    with unseen_device() as watch:
        one = trainer(net, preset, **settings)
        advance(one)  # what learns of the batches goes over in the first
        watch.clear()
        advance(one)
        assert not watch.reads
        assert (
            watch.sent <= 12 * one.config.accumulate
        )  # samples, levels, conditions, and keys and mixing variables of the noise


def test_a_run_reads_its_losses_together_and_nothing_else():
    with unseen_device() as watch:
        one = trainer("mlp", "lim", steps=10)
        watch.clear()
        assert len(list(one.run())) == 10
        assert watch.reads == {"_to_copy": 3}  # of 4, 4 and 2 steps


def test_held_out_losses_and_pictures_are_read_once_per_part():
    with unseen_device() as watch:
        one, cond = trainer("unet", "lim", score_head=True), of_labels(torch.arange(8) % 3)
        watch.clear()
        draw_preview(one.design.predictor(one.averaged), one.design, (3, 10, 8), cond, 0, 6)
        assert watch.reads == {"_to_copy": 2}  # of 6 and of 2 samples
        watch.clear()
        one.held_out_loss(one.data[:8], cond)
        assert watch.reads == {"_local_scalar_dense": 2}


@pytest.fixture
def reproducible():
    torch.set_deterministic_debug_mode("warn")
    yield
    torch.set_deterministic_debug_mode("default")


def test_the_network_and_its_gradient_take_deterministic_kernels_alone(reproducible):
    modes = []
    note = lambda *_: modes.append(torch.get_deterministic_debug_mode())
    with unseen_device():
        one = trainer("unet", "lim")
        one.predictor.net.register_forward_pre_hook(note)
        next(one.predictor.parameters()).register_hook(note)
        advance(one)
    assert modes == [2, 2]  # error
    assert torch.get_deterministic_debug_mode() == 1  # warn
