"""A network that sees patches of fields: what it is told of them, and what it says of a whole field."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from levy_core.base.conditions import LABEL, PLACE, of_labels
from levy_core.base.patches import Patches
from levy_core.base.samples import RECORDED, Samples
from levy_core.base.seeds import Streams
from levy_core.nets import globe
from levy_core.nets.dit import DiT, DiTConfig
from levy_core.nets.globe import OnPlaces
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.sampling.loop import sample
from levy_core.sampling.solver import Solver, tabulate
from levy_core.serving.draw import evaluation_flops
from levy_core.training.checkpoint import load_model, save_model

HEIGHT, WIDTH = 20, 24
LATITUDE, LONGITUDE = np.linspace(80, -80, HEIGHT), np.arange(WIDTH) * 15.0
STATIC = np.random.default_rng(0).standard_normal((2, HEIGHT, WIDTH)).astype(np.float32)
PATCHES = Patches((8, 8), 3)
NETWORKS = {
    "unet": (UNet, UNetConfig((2, HEIGHT, WIDTH), 1, (8, 16), attention=(False, True), wraps=True, coordinates=True, static=2)),
    "dit": (DiT, DiTConfig((2, HEIGHT, WIDTH), 1, 32, 2, head_channels=16, wraps=True, coordinates=True, static=2)),
}  # fmt: skip


def make(name, patches):
    kind, config = NETWORKS[name]
    torch.manual_seed(0)
    net = kind(replace(config, patches=patches), LATITUDE, LONGITUDE, STATIC).eval()
    for parameter in net.parameters():  # a DiT is 0 before training
        torch.nn.init.normal_(parameter, std=0.2)
    return net


def fields(n=2, channels=2):
    return torch.randn(n, channels, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


def asked(n=2, **more):
    return torch.linspace(-1, 0.5, n), {LABEL: torch.zeros(n, dtype=torch.long), **more}


class Recorded(OnPlaces):
    """A network of single cells that keeps what it was shown."""

    def __init__(self, patches, wraps=True, function=lambda x, log_rho: torch.sin(3 * x) * log_rho.exp()):
        super().__init__()
        config = UNetConfig((1, HEIGHT, WIDTH), 1, (8,), wraps=wraps, coordinates=True, static=2, patches=patches)
        self.tell_places(config, LATITUDE, LONGITUDE, STATIC)
        self.shown, self.function = [], function

    def see(self, x, log_rho, cond):
        self.shown.append(x)
        return self.function(x[:, :1], log_rho.view(-1, 1, 1, 1))


def told(rows, columns):
    """The channels of places of these rows and columns, by hand."""
    phi, theta = np.deg2rad(LATITUDE[rows])[:, None], np.deg2rad(LONGITUDE[columns])[None]
    shape = (len(rows), len(columns))
    coordinates = [np.broadcast_to(c, shape) for c in (np.sin(phi), np.cos(theta), np.sin(theta))]
    return torch.from_numpy(np.stack([*coordinates, *STATIC[:, rows][:, :, columns]])).float()


@pytest.mark.parametrize("wraps", [True, False])
def test_the_whole_of_a_network_of_single_cells_is_what_it_says_of_the_field(wraps):
    net, plain = Recorded(PATCHES, wraps), Recorded(None, wraps)
    x = fields(channels=1)
    assert torch.allclose(net(x, *asked()), plain(x, *asked()), rtol=0, atol=1e-6)  # weights sum to 1 within float32
    assert [len(x) for x in plain.shown] == [2]
    assert len(net.cover.places) > 12


@pytest.mark.parametrize("wraps", [True, False])
def test_patches_of_a_whole_are_shown_their_own_cells_and_places_across_the_date_line_too(wraps):
    net, x = Recorded(PATCHES, wraps), fields(1, 1)
    net(x, *asked(1))
    shown = torch.cat(net.shown)
    assert len(shown) == len(net.cover.places)
    across = 0
    for seen, (row, column) in zip(shown, net.cover.places, strict=True):
        rows, columns = np.arange(row, row + 8), np.arange(column, column + 8) % WIDTH
        across += columns[0] > columns[-1]
        assert torch.equal(seen[0], x[0, 0][rows[:, None], columns])
        assert torch.allclose(seen[1:], told(rows, columns), atol=1e-6)
    assert bool(across) == wraps


def test_patches_of_training_are_told_their_places_across_the_date_line_too():
    net, places = Recorded(PATCHES), torch.tensor([[0, 0], [12, 20], [7, 3]])
    x = fields(3, 1)
    net(net.cover.cut(x, places), *asked(3, **{PLACE: places}))
    (shown,) = net.shown
    assert shown.shape == (3, 6, 8, 8)
    for seen, field, (row, column) in zip(shown, x, places.tolist(), strict=True):
        rows, columns = np.arange(row, row + 8), np.arange(column, column + 8) % WIDTH
        assert torch.equal(seen[0], field[0][rows[:, None], columns])
        assert torch.allclose(seen[1:], told(rows, columns), atol=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_patch_as_large_as_the_field_is_the_plain_network_bit_for_bit(name):
    plain, patched = make(name, None), make(name, Patches((HEIGHT, WIDTH), 4))
    assert torch.equal(plain(fields(), *asked()), patched(fields(), *asked()))


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_are_those_of_the_plain_network_in_name_and_shape(name):
    plain, patched = (make(name, patches).state_dict() for patches in (None, PATCHES))
    assert {key: value.shape for key, value in plain.items()} == {key: value.shape for key, value in patched.items()}


def test_a_band_round_the_globe_is_closed_and_a_patch_is_not():
    band, patch = make("unet", Patches((8, WIDTH), 3)), make("unet", PATCHES)
    assert isinstance(band.unet.conv_in, globe.RoundConv)
    assert not isinstance(patch.unet.conv_in, globe.RoundConv)
    assert [place for place in band.cover.places if place[1]] == []


@pytest.mark.parametrize("name", NETWORKS)
def test_a_whole_is_the_weighted_mean_of_its_patches(name):
    net, x = make(name, PATCHES), fields()
    expected = torch.zeros(2, 2, HEIGHT, WIDTH)
    pairs = [(down, across) for down in net.cover.weights[0] for across in net.cover.weights[1]]
    for (row, column), (down, across) in zip(net.cover.places, pairs, strict=True):
        places = torch.tensor([[row, column]] * 2)
        made = net(net.cover.cut(x, places), *asked(2, **{PLACE: places}))
        rows, columns = torch.arange(row, row + 8), torch.arange(column, column + 8) % WIDTH
        expected[:, :, rows[:, None], columns] += down[:, None] * across * made
    assert torch.allclose(net(x, *asked()), expected, atol=1e-5)


def test_no_more_patches_are_seen_at_a_time_than_is_said(monkeypatch):
    found = {}
    for together in (1, 3 * 64, 10**6):
        monkeypatch.setattr(globe, "TOGETHER", together)
        net = Recorded(PATCHES)
        found[together] = net(fields(channels=1), *asked())
        at_once = max(len(x) for x in net.shown) // 2
        assert at_once == min(len(net.cover.places), max(1, together // 64))
    assert all(torch.allclose(one, found[1], atol=1e-6) for one in found.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_by_the_field_flow_through_all_patches(name):
    """A derivative along a direction is the difference quotient, in float64."""
    net, x = make(name, PATCHES).double(), fields().double().requires_grad_()
    log_rho, cond = asked()
    said = lambda x: net(x, log_rho.double(), cond)
    pull = torch.randn(2, 2, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (gradient,) = torch.autograd.grad(said(x), x, pull)
    with torch.no_grad():
        along = gradient / gradient.norm()
        step = 1e-5
        quotient = ((said(x + step * along) - said(x - step * along)) * pull).sum() / (2 * step)
    assert float(quotient) == pytest.approx(float(gradient.norm()), rel=1e-6)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_model_of_patches_survives_disk(name, tmp_path):
    net = make(name, PATCHES)
    design = Design.from_mapping({"preset": "tedm", "sigma_data": 1.0, "patches": PATCHES.to_mapping()})
    assert Design.from_mapping(design.to_mapping()) == design
    samples = Samples("fields", ("all",), **RECORDED["fields"])
    save_model(tmp_path, dict(net.state_dict()), design, net.config, samples, {})
    model, rho = load_model(tmp_path, design=design), torch.tensor([0.1, 3.0])
    assert model.shape == (2, HEIGHT, WIDTH)
    assert type(net.config).from_mapping(net.config.to_mapping()) == net.config == model.net
    cond = of_labels(torch.zeros(2, dtype=torch.long))
    assert torch.equal(model.predictor(fields(), rho, cond), design.predictor(net).eval()(fields(), rho, cond))


@pytest.mark.parametrize("patches", [None, PATCHES, Patches((8, WIDTH), 3)])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_step_is_counted_as_one_patch_of_those_that_make_a_whole(name, patches, tmp_path):
    net = make(name, patches)
    design = Design.from_mapping({"preset": "edm", "patches": patches and patches.to_mapping()})
    samples = Samples("fields", ("all",), **RECORDED["fields"])
    save_model(tmp_path, dict(net.state_dict()), design, net.config, samples, {})
    model = load_model(tmp_path)
    seen = len(net.cover.places) if patches else 1
    assert evaluation_flops(model) > 0
    assert evaluation_flops(model) == seen * evaluation_flops(model, in_training=True)


def test_white_fields_by_the_ideal_denoiser_are_white_and_have_no_seams():
    """The ODE of N(0, 1) data takes every cell to a multiple of its noise, the same for all cells: patches leave no trace in it."""
    ideal = lambda x, log_rho: (
        x * log_rho.exp() / (1 + log_rho.exp() ** 2).sqrt()
    )  # of y = x0 + rho e, shown as y / sqrt(1 + rho**2)
    design = Design.from_mapping({"preset": "ddpm", "patches": PATCHES.to_mapping()})
    table = tabulate(Solver("ode", "2m-data", "karras", 60, rho_max=80, rho_min=0.002), design.schedule)
    predictor, cond = (
        design.predictor(Recorded(PATCHES, function=ideal)).eval(),
        of_labels(torch.zeros(3, dtype=torch.long)),
    )
    drawn = sample(predictor, table, design.noise, 0, range(3), (1, HEIGHT, WIDTH), cond)
    noise = Streams.of_samples(0, "sample", range(3)).normal((1, HEIGHT, WIDTH))
    size = float((drawn * noise).sum() / (noise**2).sum())
    assert size == pytest.approx(1, abs=0.02)  # of 60 steps
    assert torch.allclose(drawn, size * noise, rtol=0, atol=1e-4)
