"""A diffusion transformer (DiT, Peebles and Xie 2023, arXiv 2212.09748, with adaLN-Zero) with the project's calling convention.

It computes what diffusers' ``DiTTransformer2DModel`` computes, without its imports (``levy_core.nets.backbone`` says what those cost), for sides
that differ, and with one embedding of noise level and class where diffusers keeps a copy in every block: so it has as many parameters as were published.
"""

from dataclasses import dataclass
from math import log, pi
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from levy_core.base.conditions import AUGMENT, LABEL, Condition
from levy_core.base.errors import LevyError
from levy_core.base.patches import Patches
from levy_core.nets.globe import OnPlaces, seen_at_a_time
from levy_core.nets.labels import label_vectors
from levy_core.nets.size import Size

WAVES = 256  # numbers that tell a noise level, before the layers of its embedding
EPS = 1e-6


@dataclass(frozen=True)
class DiTConfig(Size):
    """Size of the network.

    ``hidden``: channels of a patch of ``patch`` by ``patch`` cells; ``layers``: blocks; ``head_channels``: of an attention head. ``classes``, ``wraps``,
    ``coordinates``, ``static``, ``label_numbers``, ``heads``, ``augment`` and ``patches`` (of which the transformer's own are parts) are those of ``UNetConfig``.
    """

    shape: tuple[int, int, int]  # C, H, W
    classes: int
    hidden: int
    layers: int
    patch: int = 2
    head_channels: int = 64
    wraps: bool = False
    coordinates: bool = False
    heads: int = 1
    augment: int = 0
    static: int = 0
    label_numbers: int = 0
    patches: Patches | None = None


class Embedding(nn.Module):
    """Noise level and class as one vector: [B], int64 [B] -> [B, D]."""

    def __init__(self, hidden: int, labels: int, augment: int, label_numbers: int):
        super().__init__()
        self.linear_1 = nn.Linear(WAVES, hidden)
        self.linear_2 = nn.Linear(hidden, hidden)
        self.label = label_vectors(labels, label_numbers, hidden)
        if augment:  # without a constant, so that 0 says the same as nothing
            self.augment = nn.Linear(augment, hidden, bias=False)

    def forward(self, time: Tensor, label: Tensor, augment: Tensor | None = None) -> Tensor:
        half = WAVES // 2
        frequencies = torch.exp(-log(10_000) * torch.arange(half, dtype=torch.float32, device=time.device) / (half - 1))
        angles = time[:, None].float() * frequencies
        waves = torch.cat([angles.cos(), angles.sin()], dim=1).to(self.linear_1.weight.dtype)
        found = self.linear_2(F.silu(self.linear_1(waves))) + self.label(label)
        return found if augment is None else found + self.augment(augment)


class Block(nn.Module):
    """Attention of every patch to every patch, then two layers for each; the embedding scales and shifts what comes in, and gates what comes out: [B, N, D] -> the same."""

    def __init__(self, hidden: int, heads: int):
        super().__init__()
        self.heads = heads
        self.modulation = nn.Linear(hidden, 6 * hidden)
        self.to_q, self.to_k, self.to_v, self.to_out = (nn.Linear(hidden, hidden) for _ in range(4))
        self.enter, self.leave = nn.Linear(hidden, 4 * hidden), nn.Linear(4 * hidden, hidden)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """``emb``: after SiLU, [B, D]."""
        shift, scale, gate, shift_after, scale_after, gate_after = self.modulation(emb)[:, None].chunk(6, dim=2)
        told = _norm(x) * (1 + scale) + shift
        q, k, v = (to(told).unflatten(2, (self.heads, -1)).transpose(1, 2) for to in (self.to_q, self.to_k, self.to_v))
        x = x + gate * self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        told = _norm(x) * (1 + scale_after) + shift_after
        return x + gate_after * self.leave(F.gelu(self.enter(told), approximate="tanh"))


def _norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=EPS)


class DiT(OnPlaces):
    """[B, C, H, W] -> [B, heads C, H, W], conditional on log rho, on a class label and, with ``config.augment``, on how a sample was augmented.

    Where the last axis goes round the globe, positions along it do, too: their frequencies are the nearest that close.

    Args:
        latitude, longitude, static: as for ``UNet``.

    Attributes:
        checkpointing: as of ``Backbone``, by block.

    Raises:
        LevyError: sides that patches do not fill, channels that heads or positions do not divide, or coordinates
            or static fields that do not fit the shape.
    """

    def __init__(
        self,
        config: DiTConfig,
        latitude: np.ndarray | None = None,
        longitude: np.ndarray | None = None,
        static: np.ndarray | None = None,
    ):
        super().__init__()
        channels = config.shape[0]
        height, width, closed = seen_at_a_time(config)
        patch, hidden, heads = config.patch, config.hidden, max(1, config.hidden // config.head_channels)
        if height % patch or width % patch:
            raise LevyError(
                f"a DiT cuts samples into patches of {patch} x {patch}, which do not fill {height} x {width}: set net.patch to a number that "
                "divides both sides, or choose a U-Net in net.name"
            )
        if hidden % 4 or hidden % heads:
            raise LevyError(
                f"net.hidden is {hidden}, but it must be a multiple of 4 and of its {heads} heads of about net.head_channels {config.head_channels}: "
                f"make it a multiple of {config.head_channels}"
            )
        self.config, self.checkpointing = config, False
        self.positions: Tensor
        self.register_buffer(
            "positions", position_waves(height // patch, width // patch, hidden, closed), persistent=False
        )
        told = self.tell_places(config, latitude, longitude, static)
        self.conv_in = nn.Conv2d(channels + told, hidden, patch, stride=patch)
        self.embedding = Embedding(hidden, config.classes + 1, config.augment, config.label_numbers)
        self.blocks = nn.ModuleList([Block(hidden, heads) for _ in range(config.layers)])
        self.modulation_out = nn.Linear(hidden, 2 * hidden)
        self.proj_out = nn.Linear(hidden, patch * patch * channels * config.heads)
        self._initialise()

    def _initialise(self) -> None:
        """As published: every block begins as the identity, and the network as 0."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.xavier_uniform_(self.conv_in.weight.view(self.config.hidden, -1))
        nn.init.zeros_(cast(Tensor, self.conv_in.bias))
        told = [
            p for layer in ("label", "linear_1", "linear_2") for p in self.embedding.get_submodule(layer).parameters()
        ]
        for weight in (p for p in told if p.dim() > 1):
            nn.init.normal_(weight, std=0.02)
        modulations = [cast(Block, block).modulation for block in self.blocks]
        for layer in (*modulations, self.modulation_out, self.proj_out):
            nn.init.zeros_(layer.weight)

    def see(self, x: Tensor, log_rho: Tensor, cond: Condition) -> Tensor:
        """See ``OnPlaces``. 250 log rho spreads the noise levels over the sinusoidal embedding's range."""
        patch, (rows, columns) = self.config.patch, (side // self.config.patch for side in x.shape[-2:])
        emb = F.silu(self.embedding(250 * log_rho, cond[LABEL], cond.get(AUGMENT) if self.config.augment else None))
        x = self.conv_in(x).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            x = self._through(block, x, emb)
        shift, scale = self.modulation_out(emb)[:, None].chunk(2, dim=2)
        out = self.proj_out(_norm(x) * (1 + scale) + shift)
        out = out.unflatten(2, (patch, patch, -1)).unflatten(1, (rows, columns))
        return torch.einsum("nhwpqc->nchpwq", out).flatten(4).flatten(2, 3)

    def _through(self, block: nn.Module, x: Tensor, emb: Tensor) -> Tensor:
        if not (self.checkpointing and torch.is_grad_enabled()):
            return block(x, emb)
        return cast(Tensor, checkpoint(block, x, emb, use_reentrant=False))


def position_waves(rows: int, columns: int, hidden: int, wraps: bool) -> Tensor:
    """Sines and cosines of the places of patches, float32 [rows columns, hidden]: half of them of the column, half of the row."""
    frequencies = 10_000.0 ** (-torch.arange(hidden // 4, dtype=torch.float64) / (hidden // 4))
    closing = 2 * pi / columns
    around = (frequencies / closing).round().clamp(min=1) * closing if wraps else frequencies

    def waves(places: Tensor, frequencies: Tensor) -> Tensor:
        angles = places.double()[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=1)

    across = waves(torch.arange(columns).repeat(rows), around)
    down = waves(torch.arange(rows).repeat_interleave(columns), frequencies)
    return torch.cat([across, down], dim=1).float()
