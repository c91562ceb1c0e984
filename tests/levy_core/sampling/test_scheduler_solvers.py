"""LevyScheduler's solvers, timesteps and levels: diffusers' at alpha 2, tables and formulas below."""

import copy
import itertools
import math

import pytest
import torch

from levy_core.base.errors import LevyError
from levy_core.process.schedule import Exploding
from levy_core.sampling.diffusers_scheduler import LevyScheduler
from levy_core.sampling.fitting import fit
from levy_core.sampling.loop import solve
from levy_core.sampling.oracles import Scale, nine_modes
from levy_core.sampling.solver import Solver, format_rows, tabulate
from levy_core.sampling.steps import FAMILIES, fits
from levy_core.sampling.stepwise import ON_LEVELS
from levy_core.sampling.torch_streams import TorchStreams

from diffusers import (  # isort: skip
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
)

UNFITTED = [name for name in ON_LEVELS if name != "fitted"]
MULTISTEP = [
    (family, name)
    for family, name in itertools.product(FAMILIES, UNFITTED)
    if fits(family, name) and name != "ei-noise"
]


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def network(x, t):
    return torch.tanh(1.3 * x + float(t) / 1000)


def start(dtype=torch.float32):
    return torch.randn(2, 3, 4, 4, generator=seeded(0), dtype=dtype)


def loop(scheduler, x, net=network, begin=0, **arguments):
    for t in scheduler.timesteps[begin:]:
        x = scheduler.step(net(x, t), t, x, **arguments).prev_sample
    return x


def gap(one, other):
    return float((one - other).abs().max() / other.abs().max())


@pytest.mark.parametrize("steps", [1, 2, 8, 20])
@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
@pytest.mark.parametrize("limit", [{}, {"thresholding": True, "sample_max_value": 1.5}], ids=str)
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"solver": "ode", "discretisation": "2m-data"}, {"solver_type": "heun"}),
        (
            {"solver": "sde-e", "eta": 1.0, "discretisation": "2m-data"},
            {"solver_type": "heun", "algorithm_type": "sde-dpmsolver++"},
        ),
        # at first order diffusers' two types of solver are one
        ({"solver": "ode", "discretisation": "ei-data"}, {"solver_type": "midpoint", "solver_order": 1}),
        ({"solver": "ode", "discretisation": "ei-noise"}, {"solver_type": "heun", "solver_order": 1}),
        (
            {"solver": "sde-e", "eta": 1.0, "discretisation": "ei-data"},
            {"solver_type": "midpoint", "solver_order": 1, "algorithm_type": "sde-dpmsolver++"},
        ),
    ],
    ids=["2M", "SDE 2M", "first order", "DDIM", "SDE first order"],
)
def test_alpha_2_is_dpm_solver(ours, theirs, limit, prediction_type, steps):
    original = DPMSolverMultistepScheduler(prediction_type=prediction_type, **theirs, **limit)
    levy = LevyScheduler.from_config(original.config, clip_sample=False, **ours)
    original.set_timesteps(steps)
    levy.set_timesteps(timesteps=original.timesteps)
    expected = loop(original, start(), generator=seeded())
    # diffusers computes in float32: 4e-7 measured
    assert gap(loop(levy, start(), generator=seeded(), use_clipped_model_output=True), expected) < 1e-5


def test_third_order_and_midpoint_are_not_dpm_solvers_but_near():
    """Ours interpolates exactly: docs/solvers.md. Both come nearer to one limit with the steps."""
    for ours, theirs in (("3m-data", {"solver_order": 3}), ("2m-data", {"solver_type": "midpoint"})):
        gaps = []
        for steps in (20, 80):
            original = DPMSolverMultistepScheduler(**theirs)
            levy = LevyScheduler(solver="ode", discretisation=ours, clip_sample=False)
            original.set_timesteps(steps)
            levy.set_timesteps(timesteps=original.timesteps)
            gaps.append(gap(loop(levy, start()), loop(original, start())))
        assert 1e-5 < gaps[1] < gaps[0] / 2 < 0.01


@pytest.mark.parametrize(("family", "discretisation"), MULTISTEP)
@pytest.mark.parametrize("alpha", [1.6, 2.0])
@pytest.mark.parametrize("clip", [True, False])
def test_multistep_loops_are_the_projects_loop_over_the_same_table(family, discretisation, alpha, clip):
    eta = 0.5 if family == "sde-e" else 0.0
    method = {"solver": family, "discretisation": discretisation, "eta": eta}
    scheduler = LevyScheduler(alpha=alpha, start="stable", clip_sample=clip, **method)
    scheduler.set_timesteps(9)
    rho = (*scheduler.levels.rho[scheduler.timesteps].tolist(), 0.0)
    limit = "clamp" if clip else "none"
    table = tabulate(Solver(family, discretisation, rho, 9, eta, limit=limit), Exploding(alpha))
    oracle = Scale(scheduler.noise, 0.5)
    x = scheduler.noise_like(start(torch.float64)[:, :, 0, 0], seeded(0))
    places = {int(t): i for i, t in enumerate(scheduler.timesteps)}

    def net(x, t):
        level = rho[places[int(t)]]
        return oracle(x / scheduler.levels.signal(level), torch.full((len(x),), level, dtype=torch.float64), None)

    source = TorchStreams(seeded(), x, x.dtype if alpha == 2 else torch.float32)
    y = x / scheduler.levels.signal(rho[0])
    expected = solve(oracle, table, scheduler.noise, source, y, torch.zeros(2), range(2))
    assert torch.allclose(loop(scheduler, x, net, generator=seeded()), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("alpha", [1.5, 2.0])
def test_higher_orders_are_nearer_to_the_flow(alpha):
    """Of nine modes, from one start, on levels uniform in log rho: the median error of 20 steps against 100."""

    def made(steps, **method):
        scheduler = LevyScheduler(alpha=alpha, start="stable", clip_sample=False, **method)
        oracle = nine_modes(scheduler.noise)
        x = scheduler.noise_like(torch.empty(200, 2, dtype=torch.float64), seeded())
        scheduler.set_timesteps(sigmas=[*torch.logspace(math.log10(30), -1.5, steps).tolist(), 0.0])
        for t, sigma in zip(scheduler.timesteps, scheduler.sigmas.double(), strict=False):
            eps = oracle(x / scheduler.levels.signal(float(sigma)), sigma.repeat(len(x)), None)
            x = scheduler.step(eps, t, x).prev_sample
        return x

    flow = made(100, solver="ode", discretisation="3m-data")
    first, noise, second, third = (
        float((made(20, solver="ode", discretisation=name) - flow).abs().median())
        for name in ("ei-noise", "2m-noise", "2m-data", "3m-data")
    )
    assert noise < first / 1.5
    assert second < first / 3
    assert third < first / 5


@pytest.mark.parametrize("discretisation", ["2m-data", "3m-data", "2m-noise"])
def test_a_loop_that_begins_in_the_middle_begins_at_first_order(discretisation):
    method = {"alpha": 1.6, "solver": "ode", "clip_sample": False}
    multistep = LevyScheduler(discretisation=discretisation, **method)
    first = LevyScheduler(discretisation="ei-noise" if "noise" in discretisation else "ei-data", **method)
    x = start()
    made = []
    for scheduler in (multistep, first):
        scheduler.set_timesteps(10)
        scheduler.set_begin_index(4)
        t, after = scheduler.timesteps[4:6]
        once = scheduler.step(network(x, t), t, x).prev_sample
        made.append((once, scheduler.step(network(once, after), after, once).prev_sample))
    assert torch.equal(made[0][0], made[1][0])
    assert gap(made[0][1], made[1][1]) > 1e-3


@pytest.mark.parametrize("discretisation", ["2m-data", "3m-data"])
def test_nothing_is_remembered_of_another_loop_or_another_batch(discretisation):
    def fresh():
        scheduler = LevyScheduler(solver="ode", discretisation=discretisation)
        scheduler.set_timesteps(5)
        return scheduler

    whole, again = loop(fresh(), start()), fresh()
    loop(again, start() + 1)
    assert torch.equal(loop(again, start()), whole)  # a second loop, without set_timesteps
    stopped = fresh()
    for t in stopped.timesteps[:3]:
        stopped.step(network(start(), t), t, start())
    stopped.step_index = None
    assert torch.equal(loop(stopped, start()), whole)  # a loop that was left
    t = stopped.timesteps[1]
    fresh_step = fresh().step(network(start()[:1], t), t, start()[:1]).prev_sample
    other = fresh()
    other.step(start(), other.timesteps[0], start())
    assert torch.equal(other.step(network(start()[:1], t), t, start()[:1]).prev_sample, fresh_step)  # another batch


@pytest.mark.parametrize("alpha", [1.7, 2.0])
@pytest.mark.parametrize(
    "method", [{}, {"solver": "ode", "discretisation": "2m-data"}, {"solver": "posterior"}], ids=str
)
def test_levels_of_timesteps_given_as_sigmas_give_the_same_samples(alpha, method):
    by_time, by_level = (LevyScheduler(alpha=alpha, **method) for _ in range(2))
    by_time.set_timesteps(timesteps=[999, 700, 400, 100, 3])
    by_level.set_timesteps(sigmas=[*by_time.levels.rho[[999, 700, 400, 100, 3]].tolist(), 0.0])
    assert torch.allclose(by_level.timesteps, by_time.timesteps.float())
    assert torch.equal(by_level.sigmas, by_time.sigmas)
    assert gap(loop(by_level, start(), generator=seeded()), loop(by_time, start(), generator=seeded())) < 1e-5


def test_sigmas_between_timesteps_are_asked_for_where_euler_asks():
    sigmas = [14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.0]
    config = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    original, levy = EulerDiscreteScheduler(**config), LevyScheduler(**config)
    original.set_timesteps(sigmas=sigmas)
    levy.set_timesteps(sigmas=sigmas)
    assert torch.allclose(levy.timesteps, original.timesteps.float(), atol=0.01)
    assert torch.equal(levy.sigmas, torch.tensor(sigmas))
    assert levy.num_inference_steps == 10
    x = torch.ones(1, 1)
    # where add_noise finds the level of such a time, too: Euler's x is ours times sqrt(1 + sigma^2)
    for sigma, t in zip(sigmas[1:-1], levy.timesteps[1:], strict=True):
        a, gamma = (float(levy.add_noise(*pair, t[None])) for pair in ((x, 0 * x), (0 * x, x)))
        assert gamma / a == pytest.approx(sigma, rel=1e-5)


def test_sampling_may_end_above_clean_data():
    scheduler = LevyScheduler(alpha=1.7, solver="ode", start="stable", clip_sample=False)
    scheduler.set_timesteps(sigmas=[5.0, 1.0, 0.5])
    data, e = start(torch.float64), start(torch.float64).flip(0)
    a, last = scheduler.levels.signal(5.0), scheduler.levels.signal(0.5)
    made = loop(scheduler, a * (data + 5 * e), lambda x, t: e)
    assert torch.allclose(made, last * (data + 0.5 * e))


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
def test_sigmas_are_rho_of_the_timesteps_and_at_alpha_2_diffusers(spacing):
    original = EulerDiscreteScheduler(timestep_spacing=spacing, interpolation_type="linear")
    levy = LevyScheduler.from_config(original.config)
    for scheduler in (original, levy):
        scheduler.set_timesteps(8)
    if spacing != "linspace":  # where Euler asks between timesteps
        assert torch.equal(levy.timesteps, original.timesteps.long())
        assert torch.allclose(levy.sigmas, original.sigmas, rtol=1e-4)
    below = LevyScheduler(alpha=1.5, timestep_spacing=spacing)
    assert len(below.sigmas) == 1001
    below.set_timesteps(8)
    assert len(below.sigmas) == len(below.timesteps) + 1 == 10
    acp = below.alphas_cumprod[below.timesteps].double()
    assert torch.allclose(below.sigmas[:-1].double(), (1 / acp - 1) ** (1 / 1.5), rtol=1e-5)
    assert below.sigmas[-1] == 0


ZERO = {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "clip_sample": False}


@pytest.mark.parametrize("prediction_type", ["sample", "v_prediction"])
@pytest.mark.parametrize(
    ("make", "method", "eta"),
    [(DDIMScheduler, {}, 0.0), (DDIMScheduler, {}, 0.7), (DDPMScheduler, {"solver": "posterior"}, None)],
    ids=["DDIM", "DDIM with noise", "DDPM"],
)
@pytest.mark.parametrize("beta_schedule", ["linear", "scaled_linear"])
def test_zero_terminal_snr_is_diffusers(make, method, eta, prediction_type, beta_schedule):
    config = {**ZERO, "prediction_type": prediction_type, "beta_schedule": beta_schedule}
    original, levy = make(**config), LevyScheduler(**config, **method)
    assert levy.alphas_cumprod[-1] == 0
    original.alphas_cumprod = original.alphas_cumprod.double()
    results = []
    for scheduler in (original, levy):
        scheduler.set_timesteps(9)
        assert scheduler.timesteps[0] == 999
        arguments = {} if eta is None else {"eta": eta}
        results.append(loop(scheduler, start(torch.float64), generator=seeded(), **arguments))
    # the level stands for an infinite one: 1e-8; DDPM adds a deviation of 1e-10 on its last step
    assert gap(*results) < 1e-6
    x, e, t = start(), start().flip(0), torch.tensor([999, 10])
    assert torch.allclose(levy.add_noise(x, e, t), original.add_noise(x, e, t).float(), atol=1e-6)
    assert torch.allclose(levy.get_velocity(x, e, t), original.get_velocity(x, e, t).float(), atol=1e-6)


@pytest.mark.parametrize("prediction_type", ["sample", "v_prediction"])
@pytest.mark.parametrize("alpha", [1.3, 1.7, 2.0])
@pytest.mark.parametrize(
    "method",
    [
        *({"solver": "ode", "discretisation": name} for name in UNFITTED),
        {"solver": "sde-e", "discretisation": "2m-data", "eta": 0.5},
        {"eta": 0.7},
    ],
    ids=str,
)
def test_a_perfect_network_returns_the_data_from_noise_alone(method, alpha, prediction_type):
    scheduler = LevyScheduler(**ZERO, **method, alpha=alpha, prediction_type=prediction_type, start="stable")
    scheduler.set_timesteps(9)
    data = start(torch.float64)
    x = scheduler.noise_like(data, seeded())

    def net(x, t):
        a, gamma = (float(v) for v in scheduler.levels.coefficients(t))
        return data if prediction_type == "sample" else a * (x - a * data) / gamma - gamma * data

    assert torch.allclose(loop(scheduler, x, net, generator=seeded()), data, atol=1e-5)


def test_what_cannot_begin_without_signal_is_refused():
    x = start()
    scheduler = LevyScheduler(**ZERO)
    scheduler.set_timesteps(9)
    with pytest.raises(
        LevyError, match="epsilon says nothing of the data: train with prediction_type v_prediction or sample"
    ):
        scheduler.step(x, 999, x)
    scheduler.step(x, 888, x)
    scheduler = LevyScheduler(**ZERO, prediction_type="sample", solver="sde-e", eta=1e-6)
    scheduler.set_timesteps(9)
    with pytest.raises(LevyError, match="sde-e ei-noise adds noise without bound on a step from zero terminal SNR"):
        scheduler.step(x, 999, x)


def test_a_beta_that_is_none_is_refused_where_its_level_is_used():
    scheduler = LevyScheduler(trained_betas=[0.1, 0.2, 1.5, 0.1], clip_sample=False)
    x = start()
    scheduler.add_noise(x, x, torch.tensor([1]))
    for use in (lambda: scheduler.add_noise(x, x, torch.tensor([1, 3])), lambda: scheduler.step(x, 2, x)):
        with pytest.raises(LevyError, match=r"beta 2 is 1.5, so timestep . has no noise level: give betas in \(0, 1\]"):
            use()


@pytest.mark.parametrize(
    ("alpha", "solver"), [(1.5, "split-ddim"), (1.5, "sde-e"), (2.0, "split-ddim"), (2.0, "posterior")]
)
def test_noise_may_be_brought_to_a_step(alpha, solver):
    """The same that the generator would give, the same step."""
    scheduler = LevyScheduler(alpha=alpha, solver=solver, eta=0.0 if solver == "posterior" else 0.5)
    x = start()
    drawn = scheduler.step(network(x, 500), 500, x, generator=seeded()).prev_sample
    brought = scheduler.step(network(x, 500), 500, x, variance_noise=scheduler.noise_like(x, seeded())).prev_sample
    assert torch.equal(brought, drawn)


def test_a_pipeline_that_changes_the_offset_is_followed():
    scheduler = LevyScheduler()
    scheduler.register_to_config(steps_offset=1)
    scheduler.set_timesteps(5)
    assert scheduler.timesteps.tolist() == [801, 601, 401, 201, 1]


@pytest.mark.parametrize("alpha", [1.3, 1.7])
@pytest.mark.parametrize("isotropic", [True, False])
def test_noise_of_pipelines_is_made_stable_while_sampling(alpha, isotropic):
    scheduler = LevyScheduler(alpha=alpha, isotropic=isotropic)
    scheduler.set_timesteps(10)
    z, t = torch.randn(10_000, 2, generator=seeded()), torch.tensor([999])
    signal, scale = scheduler._at(t, z)
    e = scheduler.add_noise(torch.zeros_like(z), z, t) / scale
    for u in ((0.5, 0.0), (0.6, 0.8), (-1.0, 1.5)):
        size = torch.tensor(u)
        power = float(size.norm() ** alpha) if isotropic else float((size.abs() ** alpha).sum())
        # the mean of 10,000 cosines is normal with a deviation of at most 0.007: four of them, one failure in 16,000
        assert torch.cos(e @ size).mean() == pytest.approx(math.exp(-power), abs=0.028)
    # e of a row is its own, and the same at every timestep: inpainting adds the same noise again and again
    alone = scheduler.add_noise(torch.ones(1, 2), z[7:8], torch.tensor([300]))
    signal, scale = scheduler._at(torch.tensor([300]), z)
    assert torch.allclose((alone - signal) / scale, e[7:8], rtol=1e-3, atol=1e-4)


def test_noise_is_taken_as_it_is_in_training_at_alpha_2_and_from_a_stable_start():
    x, e, t = start(), start().flip(0), torch.tensor([300])
    for config in ({"alpha": 1.5}, {"alpha": 1.5, "start": "stable"}, {}):
        scheduler = LevyScheduler(**config)
        before = scheduler.add_noise(x, e, t)
        scheduler.set_timesteps(3)
        brought = scheduler.add_noise(x, e, t)
        assert torch.equal(before, brought) == (config != {"alpha": 1.5})
        loop(scheduler, x)
        assert torch.equal(scheduler.add_noise(x, e, t), before)  # training goes on after a validation


def test_a_loop_from_the_first_timestep_keeps_the_noise_that_was_added():
    scheduler = LevyScheduler(alpha=1.5, solver="ode", clip_sample=False)
    scheduler.set_timesteps(10)
    data, z = start(torch.float64), start(torch.float64).flip(0)
    x = scheduler.add_noise(data, z, scheduler.timesteps[:1])
    signal, scale = scheduler._at(scheduler.timesteps[:1], x)
    e = (x - signal * data) / scale
    assert torch.allclose(loop(scheduler, x, lambda x, t: e), data)
    scheduler.set_timesteps(10)
    scheduler.add_noise(data, z, scheduler.timesteps[:1])
    begun = scheduler.step(z, 900, z).prev_sample  # not what was added: a start is made of it
    assert gap(begun, z) > 0.1


@pytest.mark.parametrize("isotropic", [True, False])
def test_the_start_is_the_noise_that_add_noise_adds(isotropic):
    """So inpainting at strength 1, which begins with z and adds z outside the mask, has one noise inside and outside."""
    scheduler = LevyScheduler(alpha=1.5, isotropic=isotropic)
    scheduler.set_timesteps(10)
    z = start()
    begun = scheduler.step(z, 900, z).prev_sample
    assert torch.allclose(begun, scheduler.add_noise(torch.zeros_like(z), z, torch.tensor([900])), rtol=1e-5)


def test_a_copy_goes_on_where_the_scheduler_is():
    scheduler = LevyScheduler(alpha=1.5, solver="sde-e", eta=0.3, discretisation="2m-data")
    scheduler.set_timesteps(5)
    x = start()
    for t in scheduler.timesteps[:3]:
        x = scheduler.step(network(x, t), t, x, generator=seeded()).prev_sample
    again, t = copy.deepcopy(scheduler), scheduler.timesteps[3]
    one, other = (s.step(network(x, t), t, x, generator=seeded()).prev_sample for s in (scheduler, again))
    assert torch.equal(one, other)


@pytest.mark.parametrize("alpha", [1.7, 2.0])
def test_a_fitted_table_is_followed_as_the_projects_loop_does(alpha, tmp_path):
    noise = LevyScheduler(alpha=alpha).noise
    oracle, schedule = Scale(noise, 0.5), Exploding(alpha)
    path = Solver("ode", "3m-data", "uniform-log-rho", 5, rho_max=30, rho_min=0.05, denoise=True)
    fitted = fit(oracle, path, schedule, noise, 0, (2,), {"label": torch.zeros(50)}, (0.05,), 0)[0].solver
    table = tabulate(fitted, schedule)
    scheduler = LevyScheduler(
        alpha=alpha, solver="ode", discretisation="fitted", rows=fitted.rows, start="stable", clip_sample=False
    )
    scheduler.save_pretrained(tmp_path)
    scheduler = LevyScheduler.from_pretrained(tmp_path)
    scheduler.set_timesteps(5)
    assert torch.allclose(scheduler.sigmas, table.rho.float())
    rho = table.rho.tolist()
    places = {float(t): i for i, t in enumerate(scheduler.timesteps)}

    def net(x, t):
        level = rho[places[float(t)]]
        return oracle(x / scheduler.levels.signal(level), torch.full((len(x),), level, dtype=torch.float64), None)

    x = scheduler.noise_like(torch.empty(20, 2, dtype=torch.float64), seeded())
    source = TorchStreams(seeded(), x, x.dtype)
    expected = solve(oracle, table, noise, source, x / scheduler.levels.signal(rho[0]), {}, range(20))
    assert torch.allclose(loop(scheduler, x, net), expected, rtol=1e-9)

    multistep = LevyScheduler(alpha=alpha, solver="ode", discretisation="2m-data", start="stable", clip_sample=False)
    multistep.set_timesteps(sigmas=rho)
    scheduler.set_timesteps(5)
    results = []
    for one in (scheduler, multistep):  # begun later, the rows do not apply
        one.set_begin_index(2)
        results.append(loop(one, x, net, begin=2))
    assert torch.equal(*results)
    for arguments in ({"num_inference_steps": 6}, {"timesteps": [3, 2]}, {"sigmas": [1.0, 0.0]}):
        with pytest.raises(ValueError, match="the fitted table has levels of its own: give num_inference_steps=5"):
            scheduler.set_timesteps(**arguments)


@pytest.mark.parametrize("levels", [(300.0, 0.5), (20.0, 0.001)])
def test_a_fitted_table_may_have_any_levels(levels):
    rows = format_rows([[levels[0], 0.1, 0.9], [levels[1], 0.2, 1.5, -0.7]])
    scheduler = LevyScheduler(alpha=1.7, solver="ode", discretisation="fitted", rows=rows)
    scheduler.set_timesteps(2)
    assert scheduler.sigmas.tolist() == pytest.approx([levels[0], *levels, 0.0])
