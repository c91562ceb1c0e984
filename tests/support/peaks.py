"""Drawings of untrained models, and what the process that draws them takes at its peak by the kernel's count; Linux."""

import gc
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from levy_core.base.samples import RECORDED, Samples
from levy_core.nets.dit import DiT, DiTConfig
from levy_core.nets.mlp import MLP, MLPConfig
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.sampling.solver import Solver
from levy_core.serving.draw import draw_samples
from levy_core.serving.memory import Footprint, Need
from levy_core.training.checkpoint import NETS, Model, NetConfig

CPU = torch.device("cpu")
ODE = Solver("ode", "ei-noise", "karras", 2, rho_max=20, rho_min=0.02)
CASES = {  # network, design, solver, samples
    "one level": (UNetConfig((1, 64, 64), 2, (16,)), {"preset": "ddpm"}, ODE, 64),
    "wide": (UNetConfig((1, 32, 32), 2, (128, 128)), {"preset": "ddpm"}, ODE, 24),
    "attention": (UNetConfig((3, 32, 32), 2, (32, 64), 1, (False, True)), {"preset": "ddpm"}, ODE, 48),
    "transformer": (DiTConfig((3, 32, 32), 2, 64, 2), {"preset": "ddpm"}, ODE, 48),
    "round": (UNetConfig((2, 45, 90), 2, (16, 32), wraps=True), {"preset": "ddpm"}, ODE, 24),
    "guided": (
        UNetConfig((1, 32, 32), 2, (16, 32)),
        {"preset": "ddpm"},
        Solver("ode", "ei-noise", "karras", 2, rho_max=20, rho_min=0.02, guide="classifier-free", strength=2.0),
        64,
    ),
    "a path per coordinate": (
        MLPConfig((20_000,), 2, 8),
        {"preset": "dlpm", "isotropic": False},
        Solver("posterior", "ei-noise", "uniform-t", 12),
        40,
    ),
}


def make_model(config: NetConfig, design: dict) -> Model:
    """Its network is as before training, and returns zeros."""
    torch.manual_seed(0)
    net = next(build for kind, build in NETS.values() if kind is type(config))(config)
    last = {UNet: lambda: net.unet.conv_out, DiT: lambda: net.proj_out, MLP: lambda: net.leave}[type(net)]()
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.zeros_(last.bias)
    made = Design.from_mapping(design)
    samples = Samples("fields", ("a", "b"), **RECORDED["fields"])
    return Model(made.predictor(net).eval().requires_grad_(False), made, config, samples)


def peak(call: Callable[[], object]) -> int:
    """Bytes by which the process grew at most during a call."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = _status("VmRSS")
    call()
    return _status("VmHWM") - before


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(name))


def measure(name: str) -> dict[str, int]:
    """What is expected and what was measured of a case, after a drawing of one sample."""
    config, design, solver, n = CASES[name]
    model = make_model(config, design)
    footprint = Footprint(model, CPU)
    need = Need(n, footprint.kept, n, footprint.each(solver))
    draw = lambda n: draw_samples(model, solver, 0, np.zeros(n, int), n, CPU)
    draw(1)
    return {"expected": need.bytes, "measured": peak(lambda: draw(n))}


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in CASES:
        if os.fork() == 0:  # none finds memory that an earlier one let go of
            print(json.dumps({name: measure(name)}), flush=True)
            os._exit(0)
        os.wait()
