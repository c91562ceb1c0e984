"""A network that is not made is as large as the one that is, and counting it imports no compiler."""

import subprocess
import sys

import pytest

from levy_core.nets.named import NAMED
from levy_core.nets.precision import parameter_count
from levy_core.nets.sizing import count_unmade
from levy_core.training.checkpoint import NETS


def made_of(name, shape=(3, 16, 16), classes=4):
    kind = NAMED[name].kind
    config, net = NETS[kind]
    size = config.from_mapping({"shape": shape, "classes": classes, **NAMED[name].settings})
    return lambda: net(size)


@pytest.mark.parametrize("name", ["small", "ddpm-32", "dit-s"])
def test_it_counts_what_the_network_has(name):
    make = made_of(name)
    assert count_unmade(make) == parameter_count(make())
    assert not any(p.is_meta for p in make().parameters())  # the next one is made as ever


def test_what_makes_torch_slow_to_start_is_not_imported():
    code = (
        "import sys; from tests.levy_core.nets.test_sizing import made_of; from levy_core.nets.sizing import count_unmade;"
        "count_unmade(made_of('dit-xl')); print([m for m in ('sympy', 'torch._dynamo', 'diffusers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
