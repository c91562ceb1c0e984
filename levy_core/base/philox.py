"""Random streams where the values are used: Philox4x32-10, a counter-based generator, in tensor operations.

A value is a function of (key of the row, number of the draw, place in the row) alone, so that rows are drawn in any number, order and
split, on any number of devices, to the same integers everywhere. Floats made of them may differ in last bits between kinds of device,
and between this code as it stands and fused by torch.compile.

On the CPU, where numpy's and torch's sequential generators are faster, the streams of ``levy_core.base.seeds`` are drawn from instead:
other values of the same laws.

Source: Salmon et al. (2011), Parallel random numbers: as easy as 1, 2, 3.
"""

from collections.abc import Callable, Sequence
from functools import cache
from math import pi, prod
from typing import Any

import torch
from torch import Tensor

from levy_core.base.devices import send
from levy_core.base.seeds import CELL, SMALL, Streams, seed_of

OWN_NOISE = frozenset({"cuda"})  # kinds of device on which noise is drawn; for others it is drawn on the CPU
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10
WORD = 2**32 - 1
NORMAL, UNIFORM, HALVES = range(3)  # streams of a row
VALUES = {NORMAL: 4, UNIFORM: 2, HALVES: 2}  # of a row that are made of one counter
SPARE = 16  # low bits of a cell, which float32 does not hold, except in a share of 2**-16 of all cells


def draws_own(device: torch.device) -> bool:
    """Whether noise that is used on this device is drawn there."""
    return device.type in OWN_NOISE


def streams_of(keys: Sequence[tuple[int | str, ...]], device: str | torch.device) -> "Streams | PhiloxStreams":
    """The streams of rows with these keys, for noise that is used on ``device``."""
    device = torch.device(device)
    if not draws_own(device):
        return Streams(keys)
    return PhiloxStreams([seed_of(*key) for key in keys], [0] * len(keys), device)


def streams_of_samples(
    seed: int, purpose: str, indices: Sequence[int], device: str | torch.device
) -> "Streams | PhiloxStreams":
    """``streams_of``, one row per sample index, as ``Streams.of_samples``."""
    return streams_of([(seed, purpose, int(i)) for i in indices], device)


class PhiloxStreams:
    """``noise.RandomStreams`` for B rows: each draws from its own counters, whatever the others draw.

    Values that a row has one of, such as mixing variables that its coordinates share, are drawn on the CPU.

    Args:
        keys: of each row, 63 bits. rows: numbers below 2**32 that tell rows of equal keys apart.
        fused: let torch.compile make one kernel of each draw.
    """

    def __init__(self, keys: Sequence[int], rows: Sequence[int], device: torch.device, fused: bool = False):
        self._rows = torch.tensor([[key & WORD, key >> 32, row] for key, row in zip(keys, rows, strict=True)])
        self._device, self._fused = device, fused
        self._there = send(self._rows, device)
        self._draws = dict.fromkeys((NORMAL, HALVES), 0)
        self._uniforms = torch.zeros(len(keys), dtype=torch.int64)  # each row's own number: it may draw again alone

    def normal(self, shape: Sequence[int]) -> Tensor:
        """float32 N(0, 1) on the device, [B, *shape]."""
        return self._draw(_normal, NORMAL, shape)

    def from_halves(self, shape: Sequence[int], make: Callable[..., Tensor], *settings: float) -> Tensor:
        """``make(*settings, u, 1 - u, v)`` of independent uniforms u and v in (0, 1), float32 [B, *shape] on the device."""
        return self._draw(_from_halves, HALVES, shape, make, settings)

    def uniform(self, shape: Sequence[int], rows: Sequence[int] | None = None) -> Tensor:
        """float64 multiples of 2**-53 in [0, 1), [B, *shape], or [len(rows), *shape] for these rows alone; on the CPU where a row has one."""
        chosen = slice(None) if rows is None else torch.tensor(rows)
        n = prod(shape)
        device = torch.device("cpu") if n == 1 else self._device
        rows_there, numbers = send(self._rows[chosen], device), send(self._uniforms[chosen], device)
        drawn = _uniform(rows_there, numbers, _places(UNIFORM, n, device), n)
        self._uniforms[chosen] += 1
        return drawn.view(-1, *shape)

    def _draw(self, draw: Callable[..., Tensor], kind: int, shape: Sequence[int], *more: Any) -> Tensor:
        n, number = prod(shape), torch.full((1,), self._draws[kind], device=self._device)
        self._draws[kind] += 1
        of = self._there, number, _places(kind, n, self._device), n
        return (fuse(draw) if self._fused else draw)(*of, *more).view(-1, *shape)


@cache
def fuse(draw: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """One kernel, made at the first call."""
    return torch.compile(draw)


Words = tuple[Tensor, Tensor, Tensor, Tensor]


def philox(counter: Words, key: tuple[Tensor, Tensor]) -> Words:
    """Four words of 32 bits for each counter and key, int64 of any shapes that broadcast."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(ROUNDS):
        p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]  # modulo 2**64: the sign bit is a bit like others
        c0, c1 = ((p1 >> 32) ^ c1 ^ k0) & WORD, p1 & WORD
        c2, c3 = ((p0 >> 32) ^ c3 ^ k1) & WORD, p0 & WORD
        k0, k1 = (k0 + WEYL[0]) & WORD, (k1 + WEYL[1]) & WORD
    return c0, c1, c2, c3


def _places(kind: int, n: int, device: torch.device) -> Tensor:
    """Of the counters for n values of a row, int64.

    A kernel that is to draw is given them: those that torch.compile would make within it have 32 bits on a GPU, and so would their products.
    """
    return torch.arange(-(-n // VALUES[kind]), device=device)


def _words(rows: Tensor, number: Tensor, kind: int, places: Tensor) -> Words:
    """Four words [B, places] of the streams of ``rows``, int64 [B, 3]: two words of the key, and a number; ``number``: of the draw, [B] or [1]."""
    low, high, row = rows[:, :1], rows[:, 1:2], rows[:, 2:]
    return philox((places[None], row, number[:, None], torch.full_like(row, kind)), (low, high))


def _normal(rows: Tensor, number: Tensor, places: Tensor, n: int) -> Tensor:
    """float32 N(0, 1), [B, n], by Box and Muller's way, which takes two words for two values: none is beyond 6.8, as of torch's on GPUs."""
    w = _words(rows, number, NORMAL, places)
    drawn = []
    for chance, turn in ((w[0], w[1]), (w[2], w[3])):
        radius = chance.float().add(0.5).mul(2.0**-32).log().mul(-2).sqrt()
        angle = turn.float().mul(2 * pi * 2.0**-32)
        drawn += [radius * angle.cos(), radius * angle.sin()]
    return torch.cat(drawn, 1)[:, :n].contiguous()


def _uniform(rows: Tensor, number: Tensor, places: Tensor, n: int) -> Tensor:
    """float64 multiples of 2**-53 in [0, 1), [B, n]."""
    w = _words(rows, number, UNIFORM, places)
    drawn = [((high >> 5) << 26 | low >> 6).double().mul(2.0**-53) for high, low in ((w[0], w[1]), (w[2], w[3]))]
    return torch.cat(drawn, 1)[:, :n]


def _from_halves(
    rows: Tensor, number: Tensor, places: Tensor, n: int, make: Callable[..., Tensor], settings: tuple[float, ...]
) -> Tensor:
    """float32 [B, n]; each of a counter's values is made before they are joined, as one kernel may do."""
    parts = split_words(_words(rows, number, HALVES, places))
    return torch.cat([make(*settings, *of) for of in zip(*parts, strict=True)], 1)[:, :n].contiguous()


def split_words(w: Words) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """u, 1 - u and v of ``PhiloxStreams.from_halves`` from 128 bits for two values, float32 as w.

    64 bits make a value as in ``seeds``: u in cells of 2**-40, v of 2**-24, each at its middle. The outermost cells are filled with the
    spare bits of another cell: of the neighbour's u for u, of u for v. So u and 1 - u come as near to 0 as 2**-57, v as 2**-41, and each
    value has its law; what a spare bit ties together has a chance of 2**-39.
    """
    cells = [(high << 8) | (low >> SMALL) for high, low in ((w[0], w[1]), (w[2], w[3]))]
    spares = [(cell & (2**SPARE - 1)).float().add(0.5).mul(2.0**-SPARE) for cell in cells]
    parts: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
    for cell, low, own, other in zip(cells, (w[1], w[3]), spares, reversed(spares), strict=True):
        small = low & (2**SMALL - 1)
        for part, of, spare, bits in (
            (parts[0], cell, other, CELL),
            (parts[1], 2**CELL - 1 - cell, other, CELL),
            (parts[2], small, own, SMALL),
        ):
            # below 1, as float32 rounds what is nearest to it
            part.append(torch.where(of == 0, spare, of.float().add(0.5)).mul(2.0**-bits).clamp(max=1 - 2.0**-24))
    return parts
