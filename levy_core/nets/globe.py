"""What a network needs to know of the globe: where a field continues, and where its cells lie."""

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
