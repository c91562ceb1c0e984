"""Schedules and grids: inverses, rates, ends, refusals."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from levy_core.base.errors import LevyError
from levy_core.process.schedule import SCHEDULES, Exploding, Linear, ScalePreserving, rates
from levy_core.sampling.grids import GRIDS, custom, extent

EXPONENTS = [1.1, 1.5, 1.8, 2.0]
pairs = pytest.mark.parametrize(("name", "p"), [(name, p) for name in SCHEDULES for p in EXPONENTS])


def times(schedule, n=400):
    return torch.linspace(schedule.t_min, schedule.t_max, n, dtype=torch.float64)


@pairs
def test_ratio_rises_inverts_and_is_scale_over_signal(name, p):
    schedule = SCHEDULES[name](p)
    t = times(schedule)
    rho = schedule.ratio(t)
    assert rho.dtype == torch.float64
    assert (rho.diff() > 0).all()
    assert torch.allclose(schedule.time(rho), t, rtol=1e-9, atol=1e-7)
    assert torch.allclose(schedule.scale(t) / schedule.signal(t), rho, rtol=1e-12)
    assert torch.allclose(schedule.signal_at(rho), schedule.signal(t), rtol=1e-12)
    assert schedule.time(torch.zeros(1, dtype=torch.float64)).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("p", EXPONENTS)
@pytest.mark.parametrize("name", [name for name in SCHEDULES if issubclass(SCHEDULES[name], ScalePreserving)])
def test_scale_preserving_schedules_preserve_scale(name, p):
    schedule = SCHEDULES[name](p)
    t = times(schedule)
    assert torch.allclose(schedule.signal(t) ** p + schedule.scale(t) ** p, torch.ones_like(t), atol=1e-13)


@pairs
def test_rates_are_the_derivatives(name, p):
    schedule = SCHEDULES[name](p)
    t, h = times(schedule, 50)[1:-1], 1e-6
    signal_rate, ratio_rate = rates(schedule, t)
    slope = (torch.log(schedule.signal(t + h)) - torch.log(schedule.signal(t - h))) / (2 * h)
    assert torch.allclose(signal_rate, slope, rtol=1e-6, atol=1e-8)
    assert torch.allclose(ratio_rate, (schedule.ratio(t + h) - schedule.ratio(t - h)) / (2 * h), rtol=1e-6)


def test_linear_is_the_integral_of_its_beta():
    # log a = -int beta / alpha, beta from 0.1 to 20
    t = torch.tensor([0.3], dtype=torch.float64)
    assert Linear(1.5).log_signal(t).item() == pytest.approx(-(0.1 * 0.3 + 19.9 * 0.09 / 2) / 1.5)


def test_dlpms_cosine_to_the_alpha_is_ddpms_cumulated_product():
    t = torch.tensor([0.2, 0.7], dtype=torch.float64)
    ddpm = SCHEDULES["cosine"](2.0).signal(t) ** 2
    for alpha in (1.2, 1.7):
        assert torch.allclose(SCHEDULES["dlpm-cosine"](alpha).signal(t) ** alpha, ddpm, rtol=1e-12)


@pytest.mark.parametrize("grid", GRIDS)
@pairs
def test_grids_fall_from_end_to_end(name, p, grid):
    schedule = SCHEDULES[name](p)
    high, low = extent(schedule)
    levels = GRIDS[grid](schedule, high, low, 13)
    assert len(levels.rho) == len(levels.t) == 14
    assert (levels.rho.diff() < 0).all()
    assert levels.rho[[0, -1]].tolist() == pytest.approx([high, low], rel=1e-6)
    assert torch.allclose(schedule.ratio(levels.t), levels.rho, rtol=1e-5)


def test_karras_grid_is_edms():
    n, rho = 7, 7  # Karras et al. (2022), eq. 5, as published
    expected = [(80 ** (1 / rho) + i / (n - 1) * (0.002 ** (1 / rho) - 80 ** (1 / rho))) ** rho for i in range(n)]
    assert GRIDS["karras"](Exploding(2.0), 80, 0.002, n - 1).rho.tolist() == pytest.approx(expected, rel=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=8, unique=True))
def test_a_grid_of_ones_own_is_kept_as_it_is(values):
    rho = tuple(sorted(values, reverse=True))
    assert custom(Exploding(2.0), rho).rho.tolist() == list(rho)


@pytest.mark.parametrize(
    ("rho", "message"),
    [
        ((3.0, 4.0, 1.0), r"the grid does not fall: rho\[0\] is 3.0 and rho\[1\] is 4.0"),
        ((3.0, 2.0, 2.0), r"rho\[1\] is 2.0 and rho\[2\] is 2.0"),
        ((3.0, -1.0), r"rho\[1\] is -1.0"),
        ((math.inf, 1.0), r"rho\[0\] is inf"),
        ((math.nan, 1.0), r"rho\[0\] is nan"),
        ((1.0,), "a grid of 1 levels makes no step"),
    ],
)
def test_grids_that_do_not_fall_are_refused(rho, message):
    with pytest.raises(LevyError, match=message):
        custom(Exploding(2.0), rho)


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (2.0, 1.0), (1.0, math.inf), (math.nan, 1.0)])
def test_ends_out_of_order_are_refused(low, high):
    with pytest.raises(LevyError, match="0 < sigma_min < sigma_max must hold"):
        Exploding(2.0, low, high)
    with pytest.raises(LevyError, match="0 < beta_min < beta_max must hold"):
        Linear(1.5, low, high)
