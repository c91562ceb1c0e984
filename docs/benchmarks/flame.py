"""A training step as a flame graph: python docs/benchmarks/flame.py docs/pictures/training-step.svg [--sizes 8 28] [--steps 20] [--precision float32]

torch's profiler records the steps of our trainer on the networks of training.py; parts of the trainer and modules of the network mark what they run. Bars are as
wide as the time that they take, with what they call below them; calls of one name in one place are one bar. Also prints the share of each kind of work.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from torch import nn
from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile, record_function
from training import SIZES, trainer_of  # beside this script

from levy_core.training.trainer import Trainer

mpl.use("svg")
ENGINE = "autograd::engine::evaluate_function: "
KINDS = {  # beginnings of names of bars; what is below a bar is of its kind
    "convolution": ("Conv2d", "ConvolutionBackward"),
    "matrix products": ("Linear", "AddmmBackward", "MmBackward", "TBackward"),
    "attention without its products": ("scaled_dot_product_attention", "ScaledDotProduct"),
    "GroupNorm": ("GroupNorm", "NativeGroupNormBackward"),
    "SiLU": ("silu", "SiluBackward"),
    "optimiser": ("Optimizer.step", "Optimizer.zero_grad"),
    "average of the weights": ("_foreach_lerp_",),
    "clipping": ("_foreach_norm", "linalg_vector_norm", "_foreach_mul_"),
    "noise": ("noise",),
    "batch without noise": ("batch",),
}
COLOURS = dict(zip(KINDS, mpl.color_sequences["tab10"], strict=True))


@dataclass
class Bar:
    """Microseconds under a name, and what was called in them."""

    time: float = 0.0
    called: "dict[str, Bar]" = field(default_factory=dict)

    def add(self, event: FunctionEvent) -> None:
        self.time += event.time_range.elapsed_us()
        for child in event.cpu_children:
            if child.name.startswith(ENGINE):
                backward = self.called.setdefault("backward", Bar())
                backward.time += child.time_range.elapsed_us()
                backward.called.setdefault(child.name.removeprefix(ENGINE), Bar()).add(child)
            else:
                self.called.setdefault(child.name.removeprefix("aten::"), Bar()).add(child)


def mark(trainer: Trainer) -> None:
    """The network's modules and the parts of a batch record themselves."""
    opened: list[ExitStack] = []

    def enter(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        sides = next((a.shape[2:] for a in arguments if isinstance(a, torch.Tensor) and a.dim() == 4), ())
        name = "forward" if module is trainer.predictor else " ".join((type(module).__name__, *map(str, sides[:1])))
        opened.append(ExitStack())
        opened[-1].enter_context(record_function(name))

    def leave(module: nn.Module, arguments: tuple[Any, ...], answer: Any) -> None:
        opened.pop().close()

    for module in trainer.predictor.modules():
        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)
    for name in ("batch", "noise"):
        setattr(trainer.made, name, recorded(name, getattr(trainer.made, name)))


def recorded(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with its calls in the profile."""

    def call(*arguments: Any) -> Any:
        with record_function(name):
            return function(*arguments)

    return call


def measure(size: str, precision: str, steps: int) -> Bar:
    """The steps together, after three that warm up."""
    trainer = trainer_of(size, 64, precision, torch.device("cpu"))
    mark(trainer)
    run = trainer.run()
    for _ in range(3):
        next(run)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(steps):
            with record_function("step"):
                next(run)
    whole = Bar()
    for event in profiled.events():
        if event.name == "step":
            whole.add(event)
    return whole


def kind_of(name: str) -> str | None:
    """The kind of a bar that begins one."""
    return next((kind for kind, begins in KINDS.items() if name.startswith(begins)), None)


def shares(bar: Bar) -> Counter[str]:
    """Microseconds of each kind, each in its outermost bar; but noise, which a batch draws, is not in ``batch``."""
    found: Counter[str] = Counter()
    for name, called in bar.called.items():
        if kind := kind_of(name):
            noise = called.called.get("noise", Bar()).time
            found.update({kind: called.time - noise, "noise": noise} if noise else {kind: called.time})
        else:
            found += shares(called)
    return found


def bars(
    bar: Bar, left: float, depth: int, kind: str | None = None
) -> Iterator[tuple[str, float, float, int, str | None]]:
    """Names, where bars begin, their widths and depths, and their kinds; in the order of their first calls."""
    for name, called in bar.called.items():
        own = kind_of(name) or kind
        yield name, left, called.time, depth, own
        yield from bars(called, left, depth + 1, own)
        left += called.time


def draw(axes: Axes, whole: Bar, title: str, deepest: int = 6) -> None:
    """Bars below 0.3 % are left out."""
    axes.set_title(title, loc="left", fontsize=10)
    for name, left, width, depth, kind in bars(whole, 0.0, 0):
        share = width / whole.time
        if share < 0.003 or depth > deepest:
            continue
        colour = COLOURS[kind] if kind else "lightgrey"
        axes.barh(-depth, share, 0.92, left / whole.time, color=colour, alpha=0.65, edgecolor="white", linewidth=0.5)
        text = f"{name} {100 * share:.0f} %"
        if len(text) > (room := int(210 * share)):
            text = name[: max(0, room - 1)] + "…" if room > 4 else ""
        axes.text(left / whole.time + 0.001, -depth, text, va="center", fontsize=6, clip_on=True)
    axes.set_xlim(0, 1)
    axes.axis("off")


def main() -> None:
    """Writes the picture and prints Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--sizes", nargs="+", default=["8", "28"], choices=list(SIZES))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    arguments = parser.parse_args()
    measured = {size: measure(size, arguments.precision, arguments.steps) for size in arguments.sizes}
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "step", "font.family": "sans-serif"})
    figure, panels = plt.subplots(len(measured), 1, figsize=(13, 2.7 * len(measured)), squeeze=False)
    for (size, whole), axes in zip(measured.items(), panels[:, 0], strict=True):
        shape, *_, batch = SIZES[size]
        told = f"{' x '.join(map(str, shape))}, batch {batch}, {arguments.precision}"
        draw(axes, whole, f"{told}: {whole.time / arguments.steps / 1000:.0f} ms per step")
    patches = [mpl.patches.Patch(color=colour, alpha=0.65, label=kind) for kind, colour in COLOURS.items()]
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.legend(handles=patches, loc="lower center", ncols=len(patches), fontsize=7, frameon=False)
    figure.savefig(arguments.picture, metadata={"Date": None})
    found = {size: shares(whole) for size, whole in measured.items()}
    print("| share of a step | " + " | ".join(f"{' x '.join(map(str, SIZES[size][0]))}" for size in found) + " |")
    print("|---" * (len(found) + 1) + "|")
    for kind in KINDS:
        print(f"| {kind} | " + " | ".join(f"{100 * found[s][kind] / measured[s].time:.1f} %" for s in found) + " |")
    rest = (f"{100 * (1 - sum(found[s].values()) / measured[s].time):.1f} %" for s in found)
    print("| what else there is, with Python between | " + " | ".join(rest) + " |")


if __name__ == "__main__":
    main()
