"""What a network needs to know of the globe: where a field continues, where its cells lie, and what is always the same of them."""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from levy_core.base.errors import LevyError


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
    """What the configuration of a network on cells says of the places that it is told."""

    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def coordinates(self) -> bool: ...
    @property
    def static(self) -> int: ...


class OnPlaces(nn.Module):
    """A network that is told what is the same of each cell in all samples, as channels beside them: where it lies, static fields."""

    def tell_places(
        self, config: PlaceConfig, latitude: np.ndarray | None, longitude: np.ndarray | None, static: np.ndarray | None
    ) -> int:
        """Keeps these channels among what is saved with the weights; NaN where not given, to be filled by ``load_state_dict``.

        Returns:
            how many channels they are.

        Raises:
            LevyError: as ``coordinate_channels`` and ``static_channels``.
        """
        _, height, width = config.shape
        self.places: list[str] = []
        if config.coordinates:
            self._keep("coordinates", coordinate_channels(height, width, latitude, longitude))
        if config.static:
            self._keep("static", static_channels((config.static, height, width), static))
        return sum(len(self.get_buffer(name)) for name in self.places)

    def with_places(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C + channels of places, H, W]."""
        if not self.places:
            return x
        told = (self.get_buffer(name).to(x).expand(len(x), -1, -1, -1) for name in self.places)
        return torch.cat([x, *told], dim=1)

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
