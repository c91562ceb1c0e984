"""The running size of the residual of a noise level, and the weight that an objective takes from it."""

from dataclasses import replace

import pytest
import torch

from levy_core.process.design import Design
from levy_core.process.schedule import Cosine
from levy_core.training.levels import BINS, LevelSizes
from levy_core.training.objective import Batch, NoiseResidual

SCHEDULE = Cosine(1.8)


def levels_of(size, seed):
    """Noise levels, uniform in the logarithm between the ends of the schedule."""
    ends = SCHEDULE.ratio(torch.tensor([SCHEDULE.t_min, SCHEDULE.t_max], dtype=torch.float64)).log()
    share = torch.rand(size, generator=torch.Generator().manual_seed(seed))
    return (ends[0] + (ends[1] - ends[0]) * share).exp().float()


def learnt(loss_of, steps=300, batch=64):
    sizes = LevelSizes(SCHEDULE)
    for step in range(steps):
        rho = levels_of(batch, step)
        sizes.learn(sizes.sums(rho, loss_of(rho)))
    return sizes


def test_every_level_has_size_1_before_the_first_step_and_a_size_after_it():
    sizes, everywhere = LevelSizes(SCHEDULE), torch.tensor([1e-9, 1e-3, 1.0, 30.0, 1e9])
    assert sizes.size(everywhere).tolist() == [1] * 5
    sizes.learn(sizes.sums(torch.ones(4), torch.full((4,), 9.0)))
    assert sizes.size(everywhere).tolist() == pytest.approx([3] * 5)  # no other level is known yet


def test_the_size_of_a_level_is_the_root_of_its_mean_loss():
    # A loss of rho**0.4 from 0.05 to 4: over one bin, of width 0.4 in log rho, it changes by 17 %. 64 samples per step over
    # 100 steps are 200 per bin, of which one more has the mean of all levels, 0.9: 3 % of a mean of 0.16. Seen: 5 % of a root.
    sizes, rho = learnt(lambda rho: rho**0.4), torch.tensor([0.01, 0.1, 1.0, 10.0])
    assert torch.allclose(sizes.size(rho), rho**0.2, rtol=0.08)


def test_old_steps_are_forgotten():
    sizes = learnt(torch.ones_like, steps=200)
    for step in range(400):
        rho = levels_of(64, step)
        sizes.learn(sizes.sums(rho, torch.full_like(rho, 4.0)))
    # of the mean 4, 3 is missing by the weight of the steps before, at most 0.99**400 = 0.018
    assert torch.allclose(sizes.size(levels_of(50, 1)), torch.tensor(2.0), rtol=0.02)


def test_sums_of_parts_of_a_batch_add_up_and_every_sample_counts_once():
    sizes, rho = LevelSizes(SCHEDULE), torch.cat([levels_of(30, 0), torch.tensor([1e-9, 1e9])])
    loss = torch.rand(32, generator=torch.Generator().manual_seed(0))
    whole = sizes.sums(rho, loss)
    assert torch.allclose(whole, sizes.sums(rho[:7], loss[:7]) + sizes.sums(rho[7:], loss[7:]), atol=1e-5)
    assert whole[BINS:].sum().item() == pytest.approx(32, rel=1e-5)
    assert whole[:BINS].sum().item() == pytest.approx(loss.sum().item(), rel=1e-5)


def batch_of(seed):
    g = torch.Generator().manual_seed(seed)
    e, x0, rho = torch.randn(16, 3, generator=g), torch.randn(16, 3, generator=g), torch.rand(16, generator=g) + 0.1
    return Batch(x0, rho, e, {}, None)


def nothing(y, rho, cond):
    return torch.zeros_like(y)


@pytest.mark.parametrize(("name", "power"), [("residual", 1), ("residual-power", 2)])
def test_the_weight_of_a_step_is_known_before_its_noise_is_drawn(name, power):
    design = Design.from_mapping({"preset": "ddpm", "level_weight": name})
    objective, plain = NoiseResidual(design), NoiseResidual(Design.from_mapping({"preset": "ddpm"}))
    first, second = batch_of(1), batch_of(2)
    assert torch.equal(objective(nothing, first), plain(nothing, first))
    objective.learn(objective.sums())
    before = objective.levels.size(second.rho)
    assert before.std() > 0
    for e in (second.e, 100 * second.e):  # whatever the noise of this step is
        at = replace(second, e=e)
        assert torch.equal(objective(nothing, at), plain(nothing, at) / before**power)
    assert torch.equal(objective.levels.size(second.rho), before)


def test_power_2_gives_every_level_the_same_loss():
    sizes, rho = learnt(lambda rho: rho**0.4), torch.logspace(-2, 1.5, 50)
    assert torch.allclose(rho**0.4 / sizes.size(rho) ** 2, torch.tensor(1.0), atol=0.16)  # twice the error of a size


def test_the_state_goes_on_and_is_that_of_the_objective():
    objective, other = (NoiseResidual(Design.from_mapping({"preset": "lim"})) for _ in range(2))
    for seed in range(3):
        objective(nothing, batch_of(seed))
        objective.learn(objective.sums())
    assert {name: tuple(value.shape) for name, value in objective.state().items()} == {
        "levels.loss": (BINS,),
        "levels.count": (BINS,),
        "levels.steps": (),
    }
    other.restore(objective.state())
    assert torch.equal(other(nothing, batch_of(9)), objective(nothing, batch_of(9)))
    assert NoiseResidual(Design.from_mapping({"preset": "lim-published"})).state() == {}
