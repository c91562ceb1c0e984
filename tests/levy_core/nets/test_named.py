"""Networks by name are as large as published, and rebuild from what a model says of them."""

import json

import pytest
import torch

from levy_core.base.conditions import LABEL
from levy_core.nets.named import CHOICES, NAMED
from levy_core.nets.precision import parameter_count
from levy_core.training.checkpoint import NETS


def build(name, shape, classes, **more):
    config, net = NETS[NAMED[name].kind]
    described = config.from_mapping({"shape": shape, "classes": classes, **NAMED[name].settings, **more})
    assert config.from_mapping(json.loads(json.dumps(described.to_mapping()))) == described
    with torch.device("meta"):
        return net(described)


@pytest.mark.parametrize("name", [name for name, row in NAMED.items() if row.published])
def test_a_published_network_has_the_published_number_of_parameters(name):
    row = NAMED[name]
    predictions = {"heads": 2} if row.kind == "dit" else {}  # as published, with a variance
    found = parameter_count(build(name, *row.of, **predictions)) / 1e6
    # published numbers are rounded, that of iddpm-64 to tens of millions; the vector of 'no class' is ours
    assert found == pytest.approx(row.published, rel=0.015 if name == "iddpm-64" else 0.005)


def test_the_network_of_cifar_10_has_the_parameters_of_the_released_weights_and_a_vector_for_no_class():
    assert parameter_count(build("ddpm-32", (3, 32, 32), 0)) == 35_746_307 + 512


def test_adm_s_network_has_the_parameters_that_its_description_counts():
    """Dhariwal and Nichol 2021, section 3 and table 11, counted here layer by layer, with a vector for 'no class' and one prediction."""
    width, embedding = 192, 768

    def residual(inputs, outputs):
        skip = inputs * outputs + outputs if inputs != outputs else 0
        told = 2 * outputs * (embedding + 1)
        return 2 * inputs + 9 * inputs * outputs + outputs + told + 2 * outputs + 9 * outputs**2 + outputs + skip

    def attention(c):
        return 2 * c + 4 * (c**2 + c)

    levels = [width * multiple for multiple in (1, 2, 3, 4)]
    total = 9 * 3 * width + width  # into the network
    total += (width + 1) * embedding + (embedding + 1) * embedding + 1001 * embedding
    skips = [width]
    for depth, c in enumerate(levels):
        for _ in range(3):
            total += residual(skips[-1], c) + (attention(c) if depth else 0)
            skips.append(c)
        if depth < 3:
            total += residual(c, c)
            skips.append(c)
    total += 2 * residual(768, 768) + attention(768)
    below = 768
    for depth, c in reversed(list(enumerate(levels))):
        for _ in range(4):
            total += residual(below + skips.pop(), c) + (attention(c) if depth else 0)
            below = c
        total += residual(c, c) if depth else 0
    total += 2 * width + 9 * width * 3 + 3  # out of it
    assert parameter_count(build("adm-64", (3, 64, 64), 1000)) == total


@pytest.mark.parametrize("shape", [(3, 64, 64), (1, 28, 28), (5, 30, 7)])
@pytest.mark.parametrize("name", [name for name, row in NAMED.items() if row.kind == "unet"])
def test_u_nets_by_name_give_samples_of_any_sides_their_own_shape(name, shape):
    """Sides that cannot be halved as often are padded inside."""
    with torch.device("meta"):
        x, cond = torch.empty(2, *shape), {LABEL: torch.zeros(2, dtype=torch.long)}
        assert build(name, shape, 10)(x, torch.empty(2), cond).shape == x.shape


@pytest.mark.parametrize("name", NAMED)
def test_every_row_has_settings_of_its_kind(name):
    row = NAMED[name]
    assert row.kind in NETS
    assert set(row.settings) <= {*CHOICES[row.kind], "groups"}
