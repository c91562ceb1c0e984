"""A compiled training is the training: the same names, the same numbers but for last bits, and no compiler is no fault."""

import shutil
from dataclasses import replace

import pytest
import torch

from levy_core.base import philox
from levy_core.base.conditions import LABEL, of_labels
from levy_core.base.patches import Patches
from levy_core.nets.mlp import MLP, MLPConfig
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.training.compiling import PAYS_FROM, compile_network, resolve_compile
from levy_core.training.config import TrainConfig
from levy_core.training.trainer import Trainer

CONFIG = TrainConfig(
    steps=8, batch=6, lr=1e-3, warmup=2, ema=0.9, clip=1e9, label_dropout=0.3, flip=False, seed=0, precision="float32"
)
CPU, GPU = torch.device("cpu"), torch.device("cuda")


def mlp():
    return MLP(MLPConfig((3,), 3, 16, 2))


def unet():
    return UNet(UNetConfig(shape=(2, 8, 8), classes=3, channels=(8,), layers=1, attention=(False,), dropout=0.2))


def trainer(build=mlp, **changes):
    torch.manual_seed(0)
    net = build()
    data = torch.randn(40, *net.config.shape, generator=torch.Generator().manual_seed(0))
    config, absent = replace(CONFIG, **changes), {LABEL: torch.tensor(3)}
    design = Design.from_mapping({"preset": "lim", "isotropic": False})
    return Trainer(design, net, data, of_labels(torch.arange(40) % 3), absent, config, CPU)


def test_auto_compiles_long_trainings_on_gpus_alone():
    assert [resolve_compile("auto", GPU, steps) for steps in (PAYS_FROM - 1, PAYS_FROM)] == [False, True]
    assert not resolve_compile("auto", CPU, 10**9)
    assert all(resolve_compile(wanted, device, 1) is wanted for wanted in (True, False) for device in (CPU, GPU))


def test_without_a_compiler_the_training_says_so_and_is_what_it_would_have_been():
    from torch._inductor import config  # seconds

    plain, other = trainer(), trainer()
    with config.patch({"cpp.cxx": (None, "/nonexistent/g++")}):
        assert "No working C++ compiler" in other.compile()
    assert list(other.run()) == list(plain.run())
    for name, value in plain.state().items():
        assert torch.equal(value, other.state()[name]), name


def test_dropout_in_layers_that_are_computed_again_is_left_alone():
    net = unet()
    net.checkpointing = True
    assert "train.checkpointing" in compile_network(net, lambda: pytest.fail("it was tried"))


def patches():
    return UNet(
        UNetConfig(
            shape=(2, 16, 16), classes=3, channels=(8,), layers=1, attention=(False,), patches=Patches((8, 8), 4)
        )
    )


def augmented():
    return UNet(UNetConfig(shape=(2, 8, 8), classes=3, channels=(8,), layers=1, attention=(False,), augment=2))


@pytest.mark.parametrize(("build", "changes"), [(mlp, {}), (patches, {}), (augmented, {"crop": 1, "accumulate": 4})])
def test_what_is_tried_before_the_first_step_fits_the_network_and_leaves_the_training_as_it_is(build, changes):
    plain, other, seen = trainer(build, **changes), trainer(build, **changes), []
    see = lambda _, given: seen.append(
        (given[0].shape[1:], {name: values.shape[1:] for name, values in given[2].items()})
    )
    other.predictor.net.register_forward_pre_hook(see)
    other._attempt()
    assert list(other.run()) == list(plain.run())
    assert len(seen) == 1 + CONFIG.steps * other.config.accumulate
    assert all(shapes == seen[0] for shapes in seen)


needs_compiler = pytest.mark.skipif(
    not (shutil.which("g++") or shutil.which("clang++")), reason="torch.compile needs a C++ compiler, and there is none"
)


@pytest.mark.long
@needs_compiler
@pytest.mark.parametrize("own_noise", [False, True])
@pytest.mark.parametrize("build", [mlp, unet])
def test_a_compiled_training_is_the_training_but_for_last_bits_and_goes_on_without(build, own_noise, monkeypatch):
    monkeypatch.setattr(philox, "OWN_NOISE", {"cpu"} if own_noise else set())
    plain, compiled, after = trainer(build), trainer(build), trainer(build)
    assert compiled.compile() == ""
    expected, steps = list(plain.run()), compiled.run()
    found = [next(steps) for _ in range(5)]
    steps.close()
    after.restore(compiled.state())  # a plain network takes the names of a compiled one, and the setting may change
    found += list(after.run())
    for one, other in zip(expected, found, strict=True):
        # Sums in other orders and fused multiplications: some 2**-24 of the terms per layer, of which 20 at most follow. Seen: 1e-6.
        assert other.loss == pytest.approx(one.loss, rel=1e-4)
        assert other.grad_norm == pytest.approx(one.grad_norm, rel=1e-4)
    states = plain.state(), after.state()
    assert states[0].keys() == states[1].keys()
    # Weights themselves tell less: Adam moves one whose gradient is near 0 by what rounding makes of it.
    y, rho, cond = plain.data[:16], torch.ones(16), of_labels(torch.arange(16) % 4)
    with torch.no_grad():
        one, other = (t.design.predictor(t.averaged)(y, rho, cond) for t in (plain, after))
    assert torch.allclose(other, one, rtol=0, atol=1e-4 * float(one.abs().max()))
    weights = after.averaged_weights()
    build().load_state_dict(weights)
    assert not any("_orig_mod" in name for name in weights)
