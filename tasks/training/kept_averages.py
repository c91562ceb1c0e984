"""Averages of the weights that a training keeps for a choice after its end: a file for each time."""

import shutil
from pathlib import Path

import torch
from torch import Tensor

from levy_core.base.manifest import sha256_of
from levy_core.base.tensors import read_tensors, write_tensors
from levy_core.training.power_averages import Kept


class KeptAverages:
    """A folder of them, by number.

    Args:
        writes: whether this process does; of several that share a training, one.
    """

    def __init__(self, folder: Path, writes: bool = True):
        self._folder, self._writes, self._hashes = folder, writes, dict[int, bytes]()

    def keep(self, number: int, averages: Kept) -> None:
        """Takes the place of the file of this number."""
        if self._writes:
            write_tensors(self._path(number), {name: value.contiguous() for name, value in averages.items()})
            self._hashes[number] = self._hash(number)

    def read(self, number: int) -> Kept:
        """What was kept.

        Raises:
            LevyError: the file is missing or damaged.
        """
        return read_tensors(self._path(number))

    def hashes(self, numbers: range) -> Tensor:
        """SHA-256 of files that were kept or found whole, uint8 [N, 32]."""
        return torch.tensor([list(self._hashes[number]) for number in numbers], dtype=torch.uint8).view(-1, 32)

    def are(self, hashes: Tensor) -> bool:
        """Whether the first files are there with these hashes."""
        try:
            found = {number: self._hash(number) for number in range(len(hashes))}
        except OSError:
            return False
        self._hashes = found
        return torch.equal(self.hashes(range(len(hashes))), hashes.view(-1, 32))

    def clear(self) -> None:
        """Removes them."""
        if self._writes:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:02d}.safetensors"

    def _hash(self, number: int) -> bytes:
        return bytes.fromhex(sha256_of(self._path(number)))
