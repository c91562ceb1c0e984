"""diffusers' U-Net with the project's calling convention."""

from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from levy_core import torchvision_ops  # noqa: F401  (before diffusers)
from levy_core.errors import LevyError

from diffusers import UNet2DModel  # isort: skip


@dataclass(frozen=True)
class UNetConfig:
    """Size of the network.

    ``channels`` has one entry a resolution, each half as fine as the one before; ``attention`` says which resolutions
    attend. ``classes`` counts the classes; label ``classes`` means 'no class'.
    """

    shape: tuple[int, int, int]  # C, H, W
    classes: int
    channels: tuple[int, ...]
    layers: int = 1
    attention: tuple[bool, ...] = ()
    groups: int = 8
    dropout: float = 0.0

    def to_mapping(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, mapping: dict[str, Any]) -> "UNetConfig":
        """The inverse of ``to_mapping``, also after JSON made the tuples lists."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in mapping.items()}
        return cls(**values)


class UNet(nn.Module):
    """[B, C, H, W] -> [B, C, H, W], conditional on log rho and on a class label.

    Raises:
        LevyError: a side that the levels cannot halve, or channels that the groups do not divide.
    """

    def __init__(self, config: UNetConfig):
        super().__init__()
        halvings = 2 ** (len(config.channels) - 1)
        channels, height, width = config.shape
        if height % halvings or width % halvings:
            raise LevyError(
                f"images of {height} x {width} cannot be halved {len(config.channels) - 1} times: "
                "give net.channels fewer entries, or pad the images"
            )
        if any(c % config.groups for c in config.channels):
            raise LevyError(
                f"net.channels is {list(config.channels)}, but every entry must be a multiple of {config.groups}"
            )
        attends = list(config.attention) + [False] * (len(config.channels) - len(config.attention))
        self.config = config
        self.unet = UNet2DModel(
            sample_size=(height, width),
            in_channels=channels,
            out_channels=channels,
            block_out_channels=config.channels,
            layers_per_block=config.layers,
            down_block_types=tuple("AttnDownBlock2D" if a else "DownBlock2D" for a in attends),
            up_block_types=tuple("AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)),
            add_attention=any(attends),
            norm_num_groups=config.groups,
            dropout=config.dropout,
            num_class_embeds=config.classes + 1,
        )

    def forward(self, x: Tensor, log_rho: Tensor, label: Tensor) -> Tensor:
        """The raw network output. 250 log rho spreads the noise levels over the sinusoidal embedding's range."""
        return self.unet(x, 250 * log_rho, class_labels=label).sample
