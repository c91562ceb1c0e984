"""What determines a training."""

from dataclasses import dataclass

from levy_core.nets.precision import Precision
from levy_core.training.rates import LrSchedule


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a training run beside the design, the network and the data."""

    steps: int
    batch: int
    lr: float
    warmup: int
    ema: float
    clip: float
    label_dropout: float  # share of samples trained without their class, so that one network also samples without
    flip: bool  # mirror half of the images
    seed: int
    precision: Precision  # bfloat16: the network under autocast; weights and gradients stay float32
    crop: int = 0  # shift half of the images by up to so many pixels, and tell the network
    colour: float = (
        0.0  # spread of brightness, contrast and saturation in half of the images, of which the network is told
    )
    balance: float = 0.0  # rows with their class draw class c, of n_c samples, in proportion to n_c ** (1 - balance)
    balance_phase: float = 0.2  # the last share of the steps, in which they do
    class_balancing: float = 0.0  # strength of the class-balancing term (levy_core.training.class_balancing)
    lr_schedule: LrSchedule = "constant"  # after the warm-up (levy_core.training.rates)
    weight_decay: float = 0.0  # decoupled from the gradient (AdamW)
    accumulate: int = 1  # parts of a batch that follow each other, for memory: their gradients add up
    ema_lengths: tuple[float, ...] = ()  # of further averages of the weights (levy_core.training.power_averages)
