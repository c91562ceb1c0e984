"""What does not depend on the kind of network."""

from typing import Literal

import torch
from torch import nn

Precision = Literal["float32", "bfloat16"]


def parameter_count(net: nn.Module) -> int:
    """Number of trainable values."""
    return sum(p.numel() for p in net.parameters())


def resolve_precision(precision: Precision | Literal["auto"], device: torch.device) -> Precision:
    """ "float32" or "bfloat16": what ``precision`` is on this processor, where "auto" is bfloat16 if it computes in that itself."""
    if precision != "auto":
        return precision
    return "bfloat16" if bf16_supported(device) else "float32"


def bf16_supported(device: torch.device) -> bool:
    """Whether this processor computes in bfloat16 itself; where it only emulates, autocast makes training slower."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
