"""Designs, losses and the training loop."""

import json
from dataclasses import replace
from functools import reduce
from operator import getitem

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from scipy import stats

from levy_core.base.conditions import LABEL, of_labels
from levy_core.base.errors import LevyError
from levy_core.base.samples import RECORDED, Samples
from levy_core.base.seeds import BatchStream
from levy_core.nets.mlp import MLP, MLPConfig
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import PRESETS, Design
from levy_core.process.loss import LOSSES, WEIGHTS, ResidualLoss
from levy_core.process.noise import Gaussian, Stable, StudentT
from levy_core.process.parametrisation import PARAMETRISATIONS, Units, advise, eps_of, out_scale, skip
from levy_core.sampling.loop import sample
from levy_core.sampling.oracles import energy_distance
from levy_core.sampling.solver import Solver, tabulate
from levy_core.training.checkpoint import FORMAT, load_model, save_model
from levy_core.training.config import TrainConfig
from levy_core.training.trainer import Trainer
from tests.conftest import PRECISIONS
from tests.support.toy import TOY, imbalanced_ring

NET = UNetConfig(shape=(1, 8, 8), classes=3, channels=(8, 16))
CONFIG = TrainConfig(
    steps=12, batch=8, lr=1e-3, warmup=2, ema=0.9, clip=1.0, label_dropout=0.3, flip=True, seed=5, precision="float32"
)


@pytest.mark.parametrize("preset", PRESETS)
def test_designs_survive_a_round_trip(preset):
    design = Design.from_mapping({"preset": preset})
    assert Design.from_mapping(design.to_mapping()) == design


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "lim", "alpha": 2.5}, r"alpha is 2.5"),
        ({"preset": "lim", "alpha": 1.0}, r"alpha is 1.0"),
        (
            {"preset": "gan"},
            r"unknown design preset 'gan': choose one of ddpm, dlim, dlpm, dlpm-published, edm, flow, lim, lim-published, tedm, tflow",
        ),
        ({"preset": "lim", "alpha": "big"}, r"alpha is 'big': input should be a valid number"),
        ({"preset": "tedm", "nu": 2.0}, r"nu is 2.0, but must be above 2"),
        ({"preset": "tedm", "nu": 1.5, "loss": "huber"}, r"nu is 1.5"),
        ({"preset": "edm", "sigma_data": 0.0}, r"sigma_data is 0.0"),
        ({"preset": "edm", "level_std": -1.0}, r"level_std is -1.0"),
        ({"preset": "edm", "sigma_min": 100.0}, r"sigma_min is 100.0 and sigma_max 80.0"),
        ({"preset": "ddpm", "param": "velocity"}, r"velocity belongs to the schedule flow"),
        ({"preset": "ddpm", "weight": "gamma-power"}, r"gamma-power belongs to Student-t noise"),
        ({"preset": "ddpm", "weight": "snr"}, r"unknown weight 'snr'"),
        ({"preset": "dlpm", "groups": 2}, r"groups is 2 and draws 1: both must be at least 1, groups odd"),
        ({"preset": "lim", "noise": "student-t", "nu": 4.0, "alpha": 1.5}, r"unknown key 'alpha' for StudentT"),
        ({"preset": "lim", "noise": "student-t"}, r"the noise law 'student-t' needs nu"),
        ({"preset": "ddpm", "alpha": 1.5}, r"unknown key 'alpha'"),
        ({"preset": "lim", "tail_weight": "none"}, r"'squared' has an infinite expectation under Stable\(alpha=1.8"),
        ({"preset": "lim", "tail_weight": "welsch"}, r"unknown tail weight 'welsch': choose one of cauchy, none"),
        (
            {"preset": "lim", "level_weight": "snr"},
            r"unknown level weight 'snr': choose one of none, residual, residual-power",
        ),
        (
            {"preset": "lim", "loss": "huber", "level_weight": "residual"},
            r"'residual' is a power of the size of squared residuals, but the loss is 'huber': set loss to squared",
        ),
        ({"preset": "lim", "param": "score"}, r"unknown parametrisation 'score'"),
        ({"preset": "lim", "schedule": "sine"}, r"unknown schedule 'sine'"),
        ({"noise": "cauchy"}, r"unknown noise law 'cauchy'"),
        ({}, r"unknown noise law None"),
    ],
)
def test_bad_designs_are_refused(settings, message):
    with pytest.raises(LevyError, match=message):
        Design.from_mapping(settings)


@pytest.mark.parametrize(
    ("noise", "settings", "finite"),
    [
        (Gaussian(), {"loss": "squared"}, True),
        (Stable(2.0), {"loss": "squared"}, True),
        (Stable(1.9), {"loss": "squared"}, False),
        (Stable(1.9, cap=20.0), {"loss": "squared"}, True),
        (StudentT(2.5), {"loss": "squared"}, True),
        (Stable(1.1), {"loss": "huber"}, True),
        # the median of 3 is finite in mean if two values may be large together: 2 alpha > 2
        (Stable(1.1), {"loss": "squared", "groups": 3}, True),
        (Stable(1.1), {"loss": "squared", "draws": 9}, False),
        (Stable(1.1), {"loss": "squared", "allow_infinite": True}, True),
        # the weight falls as the loss grows
        (Stable(1.1), {"loss": "squared", "tail_weight": "cauchy"}, True),
        (Stable(1.9), {"loss": "squared", "level_weight": "residual"}, False),
    ],
)
def test_a_loss_with_an_infinite_expectation_is_refused(noise, settings, finite):
    if finite:
        ResidualLoss(**settings).check(noise)
    else:
        with pytest.raises(LevyError, match=r"'squared' has an infinite expectation .* median over groups"):
            ResidualLoss(**settings).check(noise)


@pytest.mark.parametrize(("preset", "loss"), [("lim", "huber"), ("dlpm", "l2-norm")])
def test_another_loss_takes_the_place_of_the_presets_with_its_weights(preset, loss):
    published = Design.from_mapping({"preset": f"{preset}-published"})
    assert Design.from_mapping({"preset": preset, "loss": loss}) == published
    assert Design.from_mapping({"preset": preset, "loss": "squared"}) == Design.from_mapping({"preset": preset})


def test_every_preset_but_the_published_losses_of_stable_noise_is_minimised_by_the_mean():
    leaning = [name for name in PRESETS if Design.from_mapping({"preset": name}).loss.minimiser != "mean"]
    assert leaning == ["lim-published", "dlpm-published"]


def residuals(repeats=1):
    g = torch.Generator().manual_seed(0)
    return torch.randn(4 * repeats, 2, 3, 3, generator=g), torch.rand(4, generator=g).repeat(repeats) + 0.1


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("weight", WEIGHTS)
def test_losses_are_zero_at_the_truth_and_per_sample(loss, weight):
    (e, rho), noise = residuals(), StudentT(4.0)
    units, loss_of = Units.of(noise, 0.5), ResidualLoss(loss, weight)
    at_truth, beside = loss_of(e, e, e, rho, units, noise), loss_of(e + 1, e, e, rho, units, noise)
    assert at_truth.shape == (4,)
    assert at_truth.abs().max() < 1e-5
    assert (beside > 0).all()


def test_the_median_of_means_is_taken_per_sample():
    noise, units = Gaussian(), Units(2.0)
    e, rho = residuals(repeats=6)
    e_hat = e + torch.arange(24).view(6, 4, 1, 1).reshape(24, 1, 1, 1)  # draw k of sample b is off by 4 k + b
    found = ResidualLoss("squared", groups=3, draws=2)(e_hat, e, e, rho, units, noise)
    off = np.arange(24).reshape(6, 4)
    means = (off**2).reshape(3, 2, 4).mean(1)
    assert found.tolist() == pytest.approx(np.median(means, axis=0).tolist(), rel=1e-4)


def test_edms_loss_has_its_published_weight():
    # lambda(sigma) |D - x0|**2 with lambda = (sigma**2 + sd**2) / (sigma sd)**2 (Karras et al., table 1)
    sigma, sd = torch.tensor([0.01, 0.5, 7.0, 60.0]), 0.5
    lam = (sigma**2 + sd**2) / (sigma * sd) ** 2
    weight = WEIGHTS["edm"](sigma, Units(2.0, 1.0, sd), Gaussian(), 1)
    assert torch.allclose(weight**2, lam * sigma**2, rtol=1e-5)  # D - x0 = sigma (e - eps_hat)


@pytest.mark.parametrize(("k", "d"), [(5.0, 1), (4.0, 2)])
def test_the_gamma_power_divergence_is_the_weighted_squared_error(k, d):
    # D_gamma(q, p) = (C(q, p) - H(q)) / gamma, C = -int q (p / |p|_{1+gamma})**gamma, H = -|q|_{1+gamma}, between
    # Student-t laws of k degrees and scale s, by quadrature: proportional to s**(-2 - d gamma / (1 + gamma)) shift**2.
    gamma = -2 / (k + d)
    axis = np.sinh(np.linspace(-14, 14, 4001 if d == 1 else 1201))
    step = np.gradient(axis)
    grid = np.stack(np.meshgrid(*[axis] * d, indexing="ij"), -1).reshape(-1, d)
    volume = np.prod(np.stack(np.meshgrid(*[step] * d, indexing="ij"), -1).reshape(-1, d), axis=1)

    def density(shift, s):
        centre = np.zeros(d)
        centre[0] = shift
        return stats.multivariate_t(centre, s**2 * np.eye(d), k).pdf(grid)

    def divergence(shift, s):
        q, p = density(0, s), density(shift, s)
        norm = [float((f ** (1 + gamma) * volume).sum()) ** (1 / (1 + gamma)) for f in (q, p)]
        cross = -float((q * (p / norm[1]) ** gamma * volume).sum())
        return (cross + norm[0]) / gamma

    base = divergence(0.5, 1.0)
    assert divergence(1.5, 1.0) / base == pytest.approx(9, rel=1e-2)  # quadratic also for large shifts
    expected = 2.0 ** (-2 - d * gamma / (1 + gamma))
    assert divergence(0.5, 2.0) / base == pytest.approx(expected, rel=1e-2)
    if k == 4.0 + d:  # the posterior's degrees are nu + d
        weight = WEIGHTS["gamma-power"](torch.tensor([2.0]), Units(2.0), StudentT(k - d), d)
        assert float(weight) ** 2 / 4 == pytest.approx(expected, rel=1e-5)


# What a perfect network guesses at y = x0 + rho e.
GUESSES = {
    "noise": lambda x0, e, rho, units: e,
    "lim-score": lambda x0, e, rho, units: -e / units.exponent,
    "denoiser": lambda x0, e, rho, units: (x0 - skip(rho, units) * (x0 + rho * e)) / out_scale(rho, units),
    "velocity": lambda x0, e, rho, units: e - x0,
}


@pytest.mark.parametrize("name", PARAMETRISATIONS)
@pytest.mark.parametrize("noise", [Gaussian(), Stable(1.3), StudentT(3.0)])
def test_what_a_perfect_network_guesses_is_read_as_the_noise(name, noise):
    units = Units.of(noise, 0.7)
    g = torch.Generator().manual_seed(0)
    x0, e = (torch.randn(6, 3, 2, generator=g, dtype=torch.float64) for _ in range(2))
    rho = torch.tensor([1e-3, 0.1, 1.0, 5.0, 80.0, 1e4], dtype=torch.float64)
    level = rho[:, None, None]
    assert torch.allclose(
        eps_of(name, GUESSES[name](x0, e, level, units), x0 + level * e, rho, units), e, rtol=1e-9, atol=1e-9
    )


def test_preconditioning_is_edms_and_at_student_t_tedms():
    sigma, sd, nu = torch.tensor([0.002, 0.3, 80.0], dtype=torch.float64), 0.5, 4.0
    out, y = torch.randn(3, 1, dtype=torch.float64), torch.randn(3, 1, dtype=torch.float64)
    for noise, s in ((Gaussian(), sigma), (StudentT(nu), sigma * (nu / (nu - 2)) ** 0.5)):
        units = Units.of(noise, sd)
        c_skip, c_out, c_in = sd**2 / (s**2 + sd**2), s * sd / (s**2 + sd**2).sqrt(), 1 / (s**2 + sd**2).sqrt()
        assert torch.allclose(skip(sigma, units), c_skip)
        assert torch.allclose(out_scale(sigma, units), c_out)
        assert torch.allclose(PARAMETRISATIONS["denoiser"].scale(sigma, units), c_in)
        denoised = y - sigma[:, None] * eps_of("denoiser", out, y, sigma, units)
        assert torch.allclose(denoised, c_skip[:, None] * y + c_out[:, None] * out)


def test_preconditioning_of_stable_noise_gives_targets_of_scale_1():
    # x0 ~ sd SaS(alpha): c_skip is the exact conditional expectation, and (x0 - c_skip y) / c_out has scale 1
    alpha, sd = 1.6, 0.5
    for rho in (0.05, 1.0, 30.0):
        units, level = Units(alpha, 1.0, sd), torch.tensor(rho, dtype=torch.float64)
        c, out = float(skip(level, units)), float(out_scale(level, units))
        assert ((1 - c) * sd) ** alpha + (c * rho) ** alpha == pytest.approx(out**alpha)


def test_the_score_parametrisation_is_minus_alpha_times_the_output():
    class Constant(torch.nn.Module):
        def forward(self, x, log_rho, cond):
            return torch.ones_like(x)

    y, rho, label = torch.zeros(2, 1, 2, 2), torch.ones(2), torch.zeros(2, dtype=torch.long)
    lim = Design.from_mapping({"preset": "lim", "alpha": 1.6}).predictor(Constant())
    assert torch.equal(lim(y, rho, of_labels(label)), torch.full_like(y, -1.6))


def trainer(preset, precision="float32"):
    g = torch.Generator().manual_seed(0)
    images, labels = torch.rand(30, 1, 8, 8, generator=g) * 2 - 1, torch.randint(0, 3, (30,), generator=g)
    torch.manual_seed(0)
    design, config = Design.from_mapping({"preset": preset}), replace(CONFIG, precision=precision)
    return Trainer(design, UNet(NET), images, of_labels(labels), {LABEL: torch.tensor(3)}, config, torch.device("cpu"))


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_learns_toy_data_through_the_same_loop(preset):
    design, (points, mode) = Design.from_mapping({"preset": preset}), imbalanced_ring(4000, seed=0)
    torch.manual_seed(0)
    net = MLP(MLPConfig((2,), width=96))
    run = Trainer(design, net, points, of_labels(mode), {LABEL: torch.tensor(0)}, TOY, torch.device("cpu"))
    for _ in run.run():
        pass
    net.load_state_dict(run.averaged_weights())
    solver = Solver("ode", "2m-noise", "uniform-log-rho", 20, rho_max=30, rho_min=0.02)
    n = 1500
    x = sample(
        design.predictor(net.eval()),
        tabulate(solver, design.schedule),
        design.noise,
        0,
        range(n),
        (2,),
        of_labels(torch.zeros(n).long()),
    )
    data, _ = imbalanced_ring(n, seed=1)
    start = energy_distance(design.noise.sample((2,), BatchStream(n, 0)) * 0.5, data)
    # untrained 0.4 and more; trained 0.01 to 0.03, two data sets 0 +- 0.002
    assert energy_distance(x, data) < min(0.06, start / 4)


def test_toy_data_are_what_they_say():
    points, mode = imbalanced_ring(20_000, seed=3)
    assert points.abs().max() < 1.1
    counts = np.bincount(mode.numpy(), minlength=8)
    assert counts[0] / counts[-1] == pytest.approx(50, rel=0.3)


def test_data_and_labels_that_do_not_match_are_refused():
    def make(data, labels, flip=False):
        config = TrainConfig(**{**TOY.__dict__, "flip": flip})
        return Trainer(
            Design.from_mapping({"preset": "lim"}),
            MLP(MLPConfig((2,))),
            data,
            of_labels(labels),
            {LABEL: torch.tensor(0)},
            config,
            torch.device("cpu"),
        )

    with pytest.raises(LevyError, match="3 training samples came with 2 rows of label"):
        make(torch.zeros(3, 2), torch.zeros(2).long())
    with pytest.raises(LevyError, match=r"flip is for images .* shape \[3, 2\]"):
        make(torch.zeros(3, 2), torch.zeros(3).long(), flip=True)
    narrow = MLP(MLPConfig((2,)))
    narrow.leave = torch.nn.Linear(128, 1)
    with pytest.raises(LevyError, match=r"returned \[4, 1\] for an input of \[4, 2\]"):
        Design.from_mapping({"preset": "ddpm"}).predictor(narrow)(
            torch.zeros(4, 2), torch.ones(4), of_labels(torch.zeros(4).long())
        )


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_resumed_run_ends_in_the_same_bytes(preset, precision):
    whole = trainer(preset, precision)
    losses = [p.loss for p in whole.run()]
    first = trainer(preset, precision)
    steps = first.run()
    part = [next(steps).loss for _ in range(5)]
    second = trainer(preset, precision)
    second.restore(load(save(first.state())))
    part += [p.loss for p in second.run()]
    assert part == losses
    for name, value in whole.averaged_weights().items():
        assert torch.equal(value, second.averaged_weights()[name]), name


def test_training_learns():
    run = trainer("lim")
    object.__setattr__(run.config, "steps", 150)
    losses = [p.loss for p in run.run()]
    assert np.mean(losses[-30:]) < 0.8 * np.mean(losses[:10])


def test_a_loss_that_is_not_finite_stops_with_its_step():
    run = trainer("ddpm")
    with torch.no_grad():
        next(run.predictor.parameters()).fill_(float("nan"))
    with pytest.raises(LevyError, match="training step 1: loss nan"):
        next(run.run())


def test_channels_that_the_groups_do_not_divide_are_refused():
    with pytest.raises(LevyError, match="multiple of 8"):
        UNet(UNetConfig(shape=(1, 8, 8), classes=2, channels=(8, 12)))


@pytest.fixture
def saved(tmp_path):
    design, net = Design.from_mapping({"preset": "lim", "alpha": 1.7}), UNet(NET)
    save_model(
        tmp_path,
        dict(net.state_dict()),
        design,
        NET,
        Samples("images", ("a", "b", "c"), **RECORDED["images"]),
        {"levy": "0.0.1"},
    )
    return tmp_path, net


def test_a_model_survives_disk(saved):
    folder, net = saved
    model = load_model(folder)
    assert (model.design.noise, model.net, model.samples) == (
        Stable(1.7),
        NET,
        Samples("images", ("a", "b", "c"), **RECORDED["images"]),
    )
    y, rho, label = torch.randn(2, 1, 8, 8), torch.rand(2), torch.tensor([0, 3])
    assert torch.equal(
        model.predictor(y, rho, of_labels(label)), model.design.predictor(net).eval()(y, rho, of_labels(label))
    )


def test_a_model_of_another_format_says_so(saved):
    path = saved[0] / "design.json"
    path.write_text(path.read_text().replace(f'"format": {FORMAT}', '"format": 99'))
    with pytest.raises(LevyError, match=r"has format 99, but this version of levy reads format 2: .* levy 0.0.1"):
        load_model(saved[0])


@pytest.mark.parametrize(
    ("described", "message"),
    [
        ([], r"design.json holds a list where a model is described by a mapping: train the model again"),
        (None, r"design.json holds a NoneType where"),
        ({}, r"design.json has format None, but .* levy of an unknown version"),
        ({"format": 1, "about": 3}, r"design.json has format 1, but .* levy of an unknown version"),
        ({"format": FORMAT}, r"design.json describes no model: it has no 'design', but a mapping is expected"),
        (
            {"format": FORMAT, "design": {}, "net": []},
            r"design.json describes no model: its 'net' is \[\], but a mapping",
        ),
    ],
)
def test_a_description_that_is_no_models_is_refused(saved, described, message):
    (saved[0] / "design.json").write_text(json.dumps(described))
    with pytest.raises(LevyError, match=message):
        load_model(saved[0])


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        ("net", "channels", ..., "net.channels: field required"),
        ("net", "channels", [], "list index out of range|tuple index out of range"),
        ("net", "channels", [8.5], "net.channels.0: input should be a valid integer"),
        ("net", "groups", 0, "modulo by zero|division"),
        ("net", "depth", 3, "its 'net' has depth, which this version of levy does not know"),
        ("net", "kind", "cnn", "unknown kind of network 'cnn': choose one of dit, mlp, unet"),
        ("samples", "classes", "abc", "samples.classes: input should be a valid array"),
        ("samples", "kind", ..., "samples.kind: field required"),
        ("design", "noise", ..., "unknown noise law None: choose one of"),
        ("design", "alpha", "1.7", "alpha is '1.7'"),
    ],
)
def test_what_is_missing_or_wrong_in_a_description_is_named_with_its_file(saved, part, key, value, message):
    path = saved[0] / "design.json"
    described = json.loads(path.read_text())
    described[part] = {k: v for k, v in {**described[part], key: value}.items() if v is not ...}
    path.write_text(json.dumps(described))
    with pytest.raises(LevyError, match=rf"design.json describes no model: .*({message})"):
        load_model(saved[0])


SMALL_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 40) | st.floats(width=16) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def places(described, path=()):
    """Every key and index of nested JSON."""
    keys = described if isinstance(described, dict) else range(len(described)) if isinstance(described, list) else ()
    for key in keys:
        yield (*path, key)
        yield from places(described[key], (*path, key))


def test_a_mutilated_description_loads_or_is_refused_with_its_file_named(saved):
    path = saved[0] / "design.json"
    text = path.read_text()

    @settings(max_examples=300, deadline=None)
    @given(place=st.sampled_from(list(places(json.loads(text)))), value=SMALL_JSON | st.just(...))
    def replace_or_remove(place, value):
        described = json.loads(text)
        *above, last = place
        within = reduce(getitem, above, described)
        if value is ...:
            del within[last]
        else:
            within[last] = value
        path.write_text(json.dumps(described))
        try:
            load_model(saved[0])
        except LevyError as error:
            refusal = str(error)
        else:
            return
        assert "design.json" in refusal

    @settings(max_examples=50, deadline=None)
    @given(st.integers(0, len(text) - 3))
    def cut_off(length):
        path.write_text(text[:length])
        with pytest.raises(LevyError, match=r"design\.json cannot be read"):
            load_model(saved[0])

    replace_or_remove()
    cut_off()


def test_a_model_of_another_design_is_refused_and_both_are_named(saved):
    load_model(saved[0], design=Design.from_mapping({"preset": "lim", "alpha": 1.7}))
    with pytest.raises(LevyError, match=r"holds a model of another design: alpha 1.7 and not 1.5; train"):
        load_model(saved[0], design=Design.from_mapping({"preset": "lim", "alpha": 1.5}))
    with pytest.raises(LevyError, match=r"another design: .*param 'lim-score' and not 'denoiser'"):
        load_model(saved[0], design=Design.from_mapping({"preset": "tedm"}))


def test_a_network_for_points_survives_disk(tmp_path):
    config, design = MLPConfig((2,), width=16), Design.from_mapping({"preset": "dlpm", "groups": 3, "isotropic": False})
    net = MLP(config)
    save_model(tmp_path, dict(net.state_dict()), design, config, Samples("images", (), **RECORDED["images"]), {})
    model = load_model(tmp_path)
    assert (model.design, model.net) == (design, config)
    y, rho, label = torch.randn(3, 2), torch.rand(3), torch.zeros(3).long()
    assert torch.equal(model.predictor(y, rho, of_labels(label)), design.predictor(net)(y, rho, of_labels(label)))


def test_damaged_and_foreign_weights_are_refused(saved):
    folder, _ = saved
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LevyError, match="cannot be read as safetensors"):
        load_model(folder)
    other = UNet(UNetConfig(shape=(1, 8, 8), classes=3, channels=(8, 24)))
    save_model(
        folder,
        dict(other.state_dict()),
        Design.from_mapping({"preset": "lim"}),
        NET,
        Samples("images", ("a", "b", "c"), **RECORDED["images"]),
        {},
    )
    with pytest.raises(LevyError, match="does not belong to the network"):
        load_model(folder)


@pytest.mark.parametrize(
    ("settings", "advised"),
    [
        ({"preset": "lim"}, True),
        ({"preset": "dlpm-published"}, True),
        ({"preset": "lim", "alpha": 2.0}, True),
        ({"preset": "lim", "param": "denoiser"}, False),
        ({"preset": "ddpm"}, False),
        ({"preset": "tflow"}, False),
    ],
)
def test_designs_that_predict_stable_noise_are_advised_to_denoise(settings, advised):
    design = Design.from_mapping(settings)
    assert ("param: denoiser" in advise(design.param, design.noise)) is advised
