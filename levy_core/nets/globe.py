"""What a network needs to know of the globe: where a field continues, where its cells lie, and what is always the same of them."""

from abc import abstractmethod
from itertools import product
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from levy_core.base.conditions import PLACE, Condition, repeat
from levy_core.base.errors import LevyError
from levy_core.base.patches import Cover, Patches

TOGETHER = 2**14  # cells of patches of one field that a network sees at a time, at most; of at least one patch


def pad_indices(size: int, multiple: int, wraps: bool = False) -> Tensor:
    """Indices that lengthen an axis to the next multiple, int64: its last cell again, or round the globe from its first."""
    index = torch.arange(-(-size // multiple) * multiple)
    return index % size if wraps else index.clamp(max=size - 1)


class RoundConv(nn.Conv2d):
    """A convolution whose last axis is closed: what it needs beyond one end is at the other. Zeros beyond the poles.

    In a network of nothing else a shift along the last axis by a multiple of the coarsest stride shifts the output: upsampling,
    attention without positions and group norms commute with it already.
    """

    def forward(self, x: Tensor) -> Tensor:
        poleward, around = (int(side) for side in self.padding)
        x = F.pad(x, (around, around, 0, 0), mode="circular")
        return F.conv2d(x, self.weight, self.bias, self.stride, (poleward, 0), self.dilation, self.groups)


class PlaceConfig(Protocol):
    """What the configuration of a network on cells says of the places that it is told, and of the part of a field that it sees at a time."""

    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def coordinates(self) -> bool: ...
    @property
    def static(self) -> int: ...
    @property
    def wraps(self) -> bool: ...
    @property
    def patches(self) -> Patches | None: ...


def seen_at_a_time(config: PlaceConfig) -> tuple[int, int, bool]:
    """Height and width of what a network sees at a time, and whether its last axis is closed."""
    _, height, width = config.shape
    if config.patches is None:
        return height, width, config.wraps
    return *config.patches.side, config.wraps and config.patches.side[1] == width


class OnPlaces(nn.Module):
    """A network that is told what is the same of each cell in all samples, as channels beside them: where it lies, static fields.

    With ``config.patches`` it sees patches of a field. Of samples with an entry ``PLACE`` in their condition, as training has them, that is all. Of whole fields it
    sees patches that cover them, and what it says of a cell is the mean over the patches that have it, by ``Cover.weights`` (Bar-Tal et al.
    2023, MultiDiffusion, arXiv 2302.08113). ``TOGETHER`` bounds what that takes, also with a gradient by the field, for which patches are seen again.

    Attributes:
        cover: None where the network sees whole fields.
    """

    def tell_places(
        self, config: PlaceConfig, latitude: np.ndarray | None, longitude: np.ndarray | None, static: np.ndarray | None
    ) -> int:
        """Keeps these channels among what is saved with the weights; NaN where not given, to be filled by ``load_state_dict``.

        Returns:
            how many channels they are.

        Raises:
            LevyError: as ``coordinate_channels``, ``static_channels`` and ``Cover``.
        """
        _, height, width = config.shape
        self.cover = Cover.of(config.patches, config.shape, config.wraps)
        self.places: list[str] = []
        if config.coordinates:
            self._keep("coordinates", coordinate_channels(height, width, latitude, longitude))
        if config.static:
            self._keep("static", static_channels((config.static, height, width), static))
        return sum(len(self.get_buffer(name)) for name in self.places)

    @abstractmethod
    def see(self, x: Tensor, log_rho: Tensor, cond: Condition) -> Tensor:
        """The raw output [B, heads C, h, w] of samples with their channels of places, [B, C + those, h, w]."""

    def forward(self, x: Tensor, log_rho: Tensor, cond: Condition) -> Tensor:
        """The raw network output [B, heads C, H, W] of samples [B, C, H, W], or of patches of them."""
        if self.cover is None or PLACE in cond:
            return self.see(self.with_places(x, cond.get(PLACE)), log_rho, cond)
        return self._see_whole(self.cover, x, log_rho, cond)

    def with_places(self, x: Tensor, at: Tensor | None = None) -> Tensor:
        """[B, C, H, W] -> [B, C + channels of places, H, W]; ``at``: where patches begin, int64 [B, 2]."""
        if not self.places:
            return x
        told = (self.get_buffer(name).to(x) for name in self.places)
        if self.cover is None or at is None:
            return torch.cat([x, *(channels.expand(len(x), -1, -1, -1) for channels in told)], dim=1)
        return torch.cat([x, *(self.cover.cut(channels, at) for channels in told)], dim=1)

    def _see_whole(self, cover: Cover, x: Tensor, log_rho: Tensor, cond: Condition) -> Tensor:
        (h, w), (height, width) = cover.patches.side, x.shape[-2:]
        seen = self.with_places(x)
        seen = torch.cat([seen, seen[..., :w]], dim=-1) if cover.closed else seen  # patches go on beyond the date line
        weights = list(product(*(weights.to(x) for weights in cover.weights)))
        differentiated = torch.is_grad_enabled() and x.requires_grad
        number = max(1, TOGETHER // (h * w))
        whole: Tensor | None = None
        for first in range(0, len(weights), number):
            places = cover.places[first : first + number]
            parts = torch.cat([seen[..., row : row + h, column : column + w] for row, column in places])
            asked = parts, log_rho.repeat(len(places)), repeat(cond, len(places))
            made = checkpoint(self.see, *asked, use_reentrant=False) if differentiated else self.see(*asked)
            made = cast(Tensor, made)
            if whole is None:
                whole = x.new_zeros(len(x), made.shape[1], height, seen.shape[-1])
            for (row, column), (down, across), part in zip(
                places, weights[first:], made.chunk(len(places)), strict=False
            ):
                whole[..., row : row + h, column : column + w] += down[:, None] * across * part
        assert whole is not None
        if cover.closed:
            whole[..., :w] += whole[..., width:]
        return whole[..., :width]

    def _keep(self, name: str, channels: Tensor) -> None:
        self.register_buffer(name, channels)
        self.places.append(name)


def static_channels(shape: tuple[int, int, int], static: np.ndarray | None) -> Tensor:
    """Static fields, float32 [K, H, W]; NaN if not given.

    Raises:
        LevyError: another shape.
    """
    if static is None:
        return torch.full(shape, float("nan"))
    if static.shape != shape:
        raise LevyError(
            f"static fields of shape {list(static.shape)} were given to a network that expects {list(shape)}: run the prepare stage again"
        )
    return torch.from_numpy(static).float()


def coordinate_channels(height: int, width: int, latitude: np.ndarray | None, longitude: np.ndarray | None) -> Tensor:
    """sin(latitude), cos(longitude), sin(longitude), float32 [3, H, W]: continuous at the date line; NaN if not given.

    Args:
        latitude, longitude: degrees, [H] and [W] of a grid, both [H, W] of a curved one, or both [W] of W places (H = 1).

    Raises:
        LevyError: shapes that belong to none of these.
    """
    if latitude is None or longitude is None:
        return torch.full((3, height, width), float("nan"))
    phi, theta = (np.deg2rad(np.asarray(degrees, float)) for degrees in (latitude, longitude))
    if (phi.shape, theta.shape) == ((height,), (width,)):
        phi = phi[:, None]
    elif phi.shape != theta.shape or phi.shape not in ((height, width), (width,) if height == 1 else (height, width)):
        raise LevyError(
            f"{_by(phi)} latitudes and {_by(theta)} longitudes were given for fields of {height} x {width}: "
            f"give {height} and {width}, of a curved grid one of each per cell, or, for places, one of each per place"
        )
    channels = np.broadcast_arrays(np.sin(phi), np.cos(theta), np.sin(theta), np.empty((height, width)))[:3]
    return torch.from_numpy(np.stack(channels)).float()


def _by(degrees: np.ndarray) -> str:
    return " x ".join(map(str, degrees.shape))
