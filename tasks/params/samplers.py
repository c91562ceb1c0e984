"""What becomes of `sample` and `tune` in params.yaml: grids and spaces of samplers, as a kind of data allows them."""

from dataclasses import replace
from typing import TYPE_CHECKING

from levy_core.base.samples import Classes
from levy_core.sampling.solver import Solver
from levy_core.sampling.space import Space
from tasks.kinds.kind import Kind

if TYPE_CHECKING:
    from tasks.params.sections import SampleParams, TuneParams


def cells_of(sample: "SampleParams", kind: Kind) -> list[Solver]:
    """The grid of a data set: no limit is put on data without a range."""
    cells = sample.cells()
    return cells if kind.bounded else list(dict.fromkeys(replace(cell, limit="none") for cell in cells))


def classes_of(sample: "SampleParams", kind: Kind) -> Classes:
    """The classes of samples that are drawn to be measured: training proportions where metrics cannot weigh others back."""
    return sample.classes if kind.weighs_classes else "training"


def space_of(tune: "TuneParams", kind: Kind) -> Space:
    """What `tune` searches for a data set: no limit for data without a range."""
    space = tune.space()
    return space if kind.bounded else replace(space, limits=("none",))
