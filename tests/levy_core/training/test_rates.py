"""Learning rates over a training: equal to torch's schedules, and to the published formulas."""

from math import sqrt

import pytest
import torch

from levy_core.training.rates import LR_SCHEDULES

WARMUP, STEPS = 10, 110


def factors(name, warmup=WARMUP, steps=STEPS):
    return [LR_SCHEDULES[name](step, warmup, steps) for step in range(1, steps + 1)]


def theirs(make, steps):
    """Factors of one of torch's schedulers; its first is that of step 0, before any step."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler, found = make(optimizer), []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("name", LR_SCHEDULES)
def test_all_rise_evenly_to_one_at_the_end_of_the_warm_up(name):
    assert factors(name)[:WARMUP] == pytest.approx([k / WARMUP for k in range(1, WARMUP + 1)])
    assert factors(name, warmup=0)[0] <= 1
    assert max(factors(name)) == 1


def test_cosine_is_torchs_after_the_warm_up():
    own = factors("cosine")
    cosine = theirs(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, STEPS + 1 - WARMUP), STEPS + 1 - WARMUP)
    assert own[WARMUP - 1 :] == pytest.approx(cosine, abs=1e-12)
    assert 0 < own[-1] < 1e-3


def test_inverse_sqrt_is_that_of_the_transformer():
    width = 7.0  # d_model of the paper, which only scales
    published = [width**-0.5 * min(k**-0.5, k * WARMUP**-1.5) for k in range(1, STEPS + 1)]
    highest = width**-0.5 * WARMUP**-0.5
    assert [highest * factor for factor in factors("inverse-sqrt")] == pytest.approx(published)
    assert factors("inverse-sqrt", warmup=0)[3] == pytest.approx(1 / sqrt(4))
