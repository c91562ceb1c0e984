"""The U-Net of DDPM (Ho et al. 2020): weights, their names, their start and the output are those of diffusers' ``UNet2DModel``.

It stands here because importing that class brings torchvision, sympy, torch's compiler and sixty transformers, which took
more than half of the time from a look-up in the registry to its first sample and of the start of every stage; and because
what a stored model computes should not move with another package. A test holds it to diffusers, bit for bit.
"""

from collections.abc import Callable, Iterator
from math import log
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from levy_core.nets.labels import label_vectors

EPS = 1e-5
Convolution = type[nn.Conv2d]


def halve(x: Tensor) -> Tensor:
    """[B, C, 2 H, 2 W] -> [B, C, H, W], means of 2 x 2 cells."""
    return F.avg_pool2d(x, 2)


def double(x: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, C, 2 H, 2 W], each cell four times."""
    return F.interpolate(x, scale_factor=2.0, mode="nearest")


class Residual(nn.Module):
    """Norm, SiLU, convolution, twice; [B, C, H, W] -> [B, C', H, W].

    The embedding is added in between or, with ``scale_shift``, says by how much what the second norm gives is scaled and shifted.
    With ``resample`` (``halve`` or ``double``) what comes in and what the first convolution gets are of the next resolution, as in BigGAN and ADM.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        embedding: int,
        groups: int,
        dropout: float,
        convolution: Convolution,
        scale_shift: bool,
        resample: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        self.scale_shift, self.resample = scale_shift, resample
        self.norm1 = nn.GroupNorm(groups, inputs, EPS)
        self.conv1 = convolution(inputs, outputs, 3, padding=1)
        self.time_emb_proj = nn.Linear(embedding, outputs * (1 + scale_shift))
        self.norm2 = nn.GroupNorm(groups, outputs, EPS)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = convolution(outputs, outputs, 3, padding=1)
        self.conv_shortcut = convolution(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """``emb``: [B, E]."""
        h = F.silu(self.norm1(x))
        if self.resample is not None:
            x, h = self.resample(x), self.resample(h)
        h, told = self.conv1(h), self.time_emb_proj(F.silu(emb))[:, :, None, None]
        if self.scale_shift:
            scale, shift = told.chunk(2, dim=1)
            h = self.norm2(h) * (1 + scale) + shift
        else:
            h = self.norm2(h + told)
        if self.training and isinstance(self.conv_shortcut, nn.Conv2d):
            x = x.contiguous()  # attention leaves channels last; the gradient's layout would follow, which DDP warns of
        return self.conv_shortcut(x) + self.conv2(self.dropout(F.silu(h)))


class SelfAttention(nn.Module):
    """Every cell attends to every cell; [B, C, H, W] -> the same."""

    def __init__(self, channels: int, groups: int, head_channels: int):
        super().__init__()
        self.heads = max(1, channels // head_channels)
        self.group_norm = nn.GroupNorm(groups, channels, EPS)
        self.to_q, self.to_k, self.to_v = (nn.Linear(channels, channels) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(channels, channels)])

    def forward(self, x: Tensor) -> Tensor:
        cells = self.group_norm(x.flatten(2)).transpose(1, 2)  # [B, H W, C]
        q, k, v = (to(cells).unflatten(2, (self.heads, -1)).transpose(1, 2) for to in (self.to_q, self.to_k, self.to_v))
        found = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return (
            self.to_out[0](found).transpose(1, 2).reshape(x.shape) + x
        )  # in this order: the sum has the layout of the first


class Resample(nn.Module):
    """Twice as coarse or twice as fine."""

    def __init__(self, channels: int, finer: bool, convolution: Convolution):
        super().__init__()
        self.finer = finer
        self.conv = convolution(channels, channels, 3, stride=1 if finer else 2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, 2 H, 2 W] or [B, C, H / 2, W / 2]."""
        return self.conv(double(x) if self.finer else x)


class Level(nn.Module):
    """The layers of one resolution; ``inputs`` are the channels that each layer gets."""

    def __init__(
        self,
        inputs: list[int],
        outputs: int,
        attends: list[bool],
        embedding: int,
        groups: int,
        dropout: float,
        convolution: Convolution,
        head_channels: int,
        scale_shift: bool,
    ):
        super().__init__()
        layers = []
        for channels, attention in zip(inputs, attends, strict=True):  # in the order in which diffusers draws weights
            residual = Residual(channels, outputs, embedding, groups, dropout, convolution, scale_shift)
            layers.append((residual, SelfAttention(outputs, groups, head_channels) if attention else nn.Identity()))
        self.attentions = nn.ModuleList([attention for _, attention in layers])
        self.resnets = nn.ModuleList([residual for residual, _ in layers])


def _layers(level: nn.Module) -> Iterator[tuple[nn.Module, nn.Module]]:
    found = cast(Level, level)
    return zip(found.resnets, found.attentions, strict=True)


class Backbone(nn.Module):
    """The whole network: [B, inputs, H, W] -> [B, outputs, H, W].

    Args:
        channels: one entry per resolution, multiples of ``groups``. layers: per resolution on the way down; one more on the way up.
        attends: which resolutions attend; with any, the middle does too. labels: how many there are.
        head_channels: of an attention head; narrower layers have one head.
        scale_shift: whether the embedding scales and shifts what norms give (ADM, Dhariwal and Nichol 2021, arXiv 2105.05233) or is added (DDPM).
        residual_resampling: whether a residual layer goes to the next resolution (ADM) or a convolution (DDPM).
        convolution: the class of every convolution, with the parameters of ``nn.Conv2d``.
        augment: numbers that tell how a sample was augmented. label_numbers: those that tell labels apart, 0: each has a vector of its own.

    Attributes:
        checkpointing: whether training keeps what comes into a layer alone and computes the rest again for its gradient (Chen et al. 2016,
            arXiv 1604.06174): the same gradients, bit for bit, for less memory and one more forward pass.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        channels: tuple[int, ...],
        layers: int,
        attends: list[bool],
        groups: int,
        dropout: float,
        labels: int,
        head_channels: int = 8,
        scale_shift: bool = False,
        convolution: Convolution = nn.Conv2d,
        augment: int = 0,
        label_numbers: int = 0,
        residual_resampling: bool = False,
    ):
        super().__init__()
        self.checkpointing = False
        first, last, embedding = channels[0], channels[-1], 4 * channels[0]
        common = (embedding, groups, dropout, convolution, head_channels, scale_shift)

        def resampler(width: int, finer: bool) -> nn.ModuleList:
            if not residual_resampling:
                return nn.ModuleList([Resample(width, finer, convolution)])
            resample = double if finer else halve
            return nn.ModuleList(
                [Residual(width, width, embedding, groups, dropout, convolution, scale_shift, resample)]
            )

        self.conv_in = convolution(inputs, first, 3, padding=1)
        self.time_embedding = nn.ModuleDict(
            {"linear_1": nn.Linear(first, embedding), "linear_2": nn.Linear(embedding, embedding)}
        )
        self.class_embedding = label_vectors(labels, label_numbers, embedding)
        self.down_blocks, self.up_blocks = nn.ModuleList(), nn.ModuleList()
        skip_widths = [first]  # channels of what the way down keeps for the way up
        for i, width in enumerate(channels):
            level = Level([skip_widths[-1]] + [width] * (layers - 1), width, [attends[i]] * layers, *common)
            skip_widths += [width] * layers
            if i < len(channels) - 1:
                level.downsamplers = resampler(width, finer=False)
                skip_widths.append(width)
            self.down_blocks.append(level)
        self.mid_block = Level([last, last], last, [any(attends), False], *common)
        below = last
        for i, width in reversed(list(enumerate(channels))):
            widths = [below] + [width] * layers
            level = Level([w + skip_widths.pop() for w in widths], width, [attends[i]] * (layers + 1), *common)
            if i > 0:
                level.upsamplers = resampler(width, finer=True)
            self.up_blocks.append(level)
            below = width
        self.conv_norm_out = nn.GroupNorm(groups, first, EPS)
        self.conv_out = convolution(first, outputs, 3, padding=1)
        if augment:  # without a constant, so that 0 says the same as nothing
            self.augment_embedding = nn.Linear(augment, embedding, bias=False)

    def forward(self, x: Tensor, time: Tensor, label: Tensor, augment: Tensor | None = None) -> Tensor:
        """``time``: float32 [B]; ``label``: int64 [B]; ``augment``: float32 [B, augment], None: 0."""
        emb = self._embedding(time, label)
        if augment is not None:
            emb = emb + self.augment_embedding(augment)
        x = self.conv_in(x)
        skips = [x]
        for level in self.down_blocks:
            for layer in _layers(level):
                x = self._through(layer, x, emb)
                skips.append(x)
            for down in getattr(level, "downsamplers", ()):
                x = self._to_next(down, x, emb)
                skips.append(x)
        for layer in _layers(self.mid_block):
            x = self._through(layer, x, emb)
        for level in self.up_blocks:
            for layer in _layers(level):
                x = self._through(layer, torch.cat([x, skips.pop()], dim=1), emb)
            for up in getattr(level, "upsamplers", ()):
                x = self._to_next(up, x, emb)
        return self.conv_out(F.silu(self.conv_norm_out(x)))

    def _to_next(self, resampler: nn.Module, x: Tensor, emb: Tensor) -> Tensor:
        """To the next resolution."""
        return self._through((resampler, nn.Identity()), x, emb) if isinstance(resampler, Residual) else resampler(x)

    def _through(self, layer: tuple[nn.Module, nn.Module], x: Tensor, emb: Tensor) -> Tensor:
        residual, attention = layer
        if not (self.checkpointing and torch.is_grad_enabled()):
            return attention(residual(x, emb))
        return cast(Tensor, checkpoint(lambda x, emb: attention(residual(x, emb)), x, emb, use_reentrant=False))

    def _embedding(self, time: Tensor, label: Tensor) -> Tensor:
        """Cosines and sines of the time, through two layers, plus the label's own vector."""
        first, second = cast(nn.Linear, self.time_embedding["linear_1"]), self.time_embedding["linear_2"]
        half = first.in_features // 2
        frequencies = torch.exp(-log(10_000) * torch.arange(half, dtype=torch.float32, device=time.device) / half)
        angles = time[:, None].float() * frequencies
        waves = torch.cat([angles.cos(), angles.sin()], dim=1).to(first.weight.dtype)
        return second(F.silu(first(waves))) + self.class_embedding(label)
