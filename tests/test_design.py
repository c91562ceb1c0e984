"""Designs, losses and the training loop."""

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from levy_core.checkpoint import FORMAT, load_model, save_model
from levy_core.design import PRESETS, Design
from levy_core.errors import LevyError
from levy_core.loss import LOSSES, loss_for
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.noise import Gaussian, Stable
from levy_core.train import TrainConfig, Trainer

NET = UNetConfig(shape=(1, 8, 8), classes=3, channels=(8, 16))
CONFIG = TrainConfig(steps=12, batch=8, lr=1e-3, warmup=2, ema=0.9, clip=1.0, label_dropout=0.3, flip=True, seed=5)


@pytest.mark.parametrize("preset", PRESETS)
def test_designs_survive_a_round_trip(preset):
    design = Design.from_mapping({"preset": preset})
    assert Design.from_mapping(design.to_mapping()) == design


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"preset": "lim", "alpha": 2.5}, r"alpha is 2.5"),
        ({"preset": "lim", "alpha": 1.0}, r"alpha is 1.0"),
        ({"preset": "gan"}, r"unknown design preset 'gan': choose one of ddpm, lim"),
        ({"preset": "ddpm", "alpha": 1.5}, r"unknown key 'alpha'"),
        ({"preset": "lim", "loss": "squared"}, r"'squared' has an infinite expectation under Stable\(alpha=1.8"),
        ({"preset": "lim", "param": "score"}, r"unknown parametrisation 'score'"),
        ({"preset": "lim", "schedule": "sine"}, r"unknown schedule 'sine'"),
        ({"noise": "cauchy"}, r"unknown noise law 'cauchy'"),
        ({}, r"unknown noise law None"),
    ],
)
def test_bad_designs_are_refused(settings, message):
    with pytest.raises(LevyError, match=message):
        Design.from_mapping(settings)


def test_squared_error_is_allowed_where_it_is_finite():
    assert loss_for("squared", Gaussian()) is LOSSES["squared"]
    assert loss_for("squared", Stable(2.0)) is LOSSES["squared"]


@pytest.mark.parametrize("name", LOSSES)
def test_losses_are_zero_at_the_truth_and_per_sample(name):
    e = torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    at_truth, beside = LOSSES[name].value(e, e), LOSSES[name].value(e + 1, e)
    assert at_truth.shape == (4,)
    assert at_truth.abs().max() < 1e-5
    assert (beside > 0.4).all()


def test_the_score_parametrisation_is_minus_alpha_times_the_output():
    class Constant(torch.nn.Module):
        def forward(self, x, log_rho, label):
            return torch.ones_like(x)

    y, rho, label = torch.zeros(2, 1, 2, 2), torch.ones(2), torch.zeros(2, dtype=torch.long)
    lim = Design.from_mapping({"preset": "lim", "alpha": 1.6}).predictor(Constant())
    assert torch.equal(lim(y, rho, label), torch.full_like(y, -1.6))


def trainer(preset):
    g = torch.Generator().manual_seed(0)
    images, labels = torch.rand(30, 1, 8, 8, generator=g) * 2 - 1, torch.randint(0, 3, (30,), generator=g)
    torch.manual_seed(0)
    return Trainer(Design.from_mapping({"preset": preset}), UNet(NET), images, labels, 3, CONFIG, torch.device("cpu"))


@pytest.mark.parametrize("preset", PRESETS)
def test_a_resumed_run_ends_in_the_same_bytes(preset):
    whole = trainer(preset)
    losses = [p.loss for p in whole.run()]
    first = trainer(preset)
    steps = first.run()
    part = [next(steps).loss for _ in range(5)]
    second = trainer(preset)
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


def test_a_network_that_cannot_halve_the_image_is_refused():
    with pytest.raises(LevyError, match="images of 9 x 9 cannot be halved 1 times"):
        UNet(UNetConfig(shape=(1, 9, 9), classes=2, channels=(8, 16)))
    with pytest.raises(LevyError, match="multiple of 8"):
        UNet(UNetConfig(shape=(1, 8, 8), classes=2, channels=(8, 12)))


@pytest.fixture
def saved(tmp_path):
    design, net = Design.from_mapping({"preset": "lim", "alpha": 1.7}), UNet(NET)
    save_model(tmp_path, dict(net.state_dict()), design, NET, ("a", "b", "c"), {"levy": "0.0.1"})
    return tmp_path, net


def test_a_model_survives_disk(saved):
    folder, net = saved
    model = load_model(folder)
    assert (model.design.noise, model.net, model.classes) == (Stable(1.7), NET, ("a", "b", "c"))
    y, rho, label = torch.randn(2, 1, 8, 8), torch.rand(2), torch.tensor([0, 3])
    assert torch.equal(model.predictor(y, rho, label), model.design.predictor(net).eval()(y, rho, label))


def test_a_model_of_another_format_says_so(saved):
    path = saved[0] / "design.json"
    path.write_text(path.read_text().replace(f'"format": {FORMAT}', '"format": 99'))
    with pytest.raises(LevyError, match=r"has format 99, but this version of levy reads format 1: .* levy 0.0.1"):
        load_model(saved[0])


def test_damaged_and_foreign_weights_are_refused(saved):
    folder, _ = saved
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(LevyError, match="cannot be read as safetensors"):
        load_model(folder)
    other = UNet(UNetConfig(shape=(1, 8, 8), classes=3, channels=(8, 24)))
    save_model(folder, dict(other.state_dict()), Design.from_mapping({"preset": "lim"}), NET, ("a", "b", "c"), {})
    with pytest.raises(LevyError, match="does not belong to the network"):
        load_model(folder)
