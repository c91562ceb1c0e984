"""The saved state of an unfinished training: used by the same run only, and never half written."""

from dataclasses import replace

import pytest
import torch

from levy_core.base.conditions import LABEL, of_labels
from levy_core.base.samples import RECORDED, Samples
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.training.config import TrainConfig
from levy_core.training.trainer import Trainer
from tasks.kinds.kind import TrainingData
from tasks.train import _fingerprint
from tasks.training.kept_averages import KeptAverages
from tasks.training.resume import Resume
from tests.conftest import PRECISIONS

NET = UNetConfig(shape=(1, 8, 8), classes=2, channels=(8,))
CONFIG = TrainConfig(
    steps=9, batch=4, lr=1e-3, warmup=1, ema=0.9, clip=1.0, label_dropout=0.5, flip=False, seed=0, precision="float32"
)
DATA = TrainingData(
    torch.zeros(3, 1, 8, 8),
    of_labels(torch.tensor([0, 1, 1])),
    Samples("images", ("a", "b"), **RECORDED["images"]),
    hash="one",
)
LIM = Design.from_mapping({"preset": "lim"})


def trainer():
    torch.manual_seed(0)
    return Trainer(
        LIM,
        UNet(NET),
        torch.zeros(3, 1, 8, 8),
        of_labels(torch.tensor([0, 1, 1])),
        {LABEL: torch.tensor(2)},
        CONFIG,
        torch.device("cpu"),
    )


def test_the_same_run_goes_on_where_it_stopped(tmp_path):
    resume = Resume(
        tmp_path / "state.safetensors",
        _fingerprint(LIM, NET, CONFIG, DATA),
        CONFIG.precision,
        KeptAverages(tmp_path / "averages"),
    )
    first = trainer()
    steps = first.run()
    curve = [(p.loss, p.grad_norm, 0.5) for p in (next(steps), next(steps))]
    resume.save(first, curve)
    second = trainer()
    assert resume.restore(second) == curve
    assert second.step == 2
    resume.clear()
    assert resume.restore(trainer()) == []


@pytest.mark.parametrize(
    "other",
    [
        (Design.from_mapping({"preset": "lim", "alpha": 1.5}), NET, CONFIG, DATA),
        (Design.from_mapping({"preset": "lim", "level_weight": "none"}), NET, CONFIG, DATA),
        (LIM, replace(NET, layers=2), CONFIG, DATA),
        (LIM, NET, replace(CONFIG, flip=True), DATA),
        (LIM, NET, replace(CONFIG, seed=1), DATA),
        (LIM, NET, replace(CONFIG, precision="bfloat16"), DATA),
        (LIM, NET, CONFIG, replace(DATA, hash="another")),
    ],
)
def test_another_run_starts_at_its_beginning(tmp_path, other):
    path = tmp_path / "state.safetensors"
    first = trainer()
    next(first.run())
    Resume(path, _fingerprint(LIM, NET, CONFIG, DATA), CONFIG.precision, KeptAverages(tmp_path / "averages")).save(
        first, [(1.0, 1.0, 0.5)]
    )
    fresh = trainer()
    resume = Resume(path, _fingerprint(*other), other[2].precision, KeptAverages(tmp_path / "averages"))
    assert resume.restore(fresh) == []
    assert fresh.step == 0
    why = "it was in float32, and this one is in bfloat16" if other[2].precision == "bfloat16" else "data were others"
    assert str(path) in resume.unused
    assert why in resume.unused


def test_a_state_that_cannot_be_read_is_named_and_none_is_silent(tmp_path):
    path = tmp_path / "state.safetensors"
    resume = Resume(path, _fingerprint(LIM, NET, CONFIG, DATA), CONFIG.precision, KeptAverages(tmp_path / "averages"))
    assert resume.restore(trainer()) == []
    assert not resume.unused
    path.write_bytes(b"cut off")
    assert resume.restore(trainer()) == []
    assert (
        resume.unused == f"the unfinished training in {path} is not used, training begins at step 0: it cannot be read"
    )


def test_a_save_that_fails_leaves_the_state_before(tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    resume = Resume(path, _fingerprint(LIM, NET, CONFIG, DATA), CONFIG.precision, KeptAverages(tmp_path / "averages"))
    run = trainer()
    next(run.run())
    resume.save(run, [(1.0, 1.0, 0.5)])
    broken = run.state() | {"bad": torch.zeros(2, 2).t()}  # not contiguous: safetensors refuses it in mid-save
    monkeypatch.setattr(run, "state", lambda: broken)
    with pytest.raises(ValueError, match="non contiguous"):
        resume.save(run, [(2.0, 2.0, 0.5)])
    assert resume.restore(trainer()) == [(1.0, 1.0, 0.5)]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_run_with_dropout_goes_on_to_the_same_bits(precision):
    config = replace(CONFIG, precision=precision)

    def begin():
        torch.manual_seed(0)
        images = torch.randn(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        net = UNet(replace(NET, dropout=0.5))
        return Trainer(
            LIM, net, images, of_labels(torch.tensor([0, 1, 1])), {LABEL: torch.tensor(2)}, config, torch.device("cpu")
        )

    whole = list(begin().run())
    first = begin()
    steps = first.run()
    part = [next(steps) for _ in range(4)]
    second = begin()
    second.restore(first.state())
    assert part[-1].step == int(second.state()["objective.levels.steps"]) == 4
    assert part + list(second.run()) == whole
