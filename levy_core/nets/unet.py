"""The U-Net with the project's calling convention, for images and for fields of any size."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from levy_core.base.conditions import AUGMENT, LABEL, Condition
from levy_core.base.errors import LevyError
from levy_core.base.patches import Patches
from levy_core.nets.backbone import Backbone
from levy_core.nets.globe import OnPlaces, RoundConv, pad_indices, seen_at_a_time
from levy_core.nets.size import Size


@dataclass(frozen=True)
class UNetConfig(Size):
    """Size of the network.

    ``channels`` has one entry a resolution, each half as fine as the one before; ``attention`` says which resolutions
    attend. ``classes`` counts the classes; label ``classes`` means 'no class'. ``wraps``: the last axis goes round the
    globe, so its end continues at its start. ``coordinates``: the network is told where on the globe each cell lies.
    ``static``: fields that are the same for all samples, which it is told, too.
    ``heads``: predictions of the sample's shape that it gives, one after the other along the channels.
    ``augment``: numbers that tell it how a sample was augmented. ``head_channels``: channels of an attention head.
    ``label_numbers``: how many numbers tell it a class; 0: each class has a vector of its own.
    ``scale_shift``: the embedding of noise level and class scales and shifts what norms give, as in ADM.
    ``residual_resampling``: residual layers go from one resolution to the next, as in ADM, in place of convolutions.
    ``patches``: of a field, which it sees at a time (``OnPlaces``); None: the whole field.
    """

    shape: tuple[int, int, int]  # C, H, W
    classes: int
    channels: tuple[int, ...]
    layers: int = 1
    attention: tuple[bool, ...] = ()
    groups: int = 8
    dropout: float = 0.0
    wraps: bool = False
    coordinates: bool = False
    heads: int = 1
    augment: int = 0
    head_channels: int = 8  # of models that do not say it
    scale_shift: bool = False
    static: int = 0
    label_numbers: int = 0
    patches: Patches | None = None
    residual_resampling: bool = False


class UNet(OnPlaces):
    """[B, C, H, W] -> [B, heads C, H, W], conditional on log rho, on a class label and, with ``config.augment``, on how a sample was augmented.

    Sides that the levels cannot halve are padded inside to the next that they can, and the output is cut back: with
    copies of the last row and column, or, where the field goes round the globe, with the columns that come next.

    Args:
        latitude, longitude: degrees, float [H] and [W] of a grid, both [H, W] of a curved one, or both [W] of W places (H = 1); looked at only with
            ``config.coordinates``. None leaves those channels NaN, to be filled by ``load_state_dict``.
        static: [config.static, H, W], standardised; as these.

    Raises:
        LevyError: channels that the groups or the heads do not divide, or coordinates or static fields that do not fit the shape.
    """

    def __init__(
        self,
        config: UNetConfig,
        latitude: np.ndarray | None = None,
        longitude: np.ndarray | None = None,
        static: np.ndarray | None = None,
    ):
        super().__init__()
        channels = config.shape[0]
        height, width, closed = seen_at_a_time(config)
        if any(c % config.groups for c in config.channels):
            raise LevyError(
                f"net.channels is {list(config.channels)}, but every entry must be a multiple of {config.groups}"
            )
        attends = list(config.attention) + [False] * (len(config.channels) - len(config.attention))
        attending = [c for c, a in zip(config.channels, attends, strict=True) if a]
        for c in (*attending, *config.channels[-1:] * bool(attending)):  # the middle attends, too
            if c % (heads := max(1, c // config.head_channels)):
                raise LevyError(
                    f"net.channels has {c} where it attends, which {heads} heads of about net.head_channels {config.head_channels} do not "
                    f"divide: make it a multiple of {config.head_channels}"
                )
        halvings = 2 ** (len(config.channels) - 1)
        rows, columns = pad_indices(height, halvings), pad_indices(width, halvings, closed)
        self.config = config
        self.fits = (len(rows), len(columns)) == (height, width)
        self.rows: Tensor
        self.columns: Tensor
        self.register_buffer("rows", rows[:, None], persistent=False)
        self.register_buffer("columns", columns, persistent=False)
        told = self.tell_places(config, latitude, longitude, static)
        self.unet = Backbone(
            inputs=channels + told,
            outputs=channels * config.heads,
            channels=config.channels,
            layers=config.layers,
            attends=attends,
            groups=config.groups,
            dropout=config.dropout,
            labels=config.classes + 1,
            head_channels=config.head_channels,
            scale_shift=config.scale_shift,
            convolution=RoundConv if closed else nn.Conv2d,
            augment=config.augment,
            label_numbers=config.label_numbers,
            residual_resampling=config.residual_resampling,
        )

    @property
    def checkpointing(self) -> bool:
        """As of ``Backbone``."""
        return self.unet.checkpointing

    @checkpointing.setter
    def checkpointing(self, on: bool) -> None:
        self.unet.checkpointing = on

    def see(self, x: Tensor, log_rho: Tensor, cond: Condition) -> Tensor:
        """See ``OnPlaces``. 250 log rho spreads the noise levels over the sinusoidal embedding's range."""
        height, width = x.shape[-2:]
        asked = 250 * log_rho, cond[LABEL], cond.get(AUGMENT) if self.config.augment else None
        if self.fits:
            return self.unet(x, *asked)
        out = self.unet(x[..., self.rows, self.columns], *asked)
        return out[..., :height, :width]
