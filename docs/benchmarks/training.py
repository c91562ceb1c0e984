"""The training step beside the usual loops: python docs/benchmarks/training.py [SIZE ...] [--rounds 12] [--precision bfloat16] [--device cuda] [--compiled]

A loop of diffusers (its U-Net with its default heads of 8 channels, its EMA, Adam), the same with heads of 64, and the loop of EDM in
its published form (Karras et al. 2022, arXiv 2206.00364, training_loop.py) on our network take turns in one process with ours. Each turn is some
steps on the same data; the table gives medians over rounds, and ratios in rounds of diffusers' time over ours.
"""

import argparse
import copy
import platform
import resource
import sys
import time
from collections.abc import Callable, Iterator
from statistics import median, quantiles

import torch
from torch import nn
from torch.nn import functional as F

from levy_core.base import torchvision_ops  # noqa: F401  isort: skip
from diffusers import DDPMScheduler, UNet2DModel  # isort: skip
from diffusers.training_utils import EMAModel  # isort: skip

from levy_core.base.conditions import LABEL, of_labels
from levy_core.nets.precision import parameter_count
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.training.config import TrainConfig
from levy_core.training.trainer import Trainer

CLASSES = 10
SIZES = {  # shape, channels, layers, attention, batch
    "8": ((1, 8, 8), (16, 32), 1, (False, False), 64),  # the default run
    "28": ((1, 28, 28), (32, 64), 1, (False, True), 32),
    "32": ((3, 32, 32), (64, 128, 128), 2, (False, True, False), 32),
    "64": ((3, 64, 64), (128, 256, 256, 256), 2, (False, True, True, False), 128),
}
Step = Callable[[], None]


def trainer_of(size: str, heads: int, precision: str, device: torch.device) -> Trainer:
    """The project's trainer with LIM."""
    shape, channels, layers, attention, batch = SIZES[size]
    torch.manual_seed(0)
    net = UNet(UNetConfig(shape, CLASSES, channels, layers, attention, head_channels=heads))
    config = TrainConfig(
        steps=10**9, batch=batch, lr=1e-4, warmup=1, ema=0.999, clip=1.0, label_dropout=0.1, flip=False, seed=0, precision=precision
    )  # fmt: skip
    data, labels = torch.rand(512, *shape) * 2 - 1, torch.arange(512) % CLASSES
    return Trainer(
        Design.from_mapping({"preset": "lim"}), net, data, of_labels(labels), {LABEL: torch.tensor(CLASSES)}, config, device
    )  # fmt: skip


def ours(size: str, heads: int, precision: str, device: torch.device, compiled: bool = False) -> tuple[Step, int]:
    """A step of the project's trainer, and the network's parameters."""
    trainer = trainer_of(size, heads, precision, device)
    if compiled:
        begun = time.perf_counter()
        if fault := trainer.compile():
            raise SystemExit(f"the network is not compiled: {fault}")
        print(f"compiled in {time.perf_counter() - begun:.0f} s: {size}, {precision}", file=sys.stderr)
    steps: Iterator = trainer.run()
    return lambda: next(steps) and None, parameter_count(trainer.predictor)


def diffusers(size: str, heads: int, precision: str, device: torch.device) -> Step:
    """A step of diffusers' training example: epsilon, mean squared error, clipping, Adam, EMA."""
    shape, channels, layers, attention, batch = SIZES[size]
    down = tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attention)
    up = tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention))
    torch.manual_seed(0)
    net = UNet2DModel(
        sample_size=shape[1:], in_channels=shape[0], out_channels=shape[0], block_out_channels=channels, layers_per_block=layers,
        down_block_types=down, up_block_types=up, norm_num_groups=8, num_class_embeds=CLASSES + 1, attention_head_dim=heads,
        add_attention=any(attention),
    ).to(device)  # fmt: skip
    ema, scheduler = EMAModel(net.parameters(), decay=0.999), DDPMScheduler()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    data, labels = torch.rand(512, *shape) * 2 - 1, torch.arange(512) % CLASSES
    net.train()

    def step() -> None:
        rows = torch.randint(512, (batch,))
        x0, label = data[rows].to(device), labels[rows].to(device)
        noise, times = torch.randn_like(x0), torch.randint(1000, (batch,), device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            predicted = net(scheduler.add_noise(x0, noise, times), times, label).sample
            loss = F.mse_loss(predicted.float(), noise)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        ema.step(net.parameters())
        loss.item()

    return step


def edm(size: str, heads: int, precision: str, device: torch.device) -> Step:
    """A step of EDM's loop on the network of ``ours``: EDM's loss, gradients without NaN, Adam, the average one parameter after the other."""
    shape, channels, layers, attention, batch = SIZES[size]
    torch.manual_seed(0)
    net = UNet(UNetConfig(shape, CLASSES, channels, layers, attention, head_channels=heads)).to(device).train()
    averaged = copy.deepcopy(net).eval().requires_grad_(False)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4, betas=(0.9, 0.999), eps=1e-8)
    data, labels = torch.rand(512, *shape) * 2 - 1, torch.arange(512) % CLASSES

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        rows = torch.randint(512, (batch,))
        x0, label = data[rows].to(device), labels[rows].to(device)
        sigma = (torch.randn(batch, 1, 1, 1, device=device) * 1.2 - 1.2).exp()
        weight = (sigma**2 + 0.25) / (sigma * 0.5) ** 2
        y = x0 + torch.randn_like(x0) * sigma
        skip, out, into = (
            0.25 / (sigma**2 + 0.25),
            sigma * 0.5 / (sigma**2 + 0.25).sqrt(),
            1 / (sigma**2 + 0.25).sqrt(),
        )
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            predicted = net(into * y, sigma.flatten().log(), {LABEL: label})
        loss = weight * (skip * y + out * predicted.float() - x0) ** 2
        loss.sum().mul(1 / batch).backward()
        for parameter in net.parameters():
            if parameter.grad is not None:
                torch.nan_to_num(parameter.grad, nan=0, posinf=1e5, neginf=-1e5, out=parameter.grad)
        optimizer.step()
        for kept, parameter in zip(averaged.parameters(), net.parameters(), strict=True):
            kept.copy_(parameter.detach().lerp(kept, 0.999))
        loss.mean().item()

    return step


def seconds(step: Step, steps: int, device: torch.device) -> float:
    """Per step."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(steps):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return (time.perf_counter() - begun) / steps


def main() -> None:
    """Prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", default=["28"], choices=list(SIZES))
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=4, help="in a turn")
    parser.add_argument("--precision", nargs="+", default=["float32"], choices=["float32", "bfloat16"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compiled", action="store_true", help="also our loop with compute.compile: true")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    print(f"{platform.machine()}, torch {torch.__version__}, {device}, {torch.get_num_threads()} thread(s)\n")
    print(
        "| network | precision | loop | ms per step | speed of ours over it, quartiles of rounds |\n|---|---|---|---|---|"
    )
    for size in arguments.sizes:
        for precision in arguments.precision:
            own, parameters = ours(size, 64, precision, device)
            loops = {
                "ours, heads of 64": own,
                "ours, heads of 8": ours(size, 8, precision, device)[0],
                "diffusers, its default heads of 8": diffusers(size, 8, precision, device),
                "diffusers, heads of 64": diffusers(size, 64, precision, device),
                "EDM's loop, heads of 64": edm(size, 64, precision, device),
            }
            if arguments.compiled:
                loops["ours, compiled"] = ours(size, 64, precision, device, compiled=True)[0]
            for step in loops.values():
                seconds(step, 2, device)
            rounds = [
                {name: seconds(step, arguments.steps, device) for name, step in loops.items()}
                for _ in range(arguments.rounds)
            ]
            for name in loops:
                ratios = quantiles([r[name] / r["ours, heads of 64"] for r in rounds], n=4)
                print(
                    f"| {parameters / 1e6:.1f} M, {SIZES[size][0]} | {precision} | {name} | {1000 * median(r[name] for r in rounds):.0f} | "
                    f"{ratios[1]:.2f} ({ratios[0]:.2f} to {ratios[2]:.2f}) |",
                    flush=True,
                )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"\nPeak memory of all loops together: {peak:.1f} GB"
        if device.type == "cpu"
        else f"\nPeak of the GPU: {torch.cuda.max_memory_allocated() / 2**30:.1f} GB"
    )


if __name__ == "__main__":
    main()
