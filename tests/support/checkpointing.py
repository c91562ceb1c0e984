"""What a network keeps for its gradients, without checkpointing and with it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def answers_of(net: nn.Module, answer: Callable[[], Tensor]) -> list[tuple[Tensor, list[Tensor], int]]:
    """The answer, the gradients of the sum of its squares, and bytes that were kept for them: without checkpointing, then with."""
    found = []
    for net.checkpointing in (False, True):
        kept = 0

        def keep(t: Tensor) -> Tensor:
            nonlocal kept
            kept += t.numel() * t.element_size()
            return t

        net.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
            found_answer = answer()
        found_answer.float().square().sum().backward()
        found.append((found_answer.detach(), [p.grad.clone() for p in net.parameters()], kept))
    return found
