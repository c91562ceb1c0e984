"""Random streams that belong to samples, not to batches.

Every sample owns its generators, keyed by (seed, purpose, index), so that a sample does not depend on the batch it is
drawn in, on the order, or on the number of processes. Training, which never replays one sample, keys one generator by
the step instead: resuming needs no saved generator state.
"""

import hashlib
from collections.abc import Sequence
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


def _uniforms(*key: int | str) -> np.random.Generator:
    # numpy's SFC64 gives 53-bit uniforms two to three times as fast as torch's Mersenne twister.
    return np.random.Generator(np.random.SFC64(seed_of(*key, "uniform")))
