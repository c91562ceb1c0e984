"""The U-Net on fields: any size, round the globe, told its coordinates."""

import json

import numpy as np
import pytest
import torch

from levy_core.base.conditions import of_labels
from levy_core.base.errors import LevyError
from levy_core.base.samples import RECORDED, Samples
from levy_core.nets.dit import DiT, DiTConfig
from levy_core.nets.globe import pad_indices
from levy_core.nets.labels import tell_labels
from levy_core.nets.mlp import MLP, MLPConfig
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.training.checkpoint import load_model, save_model

LEVELS, LABELS = torch.tensor([-1.0, 0.5]), torch.tensor([0, 1])


def net(shape, channels=(8, 16), **options):
    torch.manual_seed(0)
    return UNet(UNetConfig(shape=shape, classes=1, channels=channels, **options)).double().eval()


def fields(*shape):
    return torch.randn(2, *shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def out(network, x):
    with torch.no_grad():
        return network(x, LEVELS.double(), of_labels(LABELS))


@pytest.mark.parametrize("shape", [(1, 33, 49), (2, 1, 5), (1, 1, 1), (3, 6, 16), (1, 36, 35)])
@pytest.mark.parametrize("wraps", [False, True])
def test_every_size_keeps_its_shape(shape, wraps):
    network = net(shape, (8, 8, 16), wraps=wraps)
    answer = out(network, fields(*shape))
    assert answer.shape == (2, *shape)
    assert answer.isfinite().all()


def test_a_size_that_fits_is_the_plain_network_bit_for_bit():
    network, x = net((1, 8, 12), attention=(False, True)), fields(1, 8, 12)
    assert torch.equal(out(network, x), network.unet(x, 250 * LEVELS.double(), LABELS))


def test_a_size_that_does_not_fit_is_padded_with_its_edge_and_cut_back():
    x = fields(1, 7, 9)
    grown = torch.nn.functional.pad(x, (0, 3, 0, 1), mode="replicate")
    small, large = net((1, 7, 9), (8, 8, 8)), net((1, 8, 12), (8, 8, 8))
    assert torch.equal(out(small, x), out(large, grown)[..., :7, :9])


def test_round_the_globe_the_padding_is_what_comes_next():
    assert pad_indices(5, 4, wraps=True).tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    assert pad_indices(1, 4, wraps=True).tolist() == [0, 0, 0, 0]
    assert pad_indices(5, 4).tolist() == [0, 1, 2, 3, 4, 4, 4, 4]
    assert pad_indices(8, 4).tolist() == list(range(8))


@pytest.mark.parametrize("shift", [4, 12, -8])
def test_round_the_globe_a_shifted_field_gives_the_shifted_answer(shift):
    shape = (2, 8, 16)
    network, x = net(shape, (8, 8, 16), attention=(False, False, True), wraps=True), fields(2, 8, 16)
    assert torch.allclose(out(network, x.roll(shift, -1)), out(network, x).roll(shift, -1), rtol=0, atol=1e-12)
    box = net(shape, (8, 8, 16), attention=(False, False, True))
    assert (out(box, x.roll(shift, -1)) - out(box, x).roll(shift, -1)).abs().max() > 1e-3


def test_round_the_globe_the_poles_stay_edges():
    network, x = net((1, 8, 16), wraps=True), fields(1, 8, 16)
    assert (out(network, x.roll(4, -2)) - out(network, x).roll(4, -2)).abs().max() > 1e-3


def test_round_the_globe_the_weights_are_the_same_in_name_and_value():
    plain, closed = net((1, 8, 16)).state_dict(), net((1, 8, 16), wraps=True).state_dict()
    assert list(plain) == list(closed)
    assert all(torch.equal(plain[name], closed[name]) for name in plain)


def test_coordinates_are_sines_of_the_degrees():
    config = UNetConfig(shape=(1, 3, 4), classes=1, channels=(8,), coordinates=True)
    given = UNet(config, np.array([90, 0, -30]), np.array([0, 90, 180, 270])).coordinates
    ones, zeros = torch.ones(4), torch.zeros(4)
    assert torch.allclose(given[0], torch.stack([ones, zeros, -0.5 * ones]), atol=1e-7)
    assert torch.allclose(given[1], torch.tensor([1.0, 0, -1, 0]).expand(3, 4), atol=1e-7)
    assert torch.allclose(given[2], torch.tensor([0.0, 1, 0, -1]).expand(3, 4), atol=1e-7)


def test_places_have_a_latitude_and_a_longitude_each():
    config = UNetConfig(shape=(1, 1, 3), classes=1, channels=(8,), coordinates=True)
    given = UNet(config, np.array([90.0, 0, -30]), np.array([0.0, 90, 180])).coordinates
    assert torch.allclose(given[0, 0], torch.tensor([1.0, 0, -0.5]), atol=1e-7)
    with pytest.raises(LevyError, match="2 latitudes and 3 longitudes were given for fields of 1 x 3"):
        UNet(config, np.zeros(2), np.zeros(3))


def test_the_network_answers_by_coordinates_and_only_where_asked():
    x, north, south = fields(1, 4, 8), np.array([80.0, 60, 40, 20]), np.array([-20.0, -40, -60, -80])
    longitude, answers = np.arange(8) * 45.0, {}
    for asked in (True, False):
        config = UNetConfig(shape=(1, 4, 8), classes=1, channels=(8,), coordinates=asked)
        for latitude in (north, south):
            torch.manual_seed(0)
            answers[asked, latitude[0]] = out(UNet(config, latitude, longitude).double(), x)
    assert not torch.allclose(answers[True, 80], answers[True, -20])
    assert torch.equal(answers[False, 80], answers[False, -20])


def test_a_model_with_coordinates_survives_disk_without_being_told_them_again(tmp_path):
    design = Design.from_mapping({"preset": "tedm", "sigma_data": 1.0})
    config = UNetConfig(shape=(2, 5, 9), classes=1, channels=(8, 8), wraps=True, coordinates=True)
    network = UNet(config, np.linspace(80, -80, 5), np.arange(9) * 40.0)
    save_model(
        tmp_path, dict(network.state_dict()), design, config, Samples("fields", ("all",), **RECORDED["fields"]), {}
    )
    model = load_model(tmp_path)
    y, rho = fields(2, 5, 9).float(), torch.tensor([0.1, 3.0])
    assert model.net == config
    assert torch.equal(
        model.predictor(y, rho, of_labels(LABELS)), design.predictor(network).eval()(y, rho, of_labels(LABELS))
    )


@pytest.mark.parametrize("told", [{"coordinates": True}, {"static": 2}])
def test_a_network_that_was_never_told_of_its_places_says_nothing(told):
    config = UNetConfig(shape=(1, 4, 4), classes=1, channels=(8,), **told)
    assert UNet(config)(fields(1, 4, 4).float(), LEVELS, of_labels(LABELS)).isnan().all()


PLACES = {"coordinates": True, "static": 2}
DEGREES = (np.linspace(80, -80, 4), np.arange(8) * 45.0)
NETWORKS = {
    "unet": (UNet, UNetConfig(shape=(1, 4, 8), classes=1, channels=(8,), **PLACES)),
    "dit": (DiT, DiTConfig(shape=(1, 4, 8), classes=1, hidden=32, layers=1, head_channels=16, **PLACES)),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_static_fields_are_told_beside_coordinates_and_survive_disk(name, tmp_path):
    kind, config = NETWORKS[name]
    static = np.random.default_rng(0).standard_normal((2, 4, 8)).astype(np.float32)
    torch.manual_seed(0)
    network = kind(config, *DEGREES, static)
    for parameter in network.parameters():  # a DiT is 0 before training
        torch.nn.init.normal_(parameter, std=0.2)
    x = fields(1, 4, 8).float()
    seen = network.with_places(x)
    assert torch.equal(seen[:, :1], x)
    assert torch.equal(seen[1, 1:4], network.coordinates)
    assert torch.equal(seen[1, 4:], torch.from_numpy(static))
    design = Design.from_mapping({"preset": "tedm", "sigma_data": 1.0})
    samples = Samples("fields", ("all",), **RECORDED["fields"])
    save_model(tmp_path, dict(network.state_dict()), design, config, samples, {})
    model, rho = load_model(tmp_path), torch.tensor([0.1, 3.0])
    assert model.net == config
    answer = model.predictor(x, rho, of_labels(LABELS))
    assert torch.equal(answer, design.predictor(network).eval()(x, rho, of_labels(LABELS)))
    network.load_state_dict(network.state_dict() | {"static": torch.from_numpy(static).flip(0)})
    assert not torch.allclose(answer, design.predictor(network).eval()(x, rho, of_labels(LABELS)))
    with pytest.raises(LevyError, match=r"static fields of shape \[1, 4, 8\] .* expects \[2, 4, 8\]"):
        kind(config, *DEGREES, static[:1])


def test_a_network_without_places_sees_the_sample_alone():
    x = fields(1, 4, 8)
    assert net((1, 4, 8)).with_places(x) is x


def test_the_description_of_an_older_network_still_means_what_it_did():
    older = {
        "shape": [1, 8, 8],
        "classes": 3,
        "channels": [8, 16],
        "layers": 1,
        "attention": [],
        "groups": 8,
        "dropout": 0,
    }
    config = UNetConfig.from_mapping(older)
    assert not config.wraps
    assert not config.coordinates
    assert config.static == 0
    assert UNetConfig.from_mapping(json.loads(json.dumps(config.to_mapping()))) == config


NUMBERS = np.array([[0.3, -1.0, 0.0], [0.3, -1.0, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=np.float32)
OF_DAYS = {
    "unet": (UNet, UNetConfig(shape=(1, 4, 8), classes=3, channels=(16,), label_numbers=3)),
    "dit": (DiT, DiTConfig(shape=(1, 4, 8), classes=3, hidden=32, layers=1, head_channels=16, label_numbers=3)),
    "mlp": (MLP, MLPConfig(shape=(5,), classes=3, width=8, label_numbers=3)),
}


@pytest.mark.parametrize("name", OF_DAYS)
def test_labels_of_equal_numbers_are_told_alike_and_survive_disk(name, tmp_path):
    kind, config = OF_DAYS[name]
    torch.manual_seed(0)
    network = kind(config)
    for parameter in network.parameters():  # a DiT is 0 before training
        torch.nn.init.normal_(parameter, std=0.2)
    x = fields(*config.shape).float()[:1].expand(4, *config.shape)
    answers = lambda net: net(x, torch.zeros(4), of_labels(torch.arange(4))).detach()
    assert answers(network).isnan().all()  # never told
    tell_labels(network, NUMBERS)
    same, also, other, none = answers(network)
    assert torch.allclose(same, also, atol=1e-6)
    assert not torch.allclose(same, other, atol=1e-3)
    assert not torch.allclose(none, other, atol=1e-3)
    design = Design.from_mapping({"preset": "tedm", "sigma_data": 1.0})
    samples = Samples("fields", ("a", "b", "c"), **RECORDED["fields"])
    save_model(tmp_path, dict(network.state_dict()), design, config, samples, {})
    assert torch.equal(answers(load_model(tmp_path).predictor.net), answers(network))
    with pytest.raises(LevyError, match=r"numbers of shape \[3, 3\] were given for 4 labels of 3 numbers each"):
        tell_labels(network, NUMBERS[:3])
