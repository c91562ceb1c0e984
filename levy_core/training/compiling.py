"""The network of a training, compiled by torch.compile: fewer and larger kernels, for a minute or so at the start."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

PAYS_FROM = (
    5_000  # steps: some 20 ms saved in each are as long as compiling a network of tens of millions of parameters
)


def resolve_compile(wanted: bool | Literal["auto"], device: torch.device, steps: int) -> bool:
    """Whether a training of so many steps is compiled; "auto" compiles on a GPU where it should pay."""
    return device.type == "cuda" and steps >= PAYS_FROM if wanted == "auto" else wanted


def compile_network(net: nn.Module, attempt: Callable[[], object]) -> str:
    """Compiles a network in place, under its own names, if ``attempt``, which runs it forwards and backwards, then succeeds.

    Returns:
        Why it was left as it was, in one line; empty if it is compiled.
    """
    if getattr(net, "checkpointing", False) and any(isinstance(m, nn.Dropout) and m.p > 0 for m in net.modules()):
        return "where layers are computed again (train.checkpointing), compiled dropout draws other masks"
    net.compile(
        options={"fallback_random": True, "deterministic": True}
    )  # masks of dropout as without; no choice of kernels by time
    try:
        attempt()
    except Exception as error:  # of many kinds: no compiler, one that fails, an operation that is not known
        net._compiled_call_impl = None  # torch has no call that undoes ``compile``
        return next((line for line in map(str.strip, str(error).splitlines()) if line), type(error).__name__)
    return ""
