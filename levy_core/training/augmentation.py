"""Images shifted in training, with the network told by how much: samples, of which no shift is asked for, show none.

Source: Karras et al. (2022), appendix F.2 (arXiv 2206.00364), of which this is the translation.
"""

import torch
from torch import Tensor

from levy_core.base.seeds import generator

SHIFT = 2  # numbers that tell a shift: down and to the right, each per largest shift
SHARE = 0.5  # of the images; the others are as they are, which is what samples are asked to be


def draw_shifts(batch: int, largest: int, seed: int, step: int) -> Tensor:
    """Pixels down and to the right, int64 [B, 2]: uniform from -largest to largest in ``SHARE`` of the rows, else 0."""
    g = generator(seed, "shift", step)
    shifts = torch.randint(-largest, largest + 1, (batch, SHIFT), generator=g)
    return shifts * (torch.rand(batch, 1, generator=g) < SHARE)


def shift(images: Tensor, shifts: Tensor) -> Tensor:
    """Images [B, C, H, W] moved by ``shifts``, int64 [B, 2], smaller than both sides; what comes in is a reflection at the edge."""
    height, width = images.shape[-2:]
    rows, columns = (
        size - 1 - (size - 1 - (torch.arange(size) - moved[:, None]).abs()).abs()
        for size, moved in zip((height, width), shifts.unbind(1), strict=True)
    )
    each = torch.arange(len(images))
    return images[each[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
