"""Networks by name: published configurations, as settings of this project's networks.

What a row does not say is as the network's settings class has it; what the data decide (shape, classes, coordinates) is in no row.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

# Settings of each kind of network that a person may choose: the others follow from the data and the design.
CHOICES = {
    "unet": ("channels", "layers", "attention", "head_channels", "scale_shift", "residual_resampling", "dropout"),
    "dit": ("hidden", "layers", "head_channels", "patch"),
}


@dataclass(frozen=True)
class Named:
    """A row: the kind of the network, its settings, and the parameters in millions that were published for a sample's shape and a number of classes."""

    kind: str
    settings: Mapping[str, Any]
    published: float | None = None
    of: tuple[tuple[int, int, int], int] = field(default=((3, 32, 32), 0))


def _dit(hidden: int, layers: int, published: float, head_channels: int = 64) -> Named:
    """A size of DiT (Peebles and Xie 2023, arXiv 2212.09748, table 1), counted for latents of ImageNet, which it also gives a variance."""
    settings = {"hidden": hidden, "layers": layers, "head_channels": head_channels, "patch": 2}
    return Named("dit", settings, published, ((4, 32, 32), 1000))


def _adm(
    width: int, multiples: tuple[int, ...], layers: int, side: int, published: float, dropout: float = 0.0
) -> Named:
    """ADM of ImageNet (Dhariwal and Nichol 2021, arXiv 2105.05233, table 11), which also gives a variance; it attends at 32, 16 and 8 cells along a side."""
    settings = {
        "channels": [width * multiple for multiple in multiples],
        "layers": layers,
        "attention": [side // 2**level <= 32 for level in range(len(multiples))],
        "head_channels": 64,
        "groups": 32,
        "scale_shift": True,
        "residual_resampling": True,
        "dropout": dropout,
    }
    return Named("unet", settings, published, ((3, side, side), 1000))


NAMED: dict[str, Named] = {
    "small": Named("unet", {"channels": [16, 32], "layers": 1, "attention": [False, False], "head_channels": 64}),
    # Ho et al. 2020, arXiv 2006.11239, appendix B: CIFAR-10.
    "ddpm-32": Named(
        "unet",
        {
            "channels": [128, 256, 256, 256], "layers": 2, "attention": [False, True, False, False], "head_channels": 256, "groups": 32, "dropout": 0.1,
        },
        35.7,
    ),
    # The same, LSUN and CelebA-HQ.
    "ddpm-256": Named(
        "unet",
        {
            "channels": [128, 128, 256, 256, 512, 512], "layers": 2, "attention": [False, False, False, False, True, False], "head_channels": 512,
            "groups": 32,
        },
        114.0,
        ((3, 256, 256), 0),
    ),
    # Nichol and Dhariwal 2021, arXiv 2102.09672: ImageNet at 64 x 64, base width 128; heads of 64 channels, as ADM's, in place of four heads.
    "iddpm-64": Named(
        "unet",
        {
            "channels": [128, 256, 384, 512], "layers": 3, "attention": [False, False, True, True], "head_channels": 64, "groups": 32, "scale_shift": True,
        },
        120.0,
        ((3, 64, 64), 1000),
    ),
    "adm-64": _adm(192, (1, 2, 3, 4), 3, 64, 295.9, dropout=0.1),
    "adm-128": _adm(256, (1, 1, 2, 3, 4), 2, 128, 422.0),
    "adm-256": _adm(256, (1, 1, 2, 2, 4, 4), 2, 256, 554.0),
    "dit-s": _dit(384, 12, 33.0),
    "dit-b": _dit(768, 12, 130.0),
    "dit-l": _dit(1024, 24, 458.0),
    "dit-xl": _dit(1152, 28, 675.0, head_channels=72),
}  # fmt: skip
