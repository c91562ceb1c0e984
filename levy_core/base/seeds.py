"""Random streams that belong to samples, not to batches.

Every sample owns its generators, keyed by (seed, purpose, index), so that a sample does not depend on the batch it is
drawn in, on the order, or on the number of processes. Training, which never replays one sample, keys one generator by
the step instead: resuming needs no saved generator state.
"""

import hashlib
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor


def seed_of(*keys: int | str) -> int:
    """A 63-bit seed that depends on every key and on their order."""
    digest = hashlib.blake2b(repr(keys).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*keys: int | str) -> torch.Generator:
    """A CPU generator seeded by the keys."""
    return torch.Generator().manual_seed(seed_of(*keys))


class Streams:
    """Independent normal and uniform streams, one pair for each of B rows.

    The two streams of a row are separate, so the Gaussian part of a scale mixture is the same under every noise law:
    common random numbers across designs come for free.
    """

    def __init__(self, keys: Sequence[tuple[int | str, ...]]):
        self._keys = keys
        self._normal = [generator(*key, "normal") for key in keys]

    @cached_property
    def _uniform(self) -> list[np.random.Generator]:
        return [_uniforms(*key) for key in self._keys]

    @classmethod
    def of_samples(cls, seed: int, purpose: str, indices: Sequence[int]) -> "Streams":
        """One row per sample index."""
        return cls([(seed, purpose, int(i)) for i in indices])

    def normal(self, shape: Sequence[int]) -> Tensor:
        """float32 N(0, 1), [B, *shape]."""
        drawn = torch.empty(len(self._normal), *shape)
        for row, g in zip(drawn, self._normal, strict=True):
            row.normal_(generator=g)
        return drawn

    def uniform(self, shape: Sequence[int], rows: Sequence[int] | None = None) -> Tensor:
        """float64 multiples of 2**-53 in [0, 1), [B, *shape]; with ``rows``, only theirs: [len(rows), *shape]."""
        chosen = self._uniform if rows is None else [self._uniform[i] for i in rows]
        drawn = np.empty((len(chosen), *shape))
        for row, g in zip(drawn, chosen, strict=True):
            g.random(out=row)
        return torch.from_numpy(drawn)

    def halves(self, shape: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """(u, 1 - u, v) of independent uniforms u and v in (0, 1), float32 [B, *shape]: see ``_halves``."""
        return _halves(np.stack([_bits(g, shape) for g in self._uniform]), self._uniform)

    def from_halves(self, shape: Sequence[int], make: Callable[..., Tensor], *settings: float) -> Tensor:
        """What ``make(*settings, u, 1 - u, v)`` makes of ``halves``."""
        return make(*settings, *self.halves(shape))


class BatchStream:
    """The same interface with one generator for all B rows of a training batch: fast, but bound to the batch."""

    def __init__(self, size: int, *key: int | str):
        self._size = size
        self._normal = generator(*key, "normal")
        self._uniform = _uniforms(*key)

    def normal(self, shape: Sequence[int]) -> Tensor:
        """float32 N(0, 1), [B, *shape]."""
        return torch.randn(self._size, *shape, generator=self._normal)

    def uniform(self, shape: Sequence[int], rows: Sequence[int] | None = None) -> Tensor:
        """float64 multiples of 2**-53 in [0, 1), [B, *shape]; with ``rows``, for as many rows: [len(rows), *shape]."""
        return torch.from_numpy(self._uniform.random((self._size if rows is None else len(rows), *shape)))

    def halves(self, shape: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """(u, 1 - u, v) of independent uniforms u and v in (0, 1), float32 [B, *shape]: see ``_halves``."""
        u, rest, v = _halves(_bits(self._uniform, (self._size, *shape))[None], [self._uniform])
        return u[0], rest[0], v[0]

    def from_halves(self, shape: Sequence[int], make: Callable[..., Tensor], *settings: float) -> Tensor:
        """What ``make(*settings, u, 1 - u, v)`` makes of ``halves``."""
        return make(*settings, *self.halves(shape))


def _bits(g: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    return g.integers(0, 2**64, shape, dtype=np.uint64).view(np.int64)


CELL, SMALL = 40, 24  # bits of u and of v


def _halves(bits: np.ndarray, generators: Sequence[np.random.Generator]) -> tuple[Tensor, Tensor, Tensor]:
    """(u, 1 - u, v) from 64 bits per value, int64 [rows, ...]: u in cells of 2**-40, v of 2**-24, each at its middle.

    The outermost cells are filled with further bits of the row's generator, so that u and 1 - u come as near to 0 as
    float32 can say, with full relative precision, and nothing that depends on them is truncated.
    """
    both = torch.from_numpy(bits)
    cell, small = (both >> SMALL).bitwise_and_(2**CELL - 1), both.bitwise_and_(2**SMALL - 1)
    parts = [
        cell.float().add_(0.5).mul_(2.0**-CELL),
        (2**CELL - 1 - cell).float().add_(0.5).mul_(2.0**-CELL),
        small.float().add_(0.5).mul_(2.0**-SMALL).clamp_(max=1 - 2.0**-24),
    ]
    lowest, highest = (int(end) for end in torch.aminmax(cell))
    found = (lowest == 0, highest == 2**CELL - 1, int(small.min()) == 0)
    masks = (lambda: cell == 0, lambda: cell == 2**CELL - 1, lambda: small == 0)
    for part, hit, mask, width in zip(parts, found, masks, (2.0**-CELL, 2.0**-CELL, 2.0**-SMALL), strict=True):
        if hit:
            for row, ends, g in zip(part, mask(), generators, strict=True):
                row[ends] = torch.from_numpy(g.random(int(ends.sum()))).clamp_(min=2.0**-53).mul_(width).float()
    return parts[0], parts[1], parts[2]


def _uniforms(*key: int | str) -> np.random.Generator:
    # numpy's SFC64 gives 53-bit uniforms two to three times as fast as torch's Mersenne twister.
    return np.random.Generator(np.random.SFC64(seed_of(*key, "uniform")))
