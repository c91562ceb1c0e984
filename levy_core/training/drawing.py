"""Which samples a training step takes, and which of them without their class."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from levy_core.base.conditions import LABEL, Condition
from levy_core.base.devices import send
from levy_core.base.errors import LevyError
from levy_core.base.patches import Cover
from levy_core.base.philox import PhiloxStreams, draws_own
from levy_core.base.seeds import BatchStream, generator, seed_of
from levy_core.process.noise import Noise, RandomStreams
from levy_core.training.augmentation import Augmentation

if TYPE_CHECKING:
    from levy_core.training.config import TrainConfig


class BalancedRows:
    """Draws rows so that class c, of n_c samples, has a probability proportional to ``n_c**(1 - balance)``; within a class
    all samples are equally likely. So each sample of class c weighs ``n_c**(-balance)``.

    Args:
        labels: int64 [N], from 0. balance: 0 draws as the samples are, 1 every class equally often.
    """

    def __init__(self, labels: Tensor, balance: float):
        # Powers by Python and a sum in order: the same bits on every processor.
        weights = torch.tensor([max(n, 1) ** -balance for n in labels.bincount().tolist()], dtype=torch.float64)
        self._cumulative = weights[labels].cumsum(0)

    def draw(self, size: int, g: torch.Generator) -> Tensor:
        """int64 [size]."""
        u = torch.rand(size, generator=g, dtype=torch.float64)
        return torch.searchsorted(self._cumulative, u * self._cumulative[-1], right=True)


@dataclass(frozen=True)
class Drawn:
    """What decides a batch beside its noise.

    Attributes:
        rows: of the samples, int64 [B]. mirrored: bool [B]; None: no sample is. dropped: trained without their class, bool [B].
        augment: what tells how each sample is augmented, float32 [B, k]; None: none is.
        rest: draws what is left.
        places: of the patches that are cut of the samples, int64 [B, 2]; None: they stay whole.
    """

    rows: Tensor
    mirrored: Tensor | None
    dropped: Tensor
    augment: Tensor | None
    rest: torch.Generator
    places: Tensor | None


class Drawing:
    """The draws of every step for the whole batch, keyed by (seed, step): equal in every process, and in every repetition.

    Rows that lose their class are drawn as the samples are, at every step, because without a class the network learns the
    proportions of the classes. Rows with their class are drawn by ``BalancedRows`` in the balanced phase, the last
    ``config.balance_phase`` of the steps (at least one), and as the samples are before.

    Args:
        n: number of samples. cond, absent: as for ``Trainer``. cover: patches on them; None: none are cut.

    Raises:
        LevyError: classes are to be balanced, and a sample has none.
    """

    def __init__(self, config: "TrainConfig", n: int, cond: Condition, absent: Condition, cover: Cover | None = None):
        self.config, self.n, self.cover = config, n, cover
        self.augmentation = Augmentation(config.crop, config.colour)
        self.first_balanced = config.steps - max(1, round(config.balance_phase * config.steps))
        self._balanced = None
        for key in ("balance", "class_balancing"):
            value = getattr(config, key)
            if value > 0 and (LABEL not in cond or (LABEL in absent and bool((cond[LABEL] == absent[LABEL]).any()))):
                raise LevyError(
                    f"train.{key} is {value:g}, but there are samples without a class: "
                    f"set train.{key} to 0, or bring data with classes"
                )
        if config.balance > 0:
            self._balanced = BalancedRows(cond[LABEL], config.balance)

    def __call__(self, step: int) -> Drawn:
        """The draws of a step, which is counted from 0."""
        config, g = self.config, generator(self.config.seed, "batch", step)
        rows = torch.randint(self.n, (config.batch,), generator=g)
        mirrored = torch.rand(config.batch, generator=g) < 0.5 if config.flip else None
        dropped = torch.rand(config.batch, generator=g) < config.label_dropout
        if self._balanced is not None and step >= self.first_balanced:
            rows = torch.where(dropped, rows, self._labelled_rows(step, "balance"))
        augment = self.augmentation.draw(config.batch, config.seed, step) if self.augmentation.numbers else None
        places = self.cover.draw(config.batch, generator(config.seed, "places", step)) if self.cover else None
        return Drawn(rows, mirrored, dropped, augment, g, places)

    def other_rows(self, step: int) -> Tensor:
        """Further rows, drawn as those with their class are, int64 [B]: their classes are compared with those of the batch."""
        return self._labelled_rows(step, "other")

    def _labelled_rows(self, step: int, purpose: str) -> Tensor:
        g = generator(self.config.seed, purpose, step)
        if self._balanced is not None and step >= self.first_balanced:
            return self._balanced.draw(self.config.batch, g)
        return torch.randint(self.n, (self.config.batch,), generator=g)


BLOCK_ROWS, BLOCK_VALUES = (
    64,
    2**16,
)  # samples of a batch whose noise is drawn together: at most so many, of so many values


CPU = torch.device("cpu")


def draw_noise(
    noise: Noise,
    shape: Sequence[int],
    key: tuple[int | str, ...],
    repeats: int,
    rows: slice,
    with_mixing: bool,
    device: torch.device = CPU,
    fused: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Noise of some rows of a batch, float32 [repeats * rows, *shape], and its A, as it is drawn whoever asks for which rows.

    On the CPU, rows belong to blocks with a generator each, keyed by (key, draw, block), and a process draws the blocks of its rows
    alone; on a device that draws noise itself, each row has counters of its own, keyed by (key, draw, row).

    Args:
        repeats: draws per row. with_mixing: whether A of ``e = sqrt(A) z`` is wanted, float32 with sides of 1 where
            coordinates share it; else None.
        device: where the noise is used; it comes from the CPU where the device draws none. fused: as for ``PhiloxStreams``.
    """
    count = rows.stop - rows.start
    if draws_own(device):
        seeds = [seed for draw in range(repeats) for seed in [seed_of(*key, draw)] * count]
        streams = PhiloxStreams(seeds, [*range(rows.start, rows.stop)] * repeats, device, fused)
        return _draw(noise, shape, streams, repeats * count, with_mixing)
    size = max(1, min(BLOCK_ROWS, BLOCK_VALUES // prod(shape)))
    first = rows.start // size
    inside = slice(rows.start - first * size, rows.stop - first * size)
    noises, mixings = [], []
    for draw in range(repeats):
        blocks = range(first, -(-rows.stop // size))
        drawn = [_draw(noise, shape, BatchStream(size, *key, draw, block), size, with_mixing) for block in blocks]
        noises.append(torch.cat([e for e, _ in drawn])[inside])
        mixings += [torch.cat([a for _, a in drawn if a is not None])[inside]] if with_mixing else []
    return torch.cat(noises), torch.cat(mixings) if mixings else None


def _draw(
    noise: Noise, shape: Sequence[int], streams: RandomStreams, size: int, with_mixing: bool
) -> tuple[Tensor, Tensor | None]:
    if not with_mixing:
        return noise.sample(shape, streams), None
    e, mixing = noise.sample_with_mixing(shape, streams)
    return e, send(mixing.float(), e.device).expand(size, *mixing.shape[1:])
