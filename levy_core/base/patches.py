"""Patches of a field: the part that a network sees at a time, where training cuts them, and how they make a whole."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from math import pi
from typing import Any, Self

import torch
from torch import Tensor

from levy_core.base.errors import LevyError


@dataclass(frozen=True)
class Patches:
    """Size of patches, in cells.

    Args:
        side: height and width. overlap: cells that neighbours have in common, at least.

    Raises:
        LevyError: a side below 1, or an overlap that is negative or not smaller than both sides.
    """

    side: tuple[int, int]
    overlap: int

    def __post_init__(self) -> None:
        if min(self.side) < 1:
            raise LevyError(f"patches.side is {list(self.side)}, but height and width must be at least 1 cell")
        if not 0 <= self.overlap < min(self.side):
            raise LevyError(
                f"patches.overlap is {self.overlap}, but must lie between 0 and {min(self.side) - 1}: neighbours of {self.side[0]} x "
                f"{self.side[1]} cells that have more in common would be one patch"
            )

    def check(self, height: int, width: int) -> None:
        """Refuses patches that a field does not hold.

        Raises:
            LevyError: names both sizes.
        """
        if self.side[0] > height or self.side[1] > width:
            raise LevyError(
                f"patches.side is {list(self.side)}, but a field has {height} x {width} cells: take smaller patches, or take patches out"
            )

    def to_mapping(self) -> dict[str, Any]:
        """Its fields."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, values: Any) -> Self:
        """The inverse of ``to_mapping``, of what a person or a file says.

        Raises:
            LevyError: another form, or as the class.
        """
        whole = lambda value: type(value) is int
        if (
            not isinstance(values, Mapping)
            or set(values) != {"side", "overlap"}
            or not isinstance(values["side"], (list, tuple))
            or len(values["side"]) != 2
            or not all(whole(value) for value in (*values["side"], values["overlap"]))
        ):
            raise LevyError(
                f"patches is {values}, but must say side, height and width in cells, and overlap, such as {{side: [64, 64], overlap: 16}}"
            )
        return cls(tuple(values["side"]), values["overlap"])


@dataclass(frozen=True)
class Cover:
    """Patches on a field of ``height`` x ``width`` cells whose last axis may go round the globe (``wraps``).

    Raises:
        LevyError: as ``Patches.check``.
    """

    patches: Patches
    height: int
    width: int
    wraps: bool = False

    def __post_init__(self) -> None:
        self.patches.check(self.height, self.width)

    @classmethod
    def of(cls, patches: Patches | None, shape: tuple[int, ...], wraps: bool = False) -> "Cover | None":
        """On fields [C, H, W]; None where one patch is the whole field, or nothing is cut."""
        height, width = shape[-2:]
        return None if patches is None or patches.side == (height, width) else cls(patches, height, width, wraps)

    @property
    def closed(self) -> bool:
        """Whether patches go on beyond the end of the last axis at its start."""
        return self.wraps and self.patches.side[1] < self.width

    @cached_property
    def places(self) -> list[tuple[int, int]]:
        """First row and column of each patch, as few as the overlap allows, spread evenly."""
        rows, columns = (self._starts(axis) for axis in (0, 1))
        return [(row, column) for row in rows for column in columns]

    @cached_property
    def weights(self) -> tuple[Tensor, Tensor]:
        """Of rows [rows of patches, h] and of columns [columns of patches, w], float32.

        The weight of a cell in a patch is the product of the two. It falls smoothly to the patch's edge (squared sines, over the sum of all patches
        that have the cell), and those of a cell sum to 1.
        """
        return self._weights(0), self._weights(1)

    def draw(self, n: int, g: torch.Generator) -> Tensor:
        """Places of n patches for training, int64 [n, 2].

        Round the globe all are equally likely, and so are cells. In a box of N cells a side of s begins at u, uniform over 1 - s, ..., N - 1, moved into the
        box: no cell is in a patch less often than one in the middle, with probability s / (N + s - 1), where places that are all
        equally likely would have the outermost cells s times less often. Patches at the edges are as likely as the s places
        beyond them are together: they are among those that make a whole.
        """
        return torch.stack([self._draw(axis, n, g) for axis in (0, 1)], 1)

    def cut(self, x: Tensor, places: Tensor) -> Tensor:
        """Fields [B, C, H, W], or one for all [C, H, W], and a place of each, int64 [B, 2] -> [B, C, h, w]."""
        h, w = self.patches.side
        rows = places[:, :1] + torch.arange(h, device=places.device)
        columns = (places[:, 1:] + torch.arange(w, device=places.device)) % self.width
        if x.dim() == 3:
            found = x[:, rows[:, :, None], columns[:, None, :]].transpose(0, 1)
        else:
            each = torch.arange(len(x), device=places.device)[:, None, None]
            found = x[each, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)
        return found.contiguous()

    def _axis(self, axis: int) -> tuple[int, int, bool]:
        """Side of a patch, cells of the field, and whether patches go on beyond its end."""
        return self.patches.side[axis], (self.height, self.width)[axis], axis == 1 and self.closed

    def _starts(self, axis: int) -> list[int]:
        side, size, closed = self._axis(axis)
        step = side - self.patches.overlap
        if closed:
            n = -(-size // step)
            return [i * size // n for i in range(n)]
        n = -(-(size - side) // step)
        return [i * (size - side) // n for i in range(n + 1)] if n else [0]

    def _weights(self, axis: int) -> Tensor:
        side, size, _ = self._axis(axis)
        falling = torch.sin(pi * (torch.arange(side, dtype=torch.float64) + 0.5) / side) ** 2
        cells = (torch.tensor(self._starts(axis))[:, None] + torch.arange(side)) % size
        total = torch.zeros(size, dtype=torch.float64).index_add(0, cells.flatten(), falling.repeat(len(cells)))
        return (falling / total[cells]).float()

    def _draw(self, axis: int, n: int, g: torch.Generator) -> Tensor:
        side, size, closed = self._axis(axis)
        first = 0 if closed else 1 - side
        return torch.randint(first, size, (n,), generator=g).clamp(0, size - 1 if closed else size - side)
