"""A training step: the parts of a batch, the optimiser, the average of the weights, and when losses are read."""

import copy
from dataclasses import replace

import pytest
import torch

from levy_core.base.conditions import LABEL, of_labels
from levy_core.base.errors import LevyError
from levy_core.nets.mlp import MLP, MLPConfig
from levy_core.process.design import Design
from levy_core.training.config import TrainConfig
from levy_core.training.objective import NoiseResidual
from levy_core.training.rates import LR_SCHEDULES
from levy_core.training.share import Share
from levy_core.training.trainer import Trainer

CONFIG = TrainConfig(
    steps=12, batch=11, lr=1e-2, warmup=3, ema=0.9, clip=1e9, label_dropout=0.3, flip=False, seed=0, precision="float32"
)
DATA = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 3


def trainer(preset="lim", read_every=1, data=DATA, **changes):
    design = Design.from_mapping({"preset": preset, "score_head": changes.pop("score_head", False)})
    torch.manual_seed(0)
    net = MLP(MLPConfig((3,), 3, 16, 2, design.heads))
    config = replace(CONFIG, **changes)
    absent = {LABEL: torch.tensor(3)}
    return Trainer(design, net, data, of_labels(LABELS), absent, config, torch.device("cpu"), read_every=read_every)


def gradients(one):
    return torch.cat([p.grad.flatten() for p in one.predictor.parameters()])


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize(
    "settings",
    [
        {"preset": "lim"},
        {"preset": "dlpm"},  # several draws of the noise per sample
        {"preset": "tedm"},
        {"preset": "lim", "score_head": True},
        {"preset": "lim", "class_balancing": 0.5},
    ],
    ids=str,
)
def test_parts_of_a_batch_add_up_to_its_loss_and_gradient(settings, missing):
    data = DATA.where(torch.rand(DATA.shape, generator=torch.Generator().manual_seed(1)) > 0.3 * missing, torch.nan)
    found = []
    for accumulate in (1, 3, 11):
        one = trainer(data=data, accumulate=accumulate, **settings)
        losses = [next(steps).loss for steps in [one.run()] for _ in range(3)]
        found.append((torch.tensor(losses), gradients(one), one.objective.state()))
    whole, *parts = found
    for losses, gradient, learnt in parts:
        assert torch.allclose(losses, whole[0], rtol=1e-5)
        # a float32 sum of at most 11 x 4 terms in another order, after three steps of Adam: 1e-5 of the largest
        assert float((gradient - whole[1]).abs().max() / whole[1].abs().max()) < 1e-4
        for name, value in learnt.items():
            assert torch.allclose(value, whole[2][name], rtol=1e-4, atol=1e-6), name


def test_more_parts_than_samples_are_refused():
    with pytest.raises(LevyError, match=r"train\.accumulate is 12, but a process has 11 of the 11 samples"):
        trainer(accumulate=12)
    design = Design.from_mapping({"preset": "lim"})
    net = MLP(MLPConfig((3,), 3, 16, 2, design.heads))
    with pytest.raises(LevyError, match="a process has 5 of the 11 samples of a batch: set it to 5 at most"):
        Trainer(
            design, net, DATA, of_labels(LABELS), {LABEL: torch.tensor(3)}, replace(CONFIG, accumulate=6), torch.device("cpu"),
            Share(0, 2, lambda flat: None),
        )  # fmt: skip


@pytest.mark.parametrize("schedule", LR_SCHEDULES)
def test_weights_and_their_average_are_those_of_a_plain_loop_with_the_gradients_of_the_steps(schedule):
    own = trainer(lr_schedule=schedule, weight_decay=0.1)
    weights = [p.detach().clone().requires_grad_() for p in own.predictor.net.parameters()]
    averages = copy.deepcopy(weights)
    optimizer = torch.optim.AdamW(weights, weight_decay=0.1, foreach=False, fused=False)
    for progress in own.run():
        k = progress.step
        optimizer.param_groups[0]["lr"] = CONFIG.lr * LR_SCHEDULES[schedule](k, CONFIG.warmup, CONFIG.steps)
        assert progress.lr == optimizer.param_groups[0]["lr"]
        for weight, trained in zip(weights, own.predictor.net.parameters(), strict=True):
            weight.grad = trained.grad.clone()
        optimizer.step()
        decay = 0.0 if k == 1 else min(CONFIG.ema, k / (9 + k))
        with torch.no_grad():
            for average, weight in zip(averages, weights, strict=True):
                average.copy_(decay * average + (1 - decay) * weight)
    apart = lambda ones, others: max(float((a - b).detach().abs().max()) for a, b in zip(ones, others, strict=True))
    assert apart(weights, own.predictor.net.parameters()) < 1e-6
    assert apart(averages, own.averaged.parameters()) < 1e-6
    assert apart(weights, averages) > 1e-3


def test_losses_that_are_read_together_are_those_of_every_step_and_so_is_the_model():
    each, together = trainer(), trainer(read_every=5)
    seen = []
    for progress in together.run():
        seen.append(progress)
        if progress.step % 5 == 0 or progress.step == CONFIG.steps:
            assert together.step == progress.step  # a state that is saved now is that of this step
    assert seen == list(each.run())
    assert [progress.step for progress in seen] == list(range(1, 13))
    one, other = each.state(), together.state()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


class BreaksAtTheThird(NoiseResidual):
    calls = 0

    def __call__(self, predict, batch):
        self.calls += 1
        return super().__call__(predict, batch) * (torch.nan if self.calls == 3 else 1)


@pytest.mark.parametrize("read_every", [1, 5])
def test_a_loss_that_is_not_finite_names_its_step(read_every):
    one = trainer(read_every=read_every)
    one.objective = BreaksAtTheThird(one.design)
    steps = one.run()
    assert [next(steps).step for _ in range(2)] == [1, 2]
    with pytest.raises(LevyError, match=r"training step 3: loss nan, gradient norm nan; lower train\.lr"):
        next(steps)


def test_a_stopped_training_goes_on_to_the_same_model_with_every_setting():
    settings = {"lr_schedule": "cosine", "weight_decay": 0.1, "accumulate": 3}
    whole = trainer(**settings)
    list(whole.run())
    first = trainer(**settings)
    for progress in first.run():
        if progress.step == 5:
            break
    second = trainer(**settings)
    second.restore(first.state())
    list(second.run())
    assert all(torch.equal(value, second.state()[name]) for name, value in whole.state().items())


@pytest.mark.parametrize("preset", ["lim", "dlpm", "tedm"])
def test_the_loss_of_held_out_samples_is_that_of_the_average_at_the_same_noise_every_time(preset):
    one = trainer(preset, ema=0.0, warmup=1)
    held = torch.randn(30, 3, generator=torch.Generator().manual_seed(5)).where(
        torch.arange(30)[:, None] > 2, torch.nan
    )
    cond = of_labels(torch.arange(30) % 3)
    losses = [one.held_out_loss(held, cond)]
    before = one.state()
    assert one.held_out_loss(held, cond) == losses[0]
    assert all(torch.equal(value, one.state()[name]) for name, value in before.items())
    for _ in one.run():
        losses.append(one.held_out_loss(held, cond))
    assert losses[-1] < losses[0]
    again = trainer(preset, ema=0.0, warmup=1)
    assert [p.loss for p in again.run()] == [
        p.loss for p in trainer(preset, ema=0.0, warmup=1).run()
    ]  # it disturbs nothing
    # as training weighs its own loss: on the training samples it is about what training says
    own = one.held_out_loss(DATA.repeat(40, 1), of_labels(LABELS.repeat(40)))
    assert 0.3 < own / losses[-1] < 3


@pytest.mark.parametrize(("share", "accumulate"), [(Share(), 4), (Share(0, 2, lambda flat: None), 1)])
def test_no_more_held_out_samples_are_looked_at_together_than_a_step_takes(share, accumulate):
    asked = []
    design = Design.from_mapping({"preset": "lim"})
    net = MLP(MLPConfig((3,), 3, 16, 2, design.heads))
    one = Trainer(
        design, net, DATA, of_labels(LABELS), {LABEL: torch.tensor(3)}, replace(CONFIG, accumulate=accumulate), torch.device("cpu"), share
    )  # fmt: skip
    for network in (one.predictor.net, one.averaged):
        network.register_forward_hook(lambda module, given, made: asked.append(len(made)))
    next(one.run())
    most = max(asked)
    asked.clear()
    one.held_out_loss(DATA, of_labels(LABELS))
    assert (max(asked), sum(asked)) == (most, len(DATA))
