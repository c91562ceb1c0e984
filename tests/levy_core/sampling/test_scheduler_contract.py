"""What diffusers' own tests ask of a scheduler, of LevyScheduler at alpha 2 and below."""

import inspect

import numpy as np
import pytest
import torch

from levy_core.sampling.diffusers_scheduler import LevyScheduler

from diffusers import DDIMScheduler, DDPMScheduler  # isort: skip

CONFIG = {
    "num_train_timesteps": 1000,
    "beta_start": 0.0001,
    "beta_end": 0.02,
    "beta_schedule": "linear",
    "clip_sample": True,
}
METHODS = (
    {},
    {"solver": "ode", "discretisation": "2m-data"},
    {"solver": "ode", "discretisation": "3m-data"},
    {"solver": "sde-e", "discretisation": "2m-data", "eta": 0.5},
    {"solver": "sde-e", "discretisation": "2m-noise", "eta": 0.5},
)

pytestmark = pytest.mark.parametrize("alpha", [2.0, 1.7])
every_method = pytest.mark.parametrize("method", METHODS, ids=str)


def made(alpha, **config):
    return LevyScheduler(**{**CONFIG, "alpha": alpha, **config})


def sample():
    return torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def grid():
    """Values from 0 to 1 in no sample alike."""
    return torch.linspace(0, 1, 769)[:-1].reshape(3, 8, 8, 4).permute(3, 0, 1, 2)


def network(x, t):
    return x * float(t) / (float(t) + 1)


def same_after_reload(scheduler, folder, t=0, steps=50, **arguments):
    """A scheduler read back from disk makes the same step at t, whether it is among the timesteps or not."""
    scheduler.save_config(folder)
    again = LevyScheduler.from_pretrained(folder)
    x, results = sample(), []
    for one in (scheduler, again):
        if steps is not None:
            one.set_timesteps(steps)
        results.append(one.step(0.1 * x, t, x, generator=torch.manual_seed(0), **arguments).prev_sample)
    assert torch.isfinite(results[0]).all()
    assert torch.equal(*results)


@every_method
@pytest.mark.parametrize("steps", [50, None])
def test_a_scheduler_from_disk_makes_the_same_step(alpha, method, steps, tmp_path):
    same_after_reload(made(alpha, **method), tmp_path, t=1, steps=steps)


@pytest.mark.parametrize(
    ("config", "steps"),
    [
        *(({"num_train_timesteps": n}, 50) for n in (100, 500, 1000)),
        *(({"num_train_timesteps": n}, None) for n in (1, 5, 100)),
        *(({"steps_offset": n}, 50) for n in (0, 1)),
        *(({"beta_start": low, "beta_end": high}, 50) for low, high in ((1e-4, 2e-3), (0.001, 0.02), (0.01, 0.2))),
        ({"beta_start": 0.1, "beta_end": 2}, 50),  # betas above 1 have no level: only steps there are refused
        *(({"beta_schedule": name}, 50) for name in ("linear", "scaled_linear", "squaredcos_cap_v2")),
        *(({"prediction_type": name}, 50) for name in ("epsilon", "sample", "v_prediction")),
        *(({"clip_sample": clip}, 50) for clip in (True, False)),
        *(({"timestep_spacing": name}, 50) for name in ("trailing", "leading", "linspace")),
        *(({"rescale_betas_zero_snr": yes}, 50) for yes in (True, False)),
        *(
            ({"thresholding": True, "prediction_type": kind, "sample_max_value": most}, 50)
            for most in (0.5, 1.0, 2.0)
            for kind in ("epsilon", "sample", "v_prediction")
        ),
    ],
    ids=str,
)
def test_every_setting_survives_the_disk(alpha, config, steps, tmp_path):
    same_after_reload(made(alpha, **config), tmp_path, steps=steps)


@pytest.mark.parametrize("t", [0, 1, 10, 49, 500, 999])
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_any_timestep_may_be_asked_for(alpha, t, eta, tmp_path):
    same_after_reload(made(alpha), tmp_path, t=t, eta=eta)
    same_after_reload(made(alpha), tmp_path, t=t, steps=None, eta=eta)


@every_method
@pytest.mark.parametrize(("t", "steps"), [(1, 10), (10, 50), (50, 500), (0, 1), (0, 999), (0, 1000)])
def test_any_number_of_steps_may_be_asked_for(alpha, method, t, steps, tmp_path):
    same_after_reload(made(alpha, **method), tmp_path, t=t, steps=steps)


def test_compatible_schedulers_take_and_give_the_config(alpha):
    scheduler = made(alpha)
    assert {c.__name__ for c in scheduler.compatibles} == set(LevyScheduler._compatibles)
    for other in scheduler.compatibles:
        again = LevyScheduler.from_config(other.from_config(scheduler.config).config)
        assert {k: v for k, v in again.config.items() if k in scheduler.config} == dict(scheduler.config)
        assert not (again.config.keys() - scheduler.config.keys()) & inspect.signature(LevyScheduler).parameters.keys()


def test_a_config_from_disk_is_the_same(alpha, tmp_path):
    scheduler = made(alpha)
    scheduler.save_pretrained(tmp_path)
    kept = {k: v for k, v in scheduler.config.items() if k != "_use_default_values"}
    assert dict(LevyScheduler.from_pretrained(tmp_path).config) == kept


@every_method
def test_steps_keep_the_shape(alpha, method):
    scheduler, x = made(alpha, **method), sample()
    scheduler.set_timesteps(50)
    first, second = (scheduler.step(0.1 * x, t, x).prev_sample for t in (0, 1))
    assert first.shape == second.shape == x.shape


@every_method
def test_tuples_hold_what_objects_hold(alpha, method):
    results = []
    for as_dict in (True, False):
        scheduler, x = made(alpha, **method), sample()
        scheduler.set_timesteps(50)
        results.append(scheduler.step(0.1 * x, 0, x, generator=torch.manual_seed(0), return_dict=as_dict))
    for one, other in zip(results[0].to_tuple(), results[1], strict=True):
        assert torch.equal(one, other)


def test_the_parts_that_pipelines_use_are_there(alpha):
    scheduler, x = made(alpha), sample()
    assert scheduler.init_noise_sigma == 1
    assert scheduler.order == 1
    assert scheduler.scale_model_input(x, 0.0).shape == x.shape
    assert callable(scheduler.step)
    assert "kwargs" not in inspect.signature(LevyScheduler.__init__).parameters
    assert not LevyScheduler._deprecated_kwargs


def test_noise_is_added_at_a_chosen_timestep(alpha):
    scheduler, x = made(alpha), sample()
    scheduler.set_timesteps(100)
    assert scheduler.add_noise(x, torch.randn_like(x), scheduler.timesteps[5][None]).shape == x.shape


def test_trained_betas_of_any_number_and_kind(alpha, tmp_path):
    for betas in (np.array([0.1, 0.3]), [0.1, 0.3], (0.1, 0.3), torch.tensor([0.1, 0.3], dtype=torch.float64)):
        scheduler = made(alpha, trained_betas=betas)
        scheduler.save_pretrained(tmp_path)
        again = LevyScheduler.from_pretrained(tmp_path)
        assert scheduler.betas.tolist() == again.betas.tolist() == torch.tensor([0.1, 0.3]).tolist()
        assert len(again) == again.config.num_train_timesteps == 2  # where training scripts look
        scheduler.set_timesteps(2)
        assert scheduler.timesteps.unique().tolist() == [0, 1]


def test_attributes_are_found_as_in_every_scheduler(alpha):
    scheduler = made(alpha)
    scheduler.dummy_attribute = 5
    scheduler.register_to_config(test_attribute=5)
    assert scheduler.dummy_attribute == 5
    assert scheduler.save_pretrained == scheduler.save_pretrained
    with pytest.warns(FutureWarning):
        assert scheduler.test_attribute == 5
    with pytest.raises(AttributeError, match="'LevyScheduler' object has no attribute 'does_not_exist'"):
        scheduler.does_not_exist  # noqa: B018


def test_steps_offset_moves_the_timesteps(alpha):
    scheduler = made(alpha, steps_offset=1, start="stable")
    scheduler.set_timesteps(5)
    assert scheduler.timesteps.tolist() == [801, 601, 401, 201, 1]


@pytest.mark.parametrize(("t", "below"), [(420, 400), (980, 960), (487, 467), (999, 979), (0, -1)])
def test_the_noise_that_comes_back_is_that_of_ddim_at_any_alpha(alpha, t, below):
    """(sigma / a')**alpha = (rho' / rho)**alpha (rho**alpha - rho'**alpha), which at alpha 2 is DDIM's variance."""
    scheduler, x = made(alpha, clip_sample=False, start="stable"), sample().double()
    scheduler.set_timesteps(50)
    with_noise, without = (
        scheduler.step(0.1 * x, t, x, eta=1.0, variance_noise=e).prev_sample
        for e in (torch.ones_like(x), torch.zeros_like(x))
    )
    original = DDIMScheduler(**CONFIG)
    acp = [float(original.alphas_cumprod[s]) if s >= 0 else 1.0 for s in (t, below)]
    rho, rho_below = ((1 / c - 1) ** (1 / alpha) for c in acp)
    up = rho_below / rho * (rho**alpha - rho_below**alpha) ** (1 / alpha)
    drift = (rho_below**alpha - up**alpha) ** (1 / alpha)
    data = (x - (1 - acp[0]) ** (1 / alpha) * 0.1 * x) / acp[0] ** (1 / alpha)
    a = acp[1] ** (1 / alpha)
    assert torch.allclose(without, a * (data + drift * 0.1 * x), rtol=1e-6)
    assert torch.allclose(with_noise - without, torch.full_like(x, a * up), rtol=1e-5, atol=1e-9)
    if alpha == 2:
        assert (a * up) ** 2 == pytest.approx(float(original._get_variance(t, below)), abs=1e-5)


def full_loop(scheduler, x, begin=0, steps=10):
    scheduler.set_timesteps(steps)
    if begin:
        x = scheduler.add_noise(x, grid().flip(-1), scheduler.timesteps[begin : begin + 1])
    for t in scheduler.timesteps[begin:]:
        x = scheduler.step(network(x, t), t, x, generator=torch.manual_seed(0)).prev_sample
    return x


@pytest.mark.parametrize(
    ("config", "begin"),
    [
        ({}, 0),
        ({"prediction_type": "v_prediction"}, 0),
        ({"set_alpha_to_one": True, "beta_start": 0.01}, 0),
        ({"set_alpha_to_one": False, "beta_start": 0.01}, 0),
        ({"steps_offset": 1, "set_alpha_to_one": False}, 0),
        ({}, 8),
    ],
    ids=str,
)
def test_full_loops_are_ddims_at_alpha_2_and_finite_below(alpha, config, begin):
    x = full_loop(made(alpha, **config), grid(), begin)
    assert torch.isfinite(x).all()
    if alpha == 2:
        assert torch.allclose(x, full_loop(DDIMScheduler(**{**CONFIG, **config}), grid(), begin), atol=1e-5)


@every_method
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_full_loops_keep_the_type(alpha, method, dtype):
    x = full_loop(made(alpha, **method, thresholding=True, dynamic_thresholding_ratio=0.9), grid().to(dtype))
    assert x.dtype == dtype
    assert torch.isfinite(x).all()


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
def test_a_loop_without_set_timesteps_goes_down_one_by_one(alpha, prediction_type):
    """As DDPM's tests do: at alpha 2 the posterior solver is DDPMScheduler, draw by draw."""
    results = []
    config = {**CONFIG, "num_train_timesteps": 200, "prediction_type": prediction_type}
    for scheduler in (
        LevyScheduler(**config, alpha=alpha, solver="posterior" if alpha == 2 else "sde-a"),
        DDPMScheduler(**config),
    ):
        x, generator = grid(), torch.manual_seed(0)
        for t in reversed(range(len(scheduler))):
            x = scheduler.step(network(x, t), t, x, generator=generator).prev_sample
        results.append(x)
    assert torch.isfinite(results[0]).all()
    if alpha == 2:
        assert torch.allclose(*results, atol=1e-4)


@every_method
def test_a_loop_without_set_timesteps_is_the_one_over_all_timesteps(alpha, method):
    config = {"num_train_timesteps": 30, "start": "stable", **method}
    plain, chosen = made(alpha, **config), made(alpha, **config)
    assert plain.timesteps.tolist() == list(range(29, -1, -1))
    x, generator = grid(), torch.manual_seed(0)
    for t in reversed(range(30)):
        x = plain.step(network(x, t), t, x, generator=generator).prev_sample
    chosen.set_timesteps(30)
    other, generator = grid(), torch.manual_seed(0)
    for t in chosen.timesteps:
        other = chosen.step(network(other, t), t, other, generator=generator).prev_sample
    assert torch.equal(x, other)


def test_timesteps_of_ones_own(alpha):
    scheduler = made(alpha, start="stable")
    for given in ([100, 87, 50, 1, 0], np.array([100, 87, 50, 1, 0]), torch.tensor([100, 87, 50, 1, 0])):
        scheduler.set_timesteps(timesteps=given)
        assert scheduler.timesteps.tolist() == [100, 87, 50, 1, 0]
        assert scheduler.timesteps.dtype == torch.int64
        assert scheduler.num_inference_steps == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"timesteps": [100, 87, 50, 51, 0]},
            r"timesteps must fall, but timesteps\[2\] is 50 and timesteps\[3\] is 51",
        ),
        ({"timesteps": [100, 100]}, "timesteps must fall"),
        ({"timesteps": [1000]}, "timesteps run from 1000 to 1000: give some from 999 down to 0"),
        ({"timesteps": [10, -1]}, "timesteps run from 10 to -1"),
        ({"timesteps": []}, "timesteps are none"),
        ({"timesteps": [1, 0], "num_inference_steps": 2}, "one of num_inference_steps, timesteps and sigmas"),
        ({"sigmas": [1, 0], "num_inference_steps": 2}, "one of num_inference_steps, timesteps and sigmas"),
        ({"sigmas": [1, 0], "timesteps": [1]}, "one of num_inference_steps, timesteps and sigmas"),
        ({}, "one of num_inference_steps, timesteps and sigmas"),
        ({"sigmas": [1.0]}, "sigmas are 1: give at least two that fall"),
        ({"sigmas": [1.0, 2.0, 0.0]}, "sigmas are 1, 2, 0: give at least two that fall"),
        ({"sigmas": [1.0, -0.1]}, "sigmas are 1, -0.1"),
        ({"sigmas": [float("inf"), 0.0]}, "sigmas are inf, 0"),
        ({"num_inference_steps": 0}, "0 inference steps of 1000 trained ones: give 1 to 1000"),
        ({"num_inference_steps": 1001}, "1001 inference steps"),
    ],
    ids=str,
)
def test_refusals_are_value_errors_as_in_diffusers(alpha, arguments, message):
    with pytest.raises(ValueError, match=message):
        made(alpha).set_timesteps(**arguments)
