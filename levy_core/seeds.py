"""Random streams that belong to samples, not to batches.

Every sample owns its generators, keyed by (seed, purpose, index), so that a sample does not depend on the batch it is
drawn in, on the order, or on the number of processes. Training, which never replays one sample, keys one generator by
the step instead: resuming needs no saved generator state.
"""

import hashlib
from collections.abc import Sequence

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
        self._normal = [generator(*key, "normal") for key in keys]
        self._uniform = [generator(*key, "uniform") for key in keys]

    @classmethod
    def of_samples(cls, seed: int, purpose: str, indices: Sequence[int]) -> "Streams":
        """One row per sample index."""
        return cls([(seed, purpose, int(i)) for i in indices])

    def normal(self, shape: Sequence[int]) -> Tensor:
        """float32 N(0, 1), [B, *shape]."""
        return torch.stack([torch.randn(*shape, generator=g) for g in self._normal])

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """float64 in the open interval (0, 1), [B, *shape]."""
        return torch.stack([_open_uniform(shape, g) for g in self._uniform])


class BatchStream:
    """The same interface with one generator for all B rows of a training batch."""

    def __init__(self, size: int, *key: int | str):
        self._size = size
        self._normal = generator(*key, "normal")
        self._uniform = generator(*key, "uniform")

    def normal(self, shape: Sequence[int]) -> Tensor:
        """float32 N(0, 1), [B, *shape]."""
        return torch.randn(self._size, *shape, generator=self._normal)

    def uniform(self, shape: Sequence[int]) -> Tensor:
        """float64 in the open interval (0, 1), [B, *shape]."""
        return _open_uniform([self._size, *shape], self._uniform)


def _open_uniform(shape: Sequence[int], g: torch.Generator) -> Tensor:
    # rand() is a multiple of 2**-53 in [0, 1); half a step up makes log() and the ends of Kanter's formula finite.
    return torch.rand(*shape, generator=g, dtype=torch.float64) + 2.0**-54
