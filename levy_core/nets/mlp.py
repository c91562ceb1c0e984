"""A small network for points: coefficients of a latent, toy data, checks of a design in seconds."""

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor, nn

from levy_core.base.conditions import LABEL, Condition
from levy_core.nets.labels import label_vectors
from levy_core.nets.size import Size


@dataclass(frozen=True)
class MLPConfig(Size):
    """Size of the network; label ``classes`` means 'no class'."""

    shape: tuple[int, ...]  # (d,)
    classes: int = 0
    width: int = 128
    depth: int = 3
    heads: int = 1  # predictions of d values each
    label_numbers: int = 0  # as of ``UNetConfig``


class MLP(nn.Module):
    """[B, d] -> [B, heads d], conditional on log rho (sines of eight frequencies) and on a class label."""

    def __init__(self, config: MLPConfig):
        super().__init__()
        (d,) = config.shape
        self.config = config
        self.frequencies: Tensor
        self.register_buffer("frequencies", 2 ** torch.linspace(-3, 1, 8) * pi, persistent=False)
        self.enter = nn.Linear(d + 16, config.width)
        self.label = label_vectors(config.classes + 1, config.label_numbers, config.width)
        self.hidden = nn.ModuleList(nn.Linear(config.width, config.width) for _ in range(config.depth))
        self.leave = nn.Linear(config.width, config.heads * d)

    def forward(self, x: Tensor, log_rho: Tensor, cond: Condition) -> Tensor:
        phase = log_rho[:, None] * self.frequencies
        h = self.enter(torch.cat([x, phase.sin(), phase.cos()], dim=1)) + self.label(cond[LABEL])
        for layer in self.hidden:
            h = h + nn.functional.silu(layer(nn.functional.silu(h)))
        return self.leave(h)
