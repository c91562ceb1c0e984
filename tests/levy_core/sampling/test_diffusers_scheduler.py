"""The diffusers scheduler: diffusers' own at alpha 2, the project's sampling loop and exact laws below it."""

import itertools
import json
import math
from dataclasses import replace

import pytest
import torch

from levy_core.base.errors import LevyError
from levy_core.process.noise import Stable
from levy_core.process.schedule import Exploding
from levy_core.sampling.diffusers_scheduler import LevyScheduler
from levy_core.sampling.loop import AncestralPath, solve
from levy_core.sampling.oracles import Scale, scale_after
from levy_core.sampling.solver import Solver, tabulate
from levy_core.sampling.torch_streams import TorchStreams

from diffusers import DDIMPipeline, DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel  # isort: skip

BETAS = ("linear", "scaled_linear", "squaredcos_cap_v2")
SPACINGS = ("leading", "linspace", "trailing")
PREDICTIONS = ("epsilon", "sample", "v_prediction")
CLIP = {"clip_sample": True, "clip_sample_range": 0.8}


def seeded(seed=1):
    return torch.Generator().manual_seed(seed)


def network(x, t):
    """Something that depends on x and t."""
    return torch.tanh(1.3 * x + float(t) / 1000)


def loop(scheduler, x, net=network, **arguments):
    """What a pipeline does."""
    for t in scheduler.timesteps:
        x = scheduler.step(net(x, t), t, x, **arguments).prev_sample
    return x


def compared(original, levy, steps, dtype, **arguments):
    """Largest difference between two schedulers over a whole loop, as a share of the largest value.

    Both must have drawn as many numbers, so that the next loop with the same generator is the same, too.
    """
    if dtype == torch.float64:  # diffusers' levels are float32: let it compute as exactly as it can
        original.alphas_cumprod = original.alphas_cumprod.double()
        original.final_alpha_cumprod = original.one = torch.ones((), dtype=dtype)
        if not original.config.get("set_alpha_to_one", True):
            original.final_alpha_cumprod = original.alphas_cumprod[0]
    x = torch.randn(2, 3, 4, 4, generator=seeded(0), dtype=dtype)
    made, states = [], []
    for scheduler in (original, levy):
        scheduler.set_timesteps(steps)
        generator = seeded()
        made.append(loop(scheduler, x, generator=generator, **arguments))
        states.append(generator.get_state())
        assert made[-1].dtype == dtype
    assert torch.equal(original.timesteps, levy.timesteps)
    assert torch.equal(*states)
    return float((made[0] - made[1]).abs().max() / made[0].abs().max())


# In float32 diffusers' own rounding is left (1 - alpha_t / alpha_t' where they are close): at most 1e-4 here. In float64
# nothing is, but for the smallest variance, 1e-20, that DDPM adds on a last step that is not timestep 0.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-4}


@pytest.mark.parametrize("beta_schedule", BETAS)
@pytest.mark.parametrize("timestep_spacing", SPACINGS)
@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_alpha_2_is_ddim(beta_schedule, timestep_spacing, prediction_type):
    for clip, eta, dtype in itertools.product(({"clip_sample": False}, CLIP), (0.0, 0.5, 1.0), TOLERANCE):
        config = {"beta_schedule": beta_schedule, "timestep_spacing": timestep_spacing, **clip}
        original = DDIMScheduler(prediction_type=prediction_type, **config)
        levy = LevyScheduler.from_config(original.config)
        assert compared(original, levy, 7, dtype, eta=eta) < TOLERANCE[dtype]


@pytest.mark.parametrize(
    "config",
    [
        {"set_alpha_to_one": False, "steps_offset": 1, "beta_schedule": "scaled_linear"},
        {"set_alpha_to_one": False, "clip_sample": False},
        {"thresholding": True, "sample_max_value": 1.5, "dynamic_thresholding_ratio": 0.9},
        {"trained_betas": [0.1 + 0.001 * i for i in range(20)], "num_train_timesteps": 20},
    ],
    ids=str,
)
@pytest.mark.parametrize("derived", [False, True])
def test_alpha_2_is_ddim_under_its_other_settings(config, derived):
    original = DDIMScheduler(**config)
    levy = LevyScheduler.from_config(original.config)
    assert compared(original, levy, 10, torch.float64, eta=0.7, use_clipped_model_output=derived) < 1e-9


@pytest.mark.parametrize("beta_schedule", BETAS)
@pytest.mark.parametrize("timestep_spacing", SPACINGS)
@pytest.mark.parametrize("prediction_type", PREDICTIONS)
def test_posterior_at_alpha_2_is_ddpm(beta_schedule, timestep_spacing, prediction_type):
    for clip, dtype in itertools.product(({"clip_sample": False}, CLIP), TOLERANCE):
        config = {"beta_schedule": beta_schedule, "timestep_spacing": timestep_spacing, **clip}
        original = DDPMScheduler(prediction_type=prediction_type, **config)
        levy = LevyScheduler.from_config(original.config, solver="posterior")
        assert compared(original, levy, 7, dtype) < TOLERANCE[dtype]


def test_posterior_at_alpha_2_is_ddpm_over_every_timestep():
    for dtype, tolerance in TOLERANCE.items():
        original = DDPMScheduler()
        levy = LevyScheduler(solver="posterior", set_alpha_to_one=False)  # DDPM has no such setting
        assert compared(original, levy, 1000, dtype) < tolerance


def test_ode_ignores_eta_and_is_split_ddim_without_noise():
    one, other = LevyScheduler(solver="ode"), LevyScheduler(solver="split-ddim")
    for scheduler in (one, other):
        scheduler.set_timesteps(10)
    x = torch.randn(2, 5, generator=seeded())
    assert torch.equal(loop(one, x, eta=0.5), loop(other, x))


def test_superfluous_trailing_timestep_of_diffusers_is_dropped():
    original, levy = DDIMScheduler(timestep_spacing="trailing"), LevyScheduler(timestep_spacing="trailing")
    for scheduler in (original, levy):
        scheduler.set_timesteps(61)
    assert len(original.timesteps) == 62
    assert original.timesteps[-1] == -1
    assert torch.equal(levy.timesteps, original.timesteps[:-1])


@pytest.fixture(scope="module")
def unet():
    torch.manual_seed(0)
    blocks = {
        "block_out_channels": (8, 8),
        "down_block_types": ["DownBlock2D"] * 2,
        "up_block_types": ["UpBlock2D"] * 2,
    }
    return UNet2DModel(sample_size=8, in_channels=1, out_channels=1, layers_per_block=1, norm_num_groups=4, **blocks)


def images(pipeline, **arguments):
    pipeline.set_progress_bar_config(disable=True)
    seeds = [seeded(i) for i in range(3)]
    return pipeline(batch_size=3, generator=seeds, num_inference_steps=8, output_type="pt", **arguments).images


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_ddim_pipeline_makes_the_same_images_at_alpha_2_and_others_below(unet, eta):
    pipeline = DDIMPipeline(unet, DDIMScheduler())
    original = images(pipeline, eta=eta)
    pipeline.scheduler = LevyScheduler.from_config(pipeline.scheduler.config)
    assert (images(pipeline, eta=eta) - original).abs().max() < 1e-5
    pipeline.scheduler = LevyScheduler.from_config(pipeline.scheduler.config, alpha=1.5)
    heavy = images(pipeline, eta=eta)
    assert torch.isfinite(heavy).all()
    assert torch.equal(images(pipeline, eta=eta), heavy)
    assert (heavy - original).abs().max() > 0.1


@pytest.mark.parametrize("isotropic", [True, False])
def test_ddpm_pipeline_makes_the_same_images_at_alpha_2_and_others_below(unet, isotropic):
    pipeline = DDPMPipeline(unet, DDPMScheduler())
    original = images(pipeline)
    pipeline.scheduler = LevyScheduler.from_config(pipeline.scheduler.config, solver="posterior")
    assert (images(pipeline) - original).abs().max() < 1e-5
    pipeline.scheduler = LevyScheduler.from_config(pipeline.scheduler.config, alpha=1.5, isotropic=isotropic)
    heavy = images(pipeline)
    assert torch.isfinite(heavy).all()
    assert torch.equal(images(pipeline), heavy)
    assert (heavy - original).abs().max() > 0.1


def test_pipeline_on_disk_keeps_the_scheduler(unet, tmp_path):
    pipeline = DDPMPipeline(unet, LevyScheduler(alpha=1.7, solver="sde-e", eta=0.3))
    expected = images(pipeline)
    pipeline.save_pretrained(tmp_path)
    again = DDPMPipeline.from_pretrained(tmp_path)
    assert isinstance(again.scheduler, LevyScheduler)
    assert torch.equal(images(again), expected)


def test_config_round_trip(tmp_path):
    config = {"alpha": 1.7, "isotropic": False, "solver": "sde-e", "eta": 0.2, "start": "stable"}
    scheduler = LevyScheduler(trained_betas=[0.1, 0.2, 0.3], num_train_timesteps=3, **config)
    scheduler.save_config(tmp_path / "one")
    scheduler.save_pretrained(tmp_path / "two")
    saved = json.loads((tmp_path / "one" / "scheduler_config.json").read_text())
    assert saved.items() >= config.items()
    for again in (
        LevyScheduler.from_config(LevyScheduler.load_config(tmp_path / "one")),
        LevyScheduler.from_pretrained(tmp_path / "two"),
        LevyScheduler.from_config(scheduler.config),
    ):
        assert {k: again.config[k] for k in saved} == saved
        assert again.noise == Stable(1.7, isotropic=False)
        assert torch.equal(again.betas, scheduler.betas)


def test_defaults_are_those_of_ddim():
    levy, original = LevyScheduler().config, DDIMScheduler().config
    shared = (levy.keys() & original.keys()) - {"_use_default_values", "_class_name"}
    assert len(shared) == 15
    assert all(levy[key] == original[key] for key in shared)


@pytest.mark.parametrize("alpha", [1.2, 1.7, 2.0])
def test_forward_process_is_the_formula_and_at_alpha_2_diffusers(alpha):
    config = {"beta_schedule": "squaredcos_cap_v2"}
    scheduler, original = LevyScheduler(alpha=alpha, **config), DDIMScheduler(**config)
    x = torch.randn(4, 3, 2, 2, generator=seeded())
    e, t = scheduler.noise_like(x, seeded(2)), torch.tensor([0, 13, 500, 999])
    acp = torch.cumprod(1 - scheduler.betas, 0)[t].double().view(-1, 1, 1, 1)
    a, gamma = acp ** (1 / alpha), (1 - acp) ** (1 / alpha)
    assert torch.allclose(scheduler.add_noise(x, e, t).double(), a * x + gamma * e, rtol=1e-6, atol=1e-6)
    assert torch.allclose(scheduler.get_velocity(x, e, t).double(), a * e - gamma * x, rtol=1e-6, atol=1e-6)
    assert scheduler.add_noise(x, e, t[2:3]).shape == x.shape
    if alpha == 2:
        assert torch.allclose(scheduler.add_noise(x, e, t), original.add_noise(x, e, t), atol=1e-6)
        assert torch.allclose(scheduler.get_velocity(x, e, t), original.get_velocity(x, e, t), atol=1e-6)
        assert torch.equal(e, torch.randn(x.shape, generator=seeded(2)))


@pytest.mark.parametrize("alpha", [1.2, 1.5, 1.8])
@pytest.mark.parametrize("isotropic", [True, False])
def test_noise_like_has_the_characteristic_function(alpha, isotropic):
    scheduler = LevyScheduler(alpha=alpha, isotropic=isotropic)
    e = scheduler.noise_like(torch.empty(40_000, 2, dtype=torch.float64), seeded())
    assert e.dtype == torch.float64
    for u in ((0.5, 0.0), (0.6, 0.8), (-1.0, 1.5)):
        size = torch.tensor(u, dtype=torch.float64)
        power = float(size.norm() ** alpha) if isotropic else float((size.abs() ** alpha).sum())
        # the mean of 40,000 cosines is normal with a deviation of at most 0.5 ** 0.5 / 200 = 0.0035
        assert torch.cos(e @ size).mean() == pytest.approx(math.exp(-power), abs=0.014)


def levels(scheduler):
    """t -> (a, rho), by the formula."""
    acp, alpha = torch.cumprod(1 - scheduler.betas, 0).double(), scheduler.config.alpha
    return {t: (float(c ** (1 / alpha)), float((1 / c - 1) ** (1 / alpha))) for t, c in enumerate(acp)}


def in_x(oracle, scheduler):
    """An oracle of y as the network of a pipeline."""
    table = levels(scheduler)

    def net(x, t):
        a, rho = table[int(t)]
        return oracle(x / a, torch.full((len(x),), rho, dtype=torch.float64), None)

    return net


def scale_of(x, alpha):
    """The scale of symmetric stable draws: |log cf(u)| = (c u)**alpha, at u = 1 / c, where it is well determined."""
    u = 1.0
    for _ in range(20):
        value = torch.cos(u * x.double()).mean().clamp(1e-3, 0.999)
        u *= float((1 / -torch.log(value)) ** (1 / alpha))
    return 1 / u


@pytest.mark.parametrize(("solver", "eta"), [("ode", 0.0), ("split-ddim", 0.5), ("split-ddim", 1.0), ("sde-e", 0.5)])
@pytest.mark.parametrize("start", ["gaussian", "stable"])
def test_samples_of_an_exact_oracle_have_its_scale(solver, eta, start):
    alpha, c, n = 1.5, 0.7, 10_000
    scheduler = LevyScheduler(alpha=alpha, solver=solver, eta=eta, start=start, clip_sample=False)
    scheduler.set_timesteps(100)
    oracle = Scale(scheduler.noise, c)
    x = torch.randn(n, 1, generator=seeded(0))
    x = scheduler.noise_like(x, seeded(0)) if start == "stable" else x
    made = scale_of(loop(scheduler, x, in_x(oracle, scheduler), generator=seeded()), alpha)
    # The scale of 10,000 draws is known to 1.3 % (one deviation), so 4 % is three. The bias of 100 steps, at most 4.1 % here,
    # is known exactly, because the sampler is linear; with the statistics it makes the 8 %.
    visited, level = dict.fromkeys(scheduler.timesteps.tolist()), levels(scheduler)
    rho = (*(level[t][1] for t in visited), 0.0)
    exact = scale_after(tabulate(Solver(solver, "ei-noise", rho, len(rho) - 1, eta), Exploding(alpha)), oracle)
    assert made == pytest.approx(exact, rel=0.04)
    assert made == pytest.approx(c, rel=0.08)


@pytest.mark.parametrize("solver", ["ode", "split-ddim", "split-dlim", "sde-e", "sde-a", "posterior"])
@pytest.mark.parametrize("isotropic", [True, False])
@pytest.mark.parametrize("limit", ["none", "clamp"])
def test_the_scheduler_is_the_projects_sampling_loop(solver, isotropic, limit):
    """Same randomness, same samples: DDIM's interface adds nothing but the coordinates."""
    alpha, shape, n = 1.6, (3, 2), 8
    eta = 0.5 if solver in ("split-ddim", "split-dlim", "sde-e") else 0.0
    scheduler = LevyScheduler(alpha=alpha, solver=solver, eta=eta, isotropic=isotropic, clip_sample=limit == "clamp")
    scheduler.set_timesteps(n)
    oracle, derive = Scale(scheduler.noise, 0.5), solver in ("ode", "split-ddim")  # the others always do
    z = torch.randn(4, *shape, generator=seeded(0), dtype=torch.float64)
    level = levels(scheduler)
    a, rho = zip(*(level[t] for t in scheduler.timesteps[1:].tolist()), strict=True)
    steps = n - 1  # sde-a's last step differs: the scheduler adds no noise that nothing removes
    table = tabulate(Solver(solver, "ei-noise", (*rho, 0.0), n, eta, limit=limit), Exploding(alpha))
    table = replace(table, **{k: getattr(table, k)[:steps] for k in ("keep", "weights", "noise")})
    source = TorchStreams(seeded(), z, torch.float32)
    draw = None
    if table.jumps is None:
        y = rho[0] * z * scheduler.noise.mixing(shape, TorchStreams.of_content(z)).sqrt()
    else:
        draw = AncestralPath(table.jumps, scheduler.noise, TorchStreams.of_content(z), shape, "cpu")
        y = draw.start(z)
    expected = solve(oracle, table, scheduler.noise, source, y, torch.zeros(4), range(4), draw) * a[steps]

    x, generator, net = z, seeded(), in_x(oracle, scheduler)
    for t in scheduler.timesteps[:n]:
        x = scheduler.step(net(x, t), t, x, use_clipped_model_output=derive, generator=generator).prev_sample
    assert torch.allclose(x, expected, rtol=1e-6)


@pytest.mark.parametrize("solver", ["ode", "split-ddim", "split-dlim", "sde-e", "sde-a", "posterior"])
def test_the_last_step_returns_the_denoised_sample(solver):
    scheduler = LevyScheduler(alpha=1.5, solver=solver, eta=0.0 if solver in ("ode", "sde-a", "posterior") else 0.9)
    scheduler.set_timesteps(4)
    x = torch.randn(2, 3, generator=seeded(0))
    for t in scheduler.timesteps:
        made = scheduler.step(network(x, t), t, x)
        x = made.prev_sample
    assert torch.allclose(x, made.pred_original_sample)


@pytest.mark.parametrize("prediction_type", PREDICTIONS)
@pytest.mark.parametrize("alpha", [1.2, 1.7, 2.0])
def test_a_perfect_network_of_every_kind_gives_the_data(prediction_type, alpha):
    scheduler = LevyScheduler(alpha=alpha, prediction_type=prediction_type, clip_sample=False, start="stable")
    scheduler.set_timesteps(10)
    scheduler.set_begin_index(5)
    data = torch.randn(4, 3, generator=seeded(0), dtype=torch.float64)
    e, t = scheduler.noise_like(data, seeded()), scheduler.timesteps[5:6]
    perfect = {"epsilon": e, "sample": data, "v_prediction": scheduler.get_velocity(data, e, t)}[prediction_type]
    made = scheduler.step(perfect, t[0], scheduler.add_noise(data, e, t))
    assert torch.allclose(made.pred_original_sample, data)
    assert torch.allclose(made.prev_sample, scheduler.add_noise(data, e, scheduler.timesteps[6:7]))


def test_the_first_of_two_equal_timesteps_makes_the_start_stable():
    scheduler = LevyScheduler(alpha=1.5)
    scheduler.set_timesteps(10)
    assert scheduler.timesteps.tolist() == [900, 900, 800, 700, 600, 500, 400, 300, 200, 100, 0]
    z = torch.randn(4, 3, generator=seeded(0))
    begun = scheduler.step(network(z, 900), 900, z, generator=seeded())
    mixing = Stable(1.5).mixing((3,), TorchStreams.of_content(z))
    acp = float(scheduler.alphas_cumprod[900])
    assert torch.allclose(begun.prev_sample, (z * (1 - acp) ** (1 / 1.5) * mixing.sqrt()).float())
    assert not begun.pred_original_sample.any()
    assert scheduler.step_index == 1
    assert LevyScheduler(alpha=1.5, start="stable").timesteps[0] == 999


def test_nothing_is_repeated_at_alpha_2_or_with_a_stable_start():
    for scheduler in (LevyScheduler(), LevyScheduler(alpha=1.5, start="stable")):
        scheduler.set_timesteps(10)
        assert scheduler.timesteps.tolist() == list(range(900, -1, -100))


@pytest.mark.parametrize("by_index", [True, False])
def test_a_loop_may_begin_in_the_middle(by_index):
    scheduler = LevyScheduler(alpha=1.5, clip_sample=False)
    scheduler.set_timesteps(10)
    if by_index:
        scheduler.set_begin_index(4)
    (a, rho), (a_after, rho_after) = (levels(scheduler)[t] for t in (600, 500))
    x, e = torch.ones(2, 3), torch.full((2, 3), 0.5)
    made = scheduler.step(e, torch.tensor(600), x).prev_sample
    assert torch.allclose(made, a_after * (x / a + (rho_after - rho) * e))
    assert scheduler.step_index == 5


def test_a_loop_may_begin_at_the_second_of_two_equal_timesteps():
    scheduler = LevyScheduler(alpha=1.5, clip_sample=False)
    scheduler.set_timesteps(10)
    scheduler.set_begin_index(1)
    scheduler.step(torch.ones(2, 3), 900, torch.ones(2, 3))
    assert scheduler.step_index == 2


@pytest.mark.parametrize("solver", ["split-ddim", "posterior"])
def test_a_second_loop_begins_anew(solver):
    scheduler = LevyScheduler(alpha=1.5, solver=solver)
    scheduler.set_timesteps(5)
    x = torch.randn(2, 3, generator=seeded(0))
    first, second, third = (loop(scheduler, x, generator=seeded(i), eta=0.5) for i in (1, 2, 1))
    assert torch.equal(first, third)
    assert not torch.equal(first, second)


def test_set_timesteps_begins_anew_after_a_loop_that_stopped():
    scheduler = LevyScheduler(alpha=1.5)
    scheduler.set_timesteps(5)
    x = torch.randn(2, 3, generator=seeded(0))
    whole = loop(scheduler, x, generator=seeded())
    scheduler.set_timesteps(5)
    scheduler.step(x, 800, x)
    scheduler.set_timesteps(5)
    assert scheduler.step_index is None
    assert torch.equal(loop(scheduler, x, generator=seeded()), whole)


@pytest.mark.parametrize("solver", ["sde-e", "posterior"])
@pytest.mark.parametrize("isotropic", [True, False])
def test_a_sample_depends_on_its_own_generator_alone(solver, isotropic):
    scheduler = LevyScheduler(alpha=1.5, solver=solver, eta=0.5, isotropic=isotropic)
    x = torch.randn(3, 2, 2, 2, generator=seeded(0))
    scheduler.set_timesteps(5)
    together = loop(scheduler, x, generator=[seeded(i) for i in range(3)])
    alone = loop(scheduler, x[1:2], generator=[seeded(1)])
    assert torch.equal(together[1:2], alone)


def test_a_pipelines_eta_of_0_leaves_the_configured_one():
    made = []
    for config, passed in ((0.5, 0.0), (0.5, None), (0.0, 0.5), (0.0, 0.0)):
        scheduler = LevyScheduler(alpha=1.5, eta=config)
        scheduler.set_timesteps(5)
        made.append(loop(scheduler, torch.ones(2, 3), generator=seeded(), eta=passed))
    assert torch.equal(made[0], made[1])
    assert torch.equal(made[0], made[2])
    assert not torch.equal(made[0], made[3])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("alpha", [1.5, 2.0])
def test_half_precision_stays_half_precision(dtype, alpha):
    scheduler = LevyScheduler(alpha=alpha, beta_schedule="squaredcos_cap_v2")
    scheduler.set_timesteps(10)
    x = torch.randn(2, 3, generator=seeded(0)).to(dtype)
    made = loop(scheduler, x, generator=seeded(), eta=1.0)
    assert made.dtype == scheduler.noise_like(x).dtype == dtype
    assert torch.isfinite(made).all()
    assert scheduler.add_noise(x, x, torch.tensor([3, 4])).dtype == dtype


def test_tuples_lengths_and_inputs_as_in_diffusers():
    scheduler = LevyScheduler(num_train_timesteps=50)
    scheduler.set_timesteps(5)
    x = torch.ones(2, 3)
    made, x0 = scheduler.step(x, 40, x, return_dict=False)
    again = scheduler.step(x, 40, x)
    assert torch.equal(made, again.prev_sample)
    assert torch.equal(x0, again.pred_original_sample)
    assert len(scheduler) == 50
    assert scheduler.scale_model_input(x, 40) is x
    assert scheduler.init_noise_sigma == 1
    assert scheduler.order == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"alpha": 0.9}, r"alpha is 0.9, but must lie in \(1, 2\]"),
        ({"alpha": 2.5}, "alpha is 2.5"),
        ({"solver": "euler"}, "unknown solver 'euler': choose one of ode, posterior"),
        ({"eta": 1.5}, "eta is 1.5, but for split-ddim must be between 0 and 1"),
        ({"prediction_type": "flow"}, "unknown prediction type 'flow': choose one of epsilon, sample, v_prediction"),
        ({"beta_schedule": "sigmoid"}, "unknown beta schedule 'sigmoid'"),
        ({"timestep_spacing": "log"}, "unknown timestep spacing 'log'"),
        ({"start": "zero"}, "unknown start 'zero': choose one of gaussian, stable"),
        ({"alpha": 1.5, "solver": "posterior", "start": "stable"}, "posterior draws its start"),
        ({"trained_betas": [0.0, 0.2]}, r"betas begin with 0: give values in \(0, 1\]"),
        ({"trained_betas": [1.1]}, "betas begin with 1.1"),
        (
            {"discretisation": "4m"},
            "unknown discretisation '4m': choose one of 2m-data, 2m-noise, 3m-data, ei-data, ei-noise, fitted",
        ),
        ({"discretisation": "heun"}, "unknown discretisation 'heun'"),
        (
            {"discretisation": "2m-data"},
            "2m-data does not go with solver split-ddim: choose solver sde-a or sde-e or ode",
        ),
    ],
    ids=str,
)
def test_refused_settings(config, message):
    with pytest.raises(LevyError, match=message):
        LevyScheduler(**config)


@pytest.mark.parametrize("config", [{"trained_betas": []}, {"num_train_timesteps": 0}])
def test_no_betas_are_refused(config):
    with pytest.raises(LevyError, match="there are no betas: give one or more"):
        LevyScheduler(**config)


def test_refused_calls():
    x = torch.ones(2, 3)
    scheduler = LevyScheduler(alpha=1.5, steps_offset=1, num_train_timesteps=100)
    with pytest.raises(
        ValueError, match=r"timesteps\[1\] is 3\.5, between two that were trained: give whole numbers, or sigmas"
    ):
        scheduler.set_timesteps(timesteps=[99, 3.5])
    for steps in (0, 101, 2.5):
        with pytest.raises(LevyError, match=f"{steps} inference steps of 100 trained ones: give 1 to 100"):
            scheduler.set_timesteps(steps)
    with pytest.raises(LevyError, match="steps_offset leads to timestep 100, past 99"):
        scheduler.set_timesteps(100)
    scheduler.set_timesteps(10)
    for t in (-1, 100):
        with pytest.raises(LevyError, match=f"timestep {t} is none of the trained ones: give 0 to 99"):
            scheduler.step(x, t, x)
        for forward in (scheduler.add_noise, scheduler.get_velocity):
            with pytest.raises(LevyError, match=f"timestep {t} is none of the trained ones: give 0 to 99"):
                forward(x, x, torch.tensor([3, t]))
    with pytest.raises(ValueError, match="a generator and variance_noise"):
        scheduler.step(x, 91, x, generator=seeded(), variance_noise=x)
    with pytest.raises(LevyError, match=r"\[2, 6\] and \[2, 3\]"):
        scheduler.step(torch.ones(2, 6), 91, x)
    with pytest.raises(LevyError, match="timestep 91 has NaN"):
        scheduler.step(x * torch.nan, 91, x)
    with pytest.raises(LevyError, match="3 generators came with a batch of 2"):
        scheduler.step(x, 91, x, generator=[seeded()] * 3)
    scheduler.set_begin_index(1)
    with pytest.raises(LevyError, match="eta is 2"):
        scheduler.step(x, 91, x, eta=2.0)


def test_posterior_refuses_a_path_that_it_did_not_begin():
    scheduler = LevyScheduler(alpha=1.5, solver="posterior")
    scheduler.set_timesteps(10)
    x = torch.ones(2, 3)
    with pytest.raises(LevyError, match=r"begin at timesteps\[0\] with the whole batch"):
        scheduler.step(x, 500, x)
    scheduler.set_timesteps(10)
    x = scheduler.step(x, 900, x).prev_sample
    with pytest.raises(LevyError, match=r"begin at timesteps\[0\] with the whole batch"):
        scheduler.step(x[:1], 900, x[:1])
