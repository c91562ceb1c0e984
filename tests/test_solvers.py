"""Schedules, step tables and the sampling loop, against exact answers."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from levy_core.errors import LevyError
from levy_core.noise import Gaussian, Stable
from levy_core.sample import sample
from levy_core.schedule import GRIDS, Cosine, signal_at
from levy_core.steps import DISCRETISATIONS, FAMILIES, Solver, StepTable, tabulate

EXPONENTS = [1.1, 1.5, 1.8, 2.0]


def law(p):
    return Gaussian() if p == 2 else Stable(p)


def oracle(p, c):
    """eps_hat for data of scale c of the noise's own law, a coordinate at a time: rho**(p-1) y / (c**p + rho**p)."""
    return lambda y, rho, label: (rho ** (p - 1) / (c**p + rho**p)).view(-1, 1) * y


def draw(solver, p, c=1.0):
    """16,000 independent draws: 16 samples of 1,000 independent coordinates."""
    labels = torch.zeros(16, dtype=torch.long)
    noise = Gaussian() if p == 2 else Stable(p, isotropic=False)
    return sample(oracle(p, c), tabulate(solver, Cosine(p)), noise, 0, range(16), (1000,), labels)


def scale_of(x, p):
    """The scale of a symmetric stable sample by its characteristic function at 1 / scale, where it is best determined."""
    u = 1.0
    for _ in range(20):
        value = torch.cos(u * x.double()).mean().clamp(1e-3, 0.999)
        u *= (1 / -torch.log(value)) ** (1 / p)
    return 1 / float(u) * (2**0.5 if p == 2 else 1)  # Gaussian() is 2**-0.5 times Stable(2)


@pytest.mark.parametrize("p", EXPONENTS)
def test_schedule_is_scale_preserving_and_inverts(p):
    schedule = Cosine(p)
    t = torch.linspace(schedule.t_min, schedule.t_max, 400, dtype=torch.float64)
    assert torch.allclose(schedule.signal(t) ** p + schedule.scale(t) ** p, torch.ones_like(t), atol=1e-13)
    assert (schedule.ratio(t).diff() > 0).all()
    assert torch.allclose(schedule.time(schedule.ratio(t)), t, atol=1e-7)
    assert torch.allclose(signal_at(schedule.ratio(t), p), schedule.signal(t), rtol=1e-12)


@pytest.mark.parametrize("p", EXPONENTS)
def test_rate_is_the_derivative_of_the_signal(p):
    schedule = Cosine(p)
    t = torch.linspace(0.01, 0.99, 50, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(torch.log(schedule.signal(t)).sum(), t)
    assert torch.allclose(schedule.rate(t.detach()), -p * slope, rtol=1e-10)


@pytest.mark.parametrize("name", GRIDS)
def test_grids_fall_from_end_to_end(name):
    schedule = Cosine(1.7)
    t = GRIDS[name](schedule, 13)
    assert t.shape == (14,)
    assert (t.diff() < 0).all()
    assert t[[0, -1]].tolist() == pytest.approx([schedule.t_max, schedule.t_min], rel=1e-6)


@pytest.mark.parametrize("discretisation", DISCRETISATIONS)
def test_sde_e_without_noise_is_the_ode(discretisation):
    a, b = (tabulate(Solver(f, discretisation, "uniform-t", 9, 0.0), Cosine(1.6)) for f in ("sde-e", "ode"))
    for field in ("rho", "keep", "drift", "noise"):
        assert torch.equal(getattr(a, field), getattr(b, field))


@pytest.mark.parametrize("discretisation", DISCRETISATIONS)
def test_sde_a_at_alpha_2_is_sde_e_at_eta_1(discretisation):
    a = tabulate(Solver("sde-a", discretisation, "uniform-t", 9), Cosine(2.0))
    b = tabulate(Solver("sde-e", discretisation, "uniform-t", 9, 1.0), Cosine(2.0))
    assert torch.allclose(a.drift, b.drift)
    assert torch.allclose(a.noise, b.noise)


def test_the_ode_with_the_noise_frozen_is_diffusers_ddim():
    train_steps, steps = 1000, 20
    ddim = DDIMScheduler(train_steps, beta_schedule="squaredcos_cap_v2", clip_sample=False, set_alpha_to_one=False)
    ddim.set_timesteps(steps)
    # In double precision, so that the comparison is of the formulas and not of float32 roundings.
    ddim.alphas_cumprod, ddim.final_alpha_cumprod = ddim.alphas_cumprod.double(), ddim.final_alpha_cumprod.double()
    alpha_bar = ddim.alphas_cumprod
    timesteps = ddim.timesteps.tolist()
    ends = [*timesteps, -1]
    rho = torch.stack(
        [((1 - a) / a).sqrt() for a in (alpha_bar[t] if t >= 0 else ddim.final_alpha_cumprod for t in ends)]
    )
    table = StepTable(rho, torch.ones(steps), rho[1:] - rho[:-1], torch.zeros(steps))
    x = start = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def model(x):
        return torch.tanh(x) * 0.7 + 0.1

    y = start / alpha_bar[timesteps[0]].sqrt()
    for k, t in enumerate(timesteps):
        a = 1 / (1 + table.rho[k] ** 2).sqrt()
        eps = model(a * y)
        x = ddim.step(model(x), t, x).prev_sample
        y = table.keep[k] * y + table.drift[k] * eps
    a_end = 1 / (1 + table.rho[-1] ** 2).sqrt()
    assert torch.allclose(a_end * y, x, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("p", [1.2, 1.5, 1.8, 2.0])
@pytest.mark.parametrize(("family", "eta"), [("ode", 0.0), ("sde-e", 0.3), ("sde-e", 1.0)])
@pytest.mark.parametrize("discretisation", DISCRETISATIONS)
def test_consistent_solvers_return_the_datas_scale(p, family, eta, discretisation):
    # 16,000 draws: the scale estimate has a relative error near 0.7 %. 4 % allows the bias of 400 steps and 4 sigma of
    # chance (36 cases: one in 400 runs would fail, were the seed free).
    x = draw(Solver(family, discretisation, "uniform-t", 400, eta), p, c=0.7)
    assert scale_of(x, p) == pytest.approx(0.7, rel=0.04)


@pytest.mark.parametrize("alpha", [1.5, 1.8])
def test_sde_a_ends_at_its_predicted_bias(alpha):
    x = draw(Solver("sde-a", "ei-noise", "uniform-log-rho", 400), alpha)
    assert scale_of(x, alpha) == pytest.approx((alpha - 1) ** (-1 / alpha), rel=0.04)


@pytest.mark.parametrize("discretisation", DISCRETISATIONS)
def test_the_ode_converges_at_first_order(discretisation):
    # The flow of oracle 1 is known: y(rho) = y_T ((c**p + rho**p) / (c**p + rho_T**p))**(1/p).
    p, c = 1.6, 0.8
    errors = []
    for steps in (200, 400, 800):
        table = tabulate(Solver("ode", discretisation, "uniform-t", steps), Cosine(p))
        y = torch.ones(1, dtype=torch.float64)
        for k in range(steps):
            rho = table.rho[k]
            y = table.keep[k] * y + table.drift[k] * rho ** (p - 1) / (c**p + rho**p) * y
        exact = ((c**p + table.rho[-1] ** p) / (c**p + table.rho[0] ** p)) ** (1 / p)
        errors.append(abs(float(y) / float(exact) - 1))
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert (np.abs(orders - 1) < 0.25).all()


@settings(max_examples=25, deadline=None)
@given(
    p=st.sampled_from(EXPONENTS),
    family=st.sampled_from(sorted(FAMILIES)),
    discretisation=st.sampled_from(sorted(DISCRETISATIONS)),
    grid=st.sampled_from(sorted(GRIDS)),
    steps=st.integers(1, 12),
    eta=st.floats(0, 2),
    seed=st.integers(0, 2**31),
    split=st.integers(1, 6),
    order=st.permutations(range(7)),
)
def test_samples_are_finite_and_do_not_depend_on_batches_or_order(
    p, family, discretisation, grid, steps, eta, seed, split, order
):
    table = tabulate(Solver(family, discretisation, grid, steps, eta), Cosine(p))

    def run(indices):
        return sample(oracle(p, 1.0), table, law(p), seed, indices, (1,), torch.zeros(len(indices), dtype=torch.long))

    whole = run(range(7))
    assert torch.isfinite(whole).all()
    parts = torch.cat([run(order[:split]), run(order[split:])])
    assert torch.equal(parts, whole[order])


def test_a_network_that_returns_nan_is_named_with_step_and_samples():
    def broken(y, rho, label):
        out = torch.zeros_like(y)
        if rho[0] < 1:
            out[2] = math.nan
        return out

    table = tabulate(Solver("ode", "ei-noise", "uniform-t", 10), Cosine(1.5))
    with pytest.raises(
        LevyError, match=r"NaN or infinity at step \d+ of 10 .* 1 of 4 samples, the first with index 12"
    ):
        sample(broken, table, Stable(1.5), 0, [10, 11, 12, 13], (2,), torch.zeros(4, dtype=torch.long))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "sde-x"}, "unknown solver 'sde-x': choose one of ode, sde-a, sde-e"),
        ({"discretisation": "rk4"}, "unknown discretisation 'rk4'"),
        ({"grid": "linear"}, "unknown grid 'linear'"),
        ({"steps": 0}, "steps is 0"),
        ({"eta": -0.1}, "eta is -0.1"),
        ({"eta": math.nan}, "eta is nan"),
    ],
)
def test_bad_solvers_are_refused(change, message):
    with pytest.raises(LevyError, match=message):
        Solver(
            **{"family": "sde-e", "discretisation": "ei-noise", "grid": "uniform-t", "steps": 3, "eta": 0.1, **change}
        )
