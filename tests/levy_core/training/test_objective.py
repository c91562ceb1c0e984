"""An objective is an argument of the trainer: the design's own by default, a student's as well."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from levy_core.base.conditions import LABEL, of_labels
from levy_core.nets.mlp import MLP, MLPConfig
from levy_core.process.design import PRESETS, Design
from levy_core.training.config import TrainConfig
from levy_core.training.objective import Batch, NoiseResidual, Objective
from levy_core.training.trainer import Trainer

CONFIG = TrainConfig(
    steps=200,
    batch=32,
    lr=3e-3,
    warmup=1,
    ema=0.9,
    clip=10.0,
    label_dropout=0.5,
    flip=False,
    seed=0,
    precision="float32",
)
DATA = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(64) % 3


def trainer(objective=None, preset="ddpm"):
    torch.manual_seed(1)
    net = MLP(MLPConfig((2,), classes=3, width=32))
    return Trainer(
        Design.from_mapping({"preset": preset}), net, DATA, of_labels(LABELS), {LABEL: torch.tensor(3)}, CONFIG,
        torch.device("cpu"), objective=objective,
    )  # fmt: skip


@pytest.mark.parametrize("preset", PRESETS)
def test_the_default_is_the_designs_own_loss_bit_for_bit(preset):
    design = Design.from_mapping({"preset": preset})
    own, given = trainer(preset=preset), trainer(NoiseResidual(design), preset)
    for one, other, _ in zip(own.run(), given.run(), range(5), strict=False):
        assert one == other


@dataclass
class Student(Objective):
    """Squared distance from a teacher's prediction, with one draw of the noise per sample; keeps the batches that it saw."""

    seen: list
    repeats: ClassVar[int] = 1

    def teacher(self, y, rho, cond):
        return y * (rho / (1 + rho**2))[:, None] + 0.1 * cond[LABEL][:, None]

    def __call__(self, predict, batch: Batch):
        self.seen.append(batch)
        return ((predict(batch.y, batch.rho, batch.cond) - self.teacher(batch.y, batch.rho, batch.cond)) ** 2).mean(1)


def test_a_student_of_another_model_is_an_objective():
    student = Student([])
    losses = [p.loss for p in trainer(student).run()]
    assert sum(losses[-20:]) < 0.1 * sum(losses[:20])
    batch = student.seen[0]
    assert batch.y.shape == batch.x0.shape == batch.e.shape == (32, 2)
    assert set(batch.cond[LABEL].tolist()) <= {0, 1, 2, 3}
    assert 4 <= int((batch.cond[LABEL] == 3).sum()) <= 28  # dropped with probability 1/2: outside once in 30,000 seeds


def test_draws_of_the_noise_are_those_that_the_objective_asks_for():
    @dataclass
    class Several(Student):
        repeats: ClassVar[int] = 3

        def __call__(self, predict, batch):
            return super().__call__(predict, batch).view(3, -1).mean(0)

    student = Several([])
    assert next(trainer(student).run()).step == 1
    assert len(student.seen[0].x0) == 96
    assert torch.equal(student.seen[0].x0[:32], student.seen[0].x0[64:])
    assert not torch.equal(student.seen[0].e[:32], student.seen[0].e[64:])
