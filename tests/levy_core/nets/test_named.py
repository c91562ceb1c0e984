"""Networks by name are as large as published, and rebuild from what a model says of them."""

import json

import pytest
import torch

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
    assert found == pytest.approx(row.published, rel=0.05)


def test_the_small_one_is_that_of_the_default_run():
    assert parameter_count(build("small", (1, 8, 8), 10)) == 160_401


@pytest.mark.parametrize("name", NAMED)
def test_every_row_has_settings_of_its_kind(name):
    row = NAMED[name]
    assert row.kind in NETS
    assert set(row.settings) <= {*CHOICES[row.kind], "groups"}
