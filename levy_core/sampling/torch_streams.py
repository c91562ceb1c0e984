"""Random streams on what pipelines of diffusers pass: a generator, one per sample, or None."""

import hashlib
from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from levy_core.base import torchvision_ops  # noqa: F401  (before diffusers)
from levy_core.base.errors import LevyError
from levy_core.base.seeds import generator as seeded
from levy_core.process.noise import open_interval

from diffusers.utils.torch_utils import randn_tensor  # isort: skip

Generators: TypeAlias = torch.Generator | list[torch.Generator] | None


class TorchStreams:
    """``noise.RandomStreams`` for B rows on what pipelines pass: a generator, a list of one per sample, or None (torch's own).

    Draws stay on the generator's device. Raises LevyError for a list of another length than the batch.
    """

    def __init__(self, generator: Generators, like: Tensor, dtype: torch.dtype):
        each = generator if isinstance(generator, list) else [generator]
        if len(each) not in (1, len(like)):
            raise LevyError(f"{len(each)} generators came with a batch of {len(like)}: give one, or one per sample")
        self._generator, self._each, self._size, self._dtype = generator, each, len(like), dtype
        device = like.device if each[0] is None else each[0].device
        self.device = torch.device("cpu") if device.type == "mps" else device  # mixing variables are float64

    @classmethod
    def of_content(cls, z: Tensor) -> "TorchStreams":
        """Streams that z [B, *S] itself seeds, row by row: the same row gives the same numbers, in every batch."""
        rows = z.detach().float().cpu().contiguous()
        keys = [hashlib.blake2b(row.numpy().tobytes(), digest_size=16).hexdigest() for row in rows]
        return cls([seeded(key, "content") for key in keys], rows, torch.float32)

    def normal(self, shape: Sequence[int]) -> Tensor:
        """N(0, 1), [B, *shape], drawn as diffusers does."""
        return randn_tensor((self._size, *shape), generator=self._generator, device=self.device, dtype=self._dtype)

    def uniform(self, shape: Sequence[int], rows: Sequence[int] | None = None) -> Tensor:
        """float64 multiples of 2**-53 in [0, 1), [B, *shape]; with ``rows``, for as many rows."""
        rows = range(self._size) if rows is None else rows
        draws = [(self._each[0], len(rows))] if len(self._each) == 1 else [(self._each[i], 1) for i in rows]
        made = [torch.rand((n, *shape), generator=g, device=self.device, dtype=torch.float64) for g, n in draws]
        return torch.cat(made)

    def halves(self, shape: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """(u, 1 - u, v) of independent uniforms u and v in (0, 1), float32 [B, *shape]."""
        u, v = (open_interval(self.uniform(shape)) for _ in range(2))
        return u.float(), (1 - u).float(), v.float().clamp_(max=1 - 2.0**-24)

    def from_halves(self, shape: Sequence[int], make: Callable[..., Tensor], *settings: float) -> Tensor:
        """What ``make(*settings, u, 1 - u, v)`` makes of ``halves``."""
        return make(*settings, *self.halves(shape))
