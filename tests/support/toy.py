"""Two-dimensional toy data with rare modes, for trying a design in seconds."""

from math import cos, pi, sin

import numpy as np
import torch
from torch import Tensor

from levy_core.training.config import TrainConfig

RARE = 0.02  # share of the rarest mode of ``imbalanced_ring``
# Of a small network on the ring, in seconds.
TOY = TrainConfig(
    steps=500, batch=256, lr=2e-3, warmup=20, ema=0.99, clip=10.0, label_dropout=1.0, flip=False, seed=0, precision="float32"
)  # fmt: skip


def imbalanced_ring(
    n: int, seed: int, modes: int = 8, radius: float = 0.8, width: float = 0.04
) -> tuple[Tensor, Tensor]:
    """Points around a circle, the modes' shares falling geometrically; and the mode of each.

    Returns:
        float32 [n, 2] within about [-1, 1], int64 [n].
    """
    rng = np.random.default_rng(seed)
    shares = np.geomspace(1, RARE, modes)
    which = rng.choice(modes, n, p=shares / shares.sum())
    centres = np.array([(radius * cos(2 * pi * k / modes), radius * sin(2 * pi * k / modes)) for k in range(modes)])
    points = centres[which] + width * rng.standard_normal((n, 2))
    return torch.from_numpy(points.astype(np.float32)), torch.from_numpy(which)
