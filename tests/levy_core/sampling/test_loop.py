"""The sampling loop: a sample is a function of its index, limits hold, faults are named."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from levy_core.base import philox
from levy_core.base.conditions import of_labels
from levy_core.base.errors import LevyError, NotFiniteError
from levy_core.base.seeds import BatchStream
from levy_core.process.noise import Gaussian, Stable, StudentT
from levy_core.process.parametrisation import Predictor
from levy_core.process.schedule import SCHEDULES, Cosine, Exploding
from levy_core.sampling.limits import LIMITS
from levy_core.sampling.loop import begin, evaluations, sample, solve
from levy_core.sampling.oracles import Scale, Student
from levy_core.sampling.solver import Solver, tabulate
from levy_core.sampling.steps import DISCRETISATIONS, FAMILIES, fits

COMBINATIONS = [
    (f, d) for f in FAMILIES for d, form in DISCRETISATIONS.items() if form.order is not None and fits(f, d)
]
NOISES = [Gaussian(), Stable(1.1), Stable(1.6, isotropic=False), Stable(1.5, cap=20.0), StudentT(3.0)]
T_ORACLE = Student(StudentT(3.0), 3.0, size=40)


def oracle(noise):
    return T_ORACLE if isinstance(noise, StudentT) else Scale(noise)


def draw(noise, table, indices, seed=0, shape=(2,)):
    return sample(
        oracle(noise), table, noise, seed, indices, shape, of_labels(torch.zeros(len(indices), dtype=torch.long))
    )


@settings(max_examples=60, deadline=None)
@given(
    combination=st.sampled_from(COMBINATIONS),
    noise=st.sampled_from(NOISES),
    schedule=st.sampled_from(sorted(SCHEDULES)),
    grid=st.sampled_from(["uniform-t", "uniform-log-rho", "karras"]),
    steps=st.integers(2, 8),
    eta=st.floats(0, 1),
    limit=st.sampled_from(sorted(LIMITS)),
    seed=st.integers(0, 2**31),
    split=st.integers(1, 6),
    order=st.permutations(range(7)),
)
def test_samples_are_finite_and_do_not_depend_on_batches_or_order(
    combination, noise, schedule, grid, steps, eta, limit, seed, split, order
):
    family, discretisation = combination
    assume(not (family == "posterior" and isinstance(noise, StudentT)))
    solver = Solver(family, discretisation, grid, steps, eta, limit=limit)
    table = tabulate(solver, SCHEDULES[schedule](noise.exponent))
    whole = draw(noise, table, range(7), seed)
    assert torch.isfinite(whole).all()
    parts = torch.cat([draw(noise, table, order[:split], seed), draw(noise, table, order[split:], seed)])
    assert torch.equal(parts, whole[order])


SCRIPT = """
import sys, torch
from tests.levy_core.sampling.test_loop import *
indices = [int(i) for i in sys.argv[1:]]
print(draw(Stable(1.6, isotropic=False), TABLE, indices).double().tolist())
"""
TABLE = tabulate(Solver("sde-e", "euler-maruyama", "uniform-t", 6, 0.3), Cosine(1.6))


@pytest.mark.parametrize(
    ("family", "discretisation", "noise"),
    [
        *[("sde-e", "2m-data", noise) for noise in NOISES],
        *[("posterior", "ei-noise", noise) for noise in NOISES if not isinstance(noise, StudentT)],
    ],
    ids=str,
)
def test_noise_of_a_gpu_belongs_to_samples_too(family, discretisation, noise, monkeypatch):
    monkeypatch.setattr(philox, "OWN_NOISE", {"cpu"})  # the same code, on this device
    table = tabulate(Solver(family, discretisation, "karras", 5, eta=0.7), Cosine(noise.exponent))
    whole = draw(noise, table, range(6), shape=(3,))
    assert torch.equal(
        torch.cat([draw(noise, table, part, shape=(3,)) for part in ([0], [1, 2], [5, 3, 4])]),
        whole[[0, 1, 2, 5, 3, 4]],
    )
    assert not torch.equal(draw(noise, table, range(6), seed=1, shape=(3,)), whole)
    monkeypatch.undo()
    assert not torch.equal(draw(noise, table, range(6), shape=(3,)), whole)


@pytest.mark.parametrize("family", ["sde-e", "posterior"])
@pytest.mark.parametrize("noise", [noise for noise in NOISES if not isinstance(noise, StudentT)], ids=str)
def test_starts_and_steps_stay_on_the_device_that_draws_its_noise(family, noise):
    """torch refuses operations between the CPU and the device ``meta``, which has shapes and no values, as it does on a GPU."""
    shape, device = (3, 4), torch.device("meta")
    table = tabulate(Solver(family, "ei-noise", "karras", 4, eta=0.7), Cosine(noise.exponent))
    streams = philox.PhiloxStreams([1] * 5, range(5), device)
    y, path = begin(table, noise, streams, shape, device)
    if path is not None:
        y = path.advance(0, y, y, streams.normal(shape))
    assert (y.device, y.shape, y.dtype) == (device, (5, *shape), torch.float32)
    assert noise.sample(shape, streams).to(y).device == device


def test_several_processes_draw_what_one_draws():
    whole = draw(Stable(1.6, isotropic=False), TABLE, range(4)).double().tolist()
    parts = []
    for indices in (["2", "3"], ["0", "1"]):
        done = subprocess.run([sys.executable, "-c", SCRIPT, *indices], capture_output=True, text=True, check=True)
        parts = json.loads(done.stdout) + parts
    assert parts == whole


def test_common_random_numbers_across_solvers_and_laws():
    # the start shares its Gaussian part among laws, so that designs are compared on the same draws
    table = tabulate(Solver("ode", "ei-noise", "karras", 1, rho_max=10.0, rho_min=9.999), Exploding(2.0))
    gaussian, heavy = draw(Gaussian(), table, range(5)), draw(StudentT(3.0), table, range(5))
    ratio = heavy / gaussian
    assert torch.allclose(ratio[:, 0], ratio[:, 1], rtol=1e-3)


@pytest.mark.parametrize("name", ["clamp", "dynamic"])
def test_limits_keep_the_prediction_in_range(name):
    x0 = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 3
    limited = LIMITS[name](x0)
    assert limited.abs().max() <= 1
    inside = x0 / 20
    assert torch.equal(LIMITS[name](inside), inside)


def test_dynamic_thresholding_is_imagens_per_sample():
    x0 = torch.randn(3, 2, 8, 8, generator=torch.Generator().manual_seed(1)) * torch.tensor([0.1, 2.0, 9.0]).view(
        3, 1, 1, 1
    )
    for one, limited in zip(x0, LIMITS["dynamic"](x0), strict=True):
        s = max(1.0, float(np.quantile(one.abs().numpy(), 0.995)))
        assert torch.allclose(limited, one.clamp(-s, s) / s, atol=1e-6)


@pytest.mark.parametrize("discretisation", ["ei-noise", "2m-data", "heun"])
def test_a_limited_sampler_ends_inside(discretisation):
    solver = Solver("ode", discretisation, "karras", 12, denoise=True, limit="clamp")
    x = draw(Gaussian(), tabulate(solver, Exploding(2.0)), range(20))
    assert x.abs().max() <= 1 + 1e-5


def broken(y, rho, cond):
    out = torch.zeros_like(y)
    if rho[0] < 1:
        out[2] = math.nan
    return out


def test_a_network_that_returns_nan_is_named_with_step_and_samples():
    table = tabulate(Solver("ode", "ei-noise", "uniform-t", 10), Cosine(1.5))
    with pytest.raises(
        NotFiniteError, match=r"NaN or infinity at step \d+ of 10 .* 1 of 4 samples, the first with index 12"
    ):
        sample(broken, table, Stable(1.5), 0, [10, 11, 12, 13], (2,), of_labels(torch.zeros(4, dtype=torch.long)))


def huge(y, rho, cond):
    """Finite predictions whose step is not."""
    out = torch.zeros_like(y)
    out[1:3] = 1e38
    return out


def test_samples_that_overflow_on_the_last_step_are_named_with_what_helps():
    def drawn(dtype=torch.float32, **changes):
        table = tabulate(Solver("ode", "ei-noise", "uniform-t", 1, **changes), Cosine(1.5))
        source = BatchStream(4, "huge")
        y, _ = begin(table, Gaussian(), source, (2,))
        return solve(huge, table, Gaussian(), source, y.to(dtype), torch.zeros(4), [10, 11, 12, 13])

    message = (
        r"2 of 4 samples are NaN or infinite after the last step, the first with index 11: start at a smaller rho_max"
    )
    with pytest.raises(NotFiniteError, match=message):
        drawn()
    assert torch.isfinite(drawn(rho_max=2.0)).all()
    assert drawn(limit="clamp", denoise=False).abs().max() < 2  # the remedies of the message help
    assert torch.isfinite(drawn(torch.float64)).all()


def test_values_whose_sum_overflows_are_not_taken_for_infinities():
    table = tabulate(Solver("ode", "ei-noise", "uniform-t", 2, rho_max=2.0), Cosine(1.5))
    x = sample(
        lambda y, rho, cond: torch.full_like(y, 1e37), table, Stable(1.5), 0, range(9), (9,), of_labels(torch.zeros(9))
    )
    assert torch.isinf(x.sum())
    assert torch.isfinite(x).all()


def test_factors_that_the_type_of_the_samples_cannot_hold_are_named():
    table = tabulate(Solver("sde-e", "ei-noise", "uniform-t", 3, 1e38), Cosine(1.5))
    with pytest.raises(
        NotFiniteError, match=r"a step multiplies by \S+e\+40, and torch.float32 holds 3.4e\+38 at most: lower"
    ):
        draw(Stable(1.5), table, range(2))


class Counting(torch.nn.Module):
    calls = 0

    def forward(self, x, log_rho, cond):
        self.calls += 1
        return torch.zeros_like(x)


@pytest.mark.parametrize(("family", "discretisation"), COMBINATIONS)
@pytest.mark.parametrize("noise", [Gaussian(), Stable(1.6), StudentT(3.0)])
@pytest.mark.parametrize("changes", [{}, {"denoise": True}, {"eta_schedule": "falling"}])
def test_the_evaluations_of_a_sample_are_the_calls_of_its_network(family, discretisation, noise, changes):
    table = tabulate(Solver(family, discretisation, "karras", 5, 0.5, **changes), Exploding(noise.exponent))
    net, path = Counting(), isinstance(noise, StudentT)
    if family == "posterior" and path:
        return  # has no such form
    sample(Predictor(net, "noise", noise), table, noise, 0, range(2), (2,), of_labels(torch.zeros(2, dtype=torch.long)))
    assert evaluations(table, noise) == net.calls
    brings_noise_back = family in ("sde-a", "sde-e", "split-ddim", "split-dlim")
    assert (net.calls > table.nfe) == (path and brings_noise_back)


def test_shapes_that_do_not_match_are_named():
    with pytest.raises(LevyError, match=r"returned \[4, 1\] for an input of \[4, 2\]"):
        sample(lambda y, rho, cond: y[:, :1], TABLE, Stable(1.6), 0, range(4), (2,), of_labels(torch.zeros(4)))
    with pytest.raises(LevyError, match="4 sample indices came with 3 rows of label"):
        sample(oracle(Stable(1.6)), TABLE, Stable(1.6), 0, range(4), (2,), of_labels(torch.zeros(3)))


def test_student_t_noise_needs_its_own_sde():
    posterior = tabulate(Solver("posterior", "ei-noise", "karras", 4), Exploding(2.0))
    with pytest.raises(LevyError, match="has no posterior form: choose ode or sde-e"):
        draw(StudentT(3.0), posterior, range(2))
    sde = tabulate(Solver("sde-e", "ei-noise", "karras", 4, 0.5), Exploding(2.0))
    with pytest.raises(LevyError, match="give the predictor a method `mixing`"):
        sample(lambda y, rho, cond: 0 * y, sde, StudentT(3.0), 0, range(2), (2,), of_labels(torch.zeros(2)))
