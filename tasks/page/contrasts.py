"""What helps: designs with and without a guide, heavy-tailed ones beside their Gaussian twins, as rows of one table."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from levy_core.base.measure import Measure, measure_of
from levy_core.process.design import Design
from levy_core.process.loss import MINIMISERS
from levy_core.process.noise import Noise, Stable, StudentT
from levy_core.process.twins import twin_of
from levy_core.sampling.solver import Solver
from tasks.cells.selection import select_default, solver_of
from tasks.page.tables import format_mean


@dataclass(frozen=True)
class Contrast:
    """A design with the best of its samplers that have one guide.

    Attributes:
        twin_of: the heavy-tailed designs of which it is the Gaussian twin. noise, minimiser, guide: for people.
        is_default: the sampler is the design's default. cell: its row of the grid.
    """

    design: str
    twin_of: tuple[str, ...]
    noise: str
    minimiser: str
    guide: str
    is_default: bool
    cell: pd.Series


def list_contrasts(grid: pd.DataFrame, designs: dict[str, Design], metric: str) -> list[Contrast]:
    """Per design the default cell and the best one of each other guide, no guide first; a Gaussian twin follows its design."""
    twins = {name: twin for name in designs if (twin := twin_of(name, designs))}
    first = [name for name in designs if name not in twins.values()]
    order = dict.fromkeys(name for heavy in first for name in (heavy, twins.get(heavy)) if name)
    return [
        Contrast(
            name,
            tuple(heavy for heavy, twin in twins.items() if twin == name),
            _describe_noise(designs[name].noise),
            MINIMISERS[designs[name].loss.minimiser],
            _describe_guide(solver_of(cell)),
            is_default,
            cell,
        )
        for name in order
        for cell, is_default in _pick_cells(grid[(grid.design == name) & grid[metric].notna()], metric)
    ]


def _pick_cells(cells: pd.DataFrame, metric: str) -> list[tuple[pd.Series, bool]]:
    guides = np.array([solver_of(row).guide for _, row in cells.iterrows()])
    default = select_default(cells, metric)
    own = solver_of(default).guide
    return [
        (default, True) if guide == own else (select_default(cells[guides == guide], metric), False)
        for guide in sorted(set(guides.tolist()), key=lambda guide: (guide != "none", guide))
    ]


def _describe_noise(noise: Noise) -> str:
    match noise:
        case Stable(alpha=alpha):
            return "Gaussian (alpha 2)" if alpha == 2 else f"alpha-stable, alpha {alpha:g}"
        case StudentT(nu=nu):
            return f"Student-t, nu {nu:g}"
    return "Gaussian"


def _describe_guide(solver: Solver) -> str:
    return solver.guide if solver.guide == "none" else f"{solver.guide} {solver.strength:.2g}"


def tabulate_contrasts(
    contrasts: list[Contrast], columns: list[tuple[str, str]], measures: Iterable[Measure]
) -> list[tuple[Contrast, list[tuple[str, bool]]]]:
    """Per contrast the texts of the metrics of ``columns`` (title, metric), each with whether it is the best of its column."""
    errors: dict[str, dict[int, float]] = {
        metric: {
            i: measure_of(metric, measures).error(c.cell[metric])
            for i, c in enumerate(contrasts)
            if pd.notna(c.cell[metric])
        }
        for _, metric in columns
    }
    best = {metric: min(of_column, key=lambda i: of_column[i], default=None) for metric, of_column in errors.items()}
    return [
        (c, [(format_mean(c.cell, metric) if i in errors[metric] else "–", best[metric] == i) for _, metric in columns])
        for i, c in enumerate(contrasts)
    ]
