"""The class-balancing term: its value, its gradient with both stops, and an expectation that is finite under every law."""

from dataclasses import replace
from math import log10

import pytest
import torch

from levy_core.base.conditions import LABEL, of_labels
from levy_core.base.seeds import BatchStream, generator
from levy_core.nets.mlp import MLP, MLPConfig
from levy_core.process.design import PRESETS, Design
from levy_core.process.loss import TAIL_WEIGHTS
from levy_core.training.class_balancing import COMMITMENT, ClassBalancing
from levy_core.training.objective import Batch, NoiseResidual

STRENGTH = 0.7
DDPM = Design.from_mapping({"preset": "ddpm"})
CLASSES = 3  # and 3: no class


def batch_of(design, size=12, seed=0, scale=1.0):
    """Rows of which every third has no class."""
    g = generator(seed)
    labels, others = torch.randint(CLASSES, (2, size), generator=g)
    nothing = torch.arange(size) % 3 == 0
    return Batch(
        x0=scale * torch.randn(size, 2, generator=g),
        rho=torch.rand(size, generator=g) * 4 + 0.1,
        e=scale * design.noise.sample((2,), BatchStream(size, seed)),
        cond=of_labels(labels.where(~nothing, CLASSES)),
        valid=None,
        other=of_labels(others.where(~nothing, CLASSES)),
    )


class Gain(torch.nn.Module):
    """eps_hat = gain of the class times y."""

    def __init__(self):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.tensor([0.2, -0.5, 1.1, 0.4]))

    def forward(self, y, rho, cond):
        return self.gain[cond[LABEL]][:, None] * y


def no_loss(predict, batch):
    """An objective without a loss of its own, so that the term stands alone."""
    return 0 * predict(batch.y, batch.rho, batch.cond).sum(1)


no_loss.repeats = 1


def term(design, predict, batch):
    return ClassBalancing(no_loss, design, STRENGTH)(predict, batch)


def test_the_gradient_is_that_of_the_paper_by_hand():
    batch, net = batch_of(DDPM), Gain()
    term(DDPM, net, batch).sum().backward()
    expected = torch.zeros(4)
    for y, rho, own, other in zip(batch.y, batch.rho, batch.cond[LABEL], batch.other[LABEL], strict=True):
        slope = STRENGTH * rho / (1 + rho) * 2 * (net.gain[own] - net.gain[other]).detach() * (y**2).mean()
        expected[own] += slope  # through eps(y, c) alone
        expected[other] -= slope / 4  # through eps(y, c') alone
    assert torch.allclose(net.gain.grad, expected, rtol=1e-5, atol=1e-6)
    assert net.gain.grad[CLASSES] == 0  # rows without their class add nothing


@pytest.mark.parametrize("preset", PRESETS)
def test_a_network_that_ignores_the_class_has_the_loss_and_the_gradient_of_the_design_alone(preset):
    design = Design.from_mapping({"preset": preset})
    torch.manual_seed(0)
    net = MLP(MLPConfig((2,), classes=CLASSES, width=8))
    torch.nn.init.zeros_(net.label.weight)
    predictor, alone, found = design.predictor(net), NoiseResidual(design), []
    for objective in (alone, ClassBalancing(alone, design, STRENGTH)):
        net.zero_grad()
        loss = objective(predictor, batch_of(design))
        loss.sum().backward()
        shared = [p.grad.clone() for name, p in net.named_parameters() if name != "label.weight"]
        found.append([loss.detach(), net.label.weight.grad.clone(), *shared])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_it_is_added_per_sample_as_a_mean_over_the_draws_of_the_noise():
    design = Design.from_mapping({"preset": "dlpm", "groups": 3, "draws": 2})
    batch, net = batch_of(design, size=6 * 4), Gain()
    alone = NoiseResidual(design)
    found = ClassBalancing(alone, design, STRENGTH)(net, batch) - alone(net, batch)
    assert torch.allclose(found, term(design, net, batch).view(6, 4).mean(0), rtol=1e-4, atol=1e-5)


def test_its_expectation_under_a_gaussian_law():
    size, rho = 40_000, 1.5
    batch = replace(
        batch_of(DDPM, size),
        rho=torch.full((size,), rho),
        cond=of_labels(torch.zeros(size, dtype=torch.int64)),
        other=of_labels(torch.ones(size, dtype=torch.int64)),
    )
    expected = STRENGTH * rho / (1 + rho) * (1 + COMMITMENT) * (0.2 + 0.5) ** 2 * (1 + rho**2)
    # y**2 / (1 + rho**2) is chi-square with one degree: variance 2; 2 values per row. Five deviations: once in 1.7 million seeds.
    error = 5 * expected / size**0.5
    assert abs(float(term(DDPM, Gain(), batch).mean().detach()) - expected) < error


@pytest.mark.parametrize("preset", PRESETS)
def test_it_grows_no_faster_than_a_power_of_y_of_which_the_law_has_a_moment(preset):
    design = Design.from_mapping({"preset": preset})
    far, further = (float(term(design, Gain(), batch_of(design, scale=scale)).sum().detach()) for scale in (1e3, 1e4))
    power = log10(further / far)
    assert power - 0.01 < design.noise.moments
    bounded = TAIL_WEIGHTS[design.loss.tail_weight].order
    squared = design.noise.moments > 2 - bounded  # as in the paper, where that has a mean
    assert abs(power - (2 - bounded if squared else 1)) < 0.02


def test_what_the_objective_learns_is_kept_and_restored():
    design = Design.from_mapping({"preset": "lim"})
    plain, balanced = (NoiseResidual(design) for _ in range(2))
    balanced = ClassBalancing(balanced, design, STRENGTH)
    for objective in (plain, balanced):
        objective(Gain(), batch_of(design))
        objective.learn(objective.sums())
    assert all(torch.equal(plain.state()[name], value) for name, value in balanced.state().items())
    again = ClassBalancing(NoiseResidual(design), design, STRENGTH)
    again.restore(balanced.state())
    assert balanced.state().keys() == again.state().keys() == plain.state().keys() != set()
    assert torch.equal(again(Gain(), batch_of(design, seed=1)), balanced(Gain(), batch_of(design, seed=1)))


def test_a_missing_value_does_not_count():
    batch, net = batch_of(DDPM), Gain()
    valid = torch.ones_like(batch.x0, dtype=torch.bool)
    valid[:, 1] = False
    moved = batch.x0.clone()
    moved[:, 1] += 100
    one, other = (term(DDPM, net, replace(batch, x0=x0, valid=valid)) for x0 in (batch.x0, moved))
    assert torch.equal(one, other)
