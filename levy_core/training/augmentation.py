"""Images shifted and recoloured in training, with the network told by how much: samples, of which none of it is asked for, show none.

Source: Karras et al. (2022), appendix F.2 (arXiv 2206.00364), of which this is the translation.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from levy_core.base.seeds import generator

SHIFT = 2  # numbers that tell a shift: down and to the right, each per largest shift
COLOUR = 3  # numbers that tell a colour: brightness, contrast and saturation, each per spread
SHARE = 0.5  # of the images; the others are as they are, which is what samples are asked to be


@dataclass(frozen=True)
class Augmentation:
    """How images are augmented.

    Args:
        crop: pixels that they are shifted by, at most; 0: not. colour: spread of brightness (of values that span 2), and of the logarithms of
            contrast and saturation; 0: as they are.
    """

    crop: int = 0
    colour: float = 0.0

    @property
    def numbers(self) -> int:
        """That tell the network of one image."""
        return SHIFT * (self.crop > 0) + COLOUR * (self.colour > 0)

    def draw(self, batch: int, seed: int, step: int) -> Tensor:
        """What the network is told of each image of a step, float32 [B, numbers]."""
        shifts = [draw_shifts(batch, self.crop, seed, step) / self.crop] if self.crop else []
        return torch.cat([*shifts, *[draw_colours(batch, seed, step)] * (self.colour > 0)], 1)

    def apply(self, images: Tensor, told: Tensor) -> Tensor:
        """Images [B, C, H, W] as what was told says of each, [B, numbers]."""
        if self.crop:
            images = shift(images, (told[:, :SHIFT] * self.crop).round().long())
        return recolour(images, self.colour * told[:, -COLOUR:]) if self.colour else images


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


def draw_colours(batch: int, seed: int, step: int) -> Tensor:
    """Brightness, contrast and saturation, float32 [B, 3]: standard normal in ``SHARE`` of the rows, else 0."""
    g = generator(seed, "colour", step)
    return torch.randn(batch, COLOUR, generator=g) * (torch.rand(batch, 1, generator=g) < SHARE)


def recolour(images: Tensor, colours: Tensor) -> Tensor:
    """Images [B, C, H, W] of values from -1 to 1, which may leave that range, by ``colours`` [B, 3]: what is added, and the logarithms of the
    factors of what differs from mid-grey and of what differs from the mean of the channels, where there are several."""
    brightness, contrast, saturation = (amounts.view(-1, 1, 1, 1) for amounts in colours.unbind(1))
    images = images * contrast.exp() + brightness
    if images.shape[1] == 1:
        return images
    grey = images.mean(1, keepdim=True)
    return grey + (images - grey) * saturation.exp()
