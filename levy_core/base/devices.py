"""Tensors on their way to where they are used."""

import torch
from torch import Tensor


def send(t: Tensor, device: torch.device) -> Tensor:
    """t on a device; a GPU copies while the processor goes on."""
    if device.type == "cuda" and t.device.type == "cpu":
        return t.pin_memory().to(device, non_blocking=True)
    return t.to(device)
