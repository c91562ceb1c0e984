"""What experiments observe of samples [C, H, W]: a half, cells at random, means over blocks, all but a box, a blurred whole.

A view is a row of ``VIEWS``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from levy_core.base.errors import LevyError
from levy_core.base.seeds import generator
from levy_core.observations.operators import Blur, CellMeans, Operator, block_mean, mask


@dataclass(frozen=True, eq=False)
class Scene:
    """What a view looks at.

    Attributes:
        valid: bool [C, H, W], cells that have values. area: of cells, [H, 1] or [H, W]; None: all the same. seed: of what is random.
    """

    valid: Tensor
    area: Tensor | None = None
    seed: int = 0

    @property
    def side(self) -> tuple[int, int]:
        """H, W."""
        height, width = self.valid.shape[-2:]
        return height, width


@dataclass(frozen=True)
class View:
    """A way to look at samples.

    Attributes:
        option: the name of the number that it takes; None where it takes none.
        make: (scene, that number, 0.0 for none) -> operator.
        interpolates: whether what lies between the observed values may be interpolated.
        text: for people, with that number in it.
    """

    option: str | None
    make: Callable[[Scene, float], Operator]
    interpolates: bool
    text: str


def _half(scene: Scene, _: float) -> Operator:
    width = scene.side[1]
    return _cells(scene, (torch.arange(width) < width // 2).expand(scene.side))


def _random(scene: Scene, share: float) -> Operator:
    count = scene.side[0] * scene.side[1]
    order = torch.randperm(count, generator=generator(scene.seed, "cells"))
    return _cells(scene, (order < round(share * count)).view(scene.side))


def _means(scene: Scene, block: float) -> Operator:
    return _keep_valid(block_mean(scene.valid.shape, (int(block), int(block)), scene.area), scene)


def _all_but_a_box(scene: Scene, share: float) -> Operator:
    """Without a box in the middle that has ``share`` of the cells, in the proportions of the sample."""
    inside = torch.ones(scene.side, dtype=torch.bool)
    for axis, size in enumerate(scene.side):
        length = min(size, max(1, round(size * share**0.5)))
        at = torch.arange(size) - (size - length) // 2
        inside = inside & ((at >= 0) & (at < length)).view([-1, 1] if axis == 0 else [1, -1])
    return _cells(scene, ~inside)


def _blur(scene: Scene, width: float) -> Operator:
    return Blur(tuple(scene.valid.shape), width)


VIEWS: dict[str, View] = {
    "half": View(None, _half, False, "the left half"),
    "cells": View("share", _random, True, "a share of {:g} of the cells, at random"),
    "means": View("block", _means, True, "means over blocks of {0:g} x {0:g} cells"),
    "box": View("share", _all_but_a_box, True, "all but a box in the middle, which has a share of {:g} of the cells"),
    "blur": View("width", _blur, False, "every cell through a blur of {:g} cells"),
}


def _cells(scene: Scene, chosen: Tensor) -> CellMeans:
    """The chosen cells, bool [H, W], of every channel.

    Raises:
        LevyError: nothing is seen, or nothing is withheld.
    """
    if not 0 < (count := int(chosen.sum())) < chosen.numel():
        raise LevyError(
            f"{count} of {chosen.numel()} cells would be observed, but some have to be, and others have to be withheld: "
            "choose another share"
        )
    return _keep_valid(mask(chosen.expand(scene.valid.shape)), scene)


def _keep_valid(operator: CellMeans, scene: Scene) -> CellMeans:
    """Means over the cells that have values; those of none are left out.

    Raises:
        LevyError: none is left.
    """
    weights = operator.weights * scene.valid.flatten()[operator.cells]
    total = weights.sum(1, keepdim=True)
    kept = total[:, 0] > 0
    if not kept.any():
        raise LevyError("no observed cell has a value: choose other cells")
    return CellMeans(operator.shape, operator.cells[kept], weights[kept] / total[kept])


def withheld(operator: Operator, valid: Tensor) -> Tensor:
    """The cells that have values of which none was observed by itself, bool [*S]; cells of a mean or a blur are withheld."""
    hidden = valid.clone()
    if isinstance(operator, CellMeans) and operator.cells.shape[1] == 1:
        hidden.view(-1)[operator.cells.flatten()] = False
    return hidden


def show(operator: Operator, values: Tensor) -> Tensor:
    """Observed values [N, rows] where they were observed, [N, *S], a mean in all cells of its block; NaN elsewhere."""
    if not isinstance(operator, CellMeans):
        return values.view(-1, *operator.shape)
    shown = values.new_full((len(values), prod(operator.shape)), float("nan"))
    seen = operator.weights > 0
    row = torch.arange(operator.rows)[:, None].expand_as(seen)[seen]
    shown[:, operator.cells[seen]] = values[:, row]
    return shown.view(-1, *operator.shape)
