"""The report's sheets of maps: fields, and what is usual and extreme in each cell, real beside generated."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from levy_core.datasets.fields.codec import Codec
from levy_core.metrics.common.extremes import return_levels
from tasks.cells.observed import Shown
from tasks.kinds.fields.cell_values import CellValues
from tasks.kinds.fields.maps import Panel, Scale, draw_maps, scale_of, scale_of_difference, scale_of_spread

MEMBERS = 3  # fields beside the most extreme one
LEVELS = (0.999, 0.99, 0.98, 0.95, 0.9)
BEYOND = 5  # values of a cell that must lie above a quantile of it
YEARS, FIELDS = (10, 5, 2, 1), (1000, 100)  # return periods of cells, the longest first


@dataclass(frozen=True)
class Highest:
    """Of each variable the field [H, W] with the highest value of so many."""

    fields: Sequence[np.ndarray]
    of: int


def scales(codec: Codec, real: np.ndarray) -> list[Scale]:
    """Of each variable, from real values [N, C, ...]."""
    return [scale_of(variable, real[:, c]) for c, variable in enumerate(codec.variables)]


def draw_members(
    codec: Codec, shown: np.ndarray, titles: Sequence[str], highest: Highest, of_variables: Sequence[Scale]
) -> Image.Image:
    """One row per variable: fields [n, C, H, W] under their titles, and the one with the highest value of all."""
    rows = []
    for c, name in enumerate(codec.names):
        panels = [Panel(f"{name}, {title}", shown[i, c], of_variables[c]) for i, title in enumerate(titles)]
        most = highest.fields[c]
        value = np.fmax.reduce(most, axis=None)
        panels.append(Panel(f"{name}, highest of {highest.of}: {value:.3g}", most, of_variables[c]))
        rows.append(panels)
    return draw_maps(codec, rows)


def draw_observed(codec: Codec, cases: Sequence[Shown]) -> Image.Image:
    """Two rows per case and variable: what was observed, the truth, mean and spread of the members; then members."""
    rows = []
    for case in cases:
        for c, name in enumerate(codec.names):
            variable = codec.variables[c]
            scale = scale_of(variable, np.concatenate([case.truth[c][None], case.members[:, c]]))
            units = codec.anomaly_units[c] if variable.transform == "identity" else variable.units
            spread = scale_of_spread(case.spread[c], units)
            title = f"{name}, {case.name}{', extreme' * case.extreme}"
            rows.append(
                [
                    Panel(f"{title}: observed", case.observed[c], scale),
                    Panel("the truth", case.truth[c], scale),
                    Panel("mean of the members", case.mean[c], scale),
                    Panel("their spread", case.spread[c], spread),
                ]
            )
            rows.append([Panel(f"{name}, member {k + 1}", member[c], scale) for k, member in enumerate(case.members)])
    return draw_maps(codec, rows)


def choose_period(fields: int, per_year: float | None) -> tuple[float, str] | None:
    """The longest return period that so many fields hold, in whole years if any, in fields and for people; None where they hold none."""
    years = [] if per_year is None else [(y * per_year, f"{y} years" if y > 1 else "a year") for y in YEARS]
    periods = [*years, *((float(n), f"{n:,} fields") for n in FIELDS)]
    return next((period for period in periods if FIELDS[-1] <= period[0] <= fields), None)


def draw_statistics(
    real_cells: CellValues, generated_cells: CellValues, c: int, title: str, per_year: float | None
) -> Image.Image:
    """Mean, standard deviation, a high quantile and a return level of each cell of one variable: real, generated, difference.

    The quantile is the highest that ``BEYOND`` values of both lie above, the return level that of ``choose_period`` of the fewer fields.
    """
    codec, real, generated = real_cells.codec, real_cells.physical(c), generated_cells.physical(c)
    unit = codec.variables[c].units
    level = next((q for q in LEVELS if min(len(real), len(generated)) * (1 - q) >= BEYOND - 1e-9), LEVELS[-1])
    statistics: list[tuple[str, Callable[[np.ndarray], np.ndarray]]] = [
        ("mean", lambda fields: fields.mean(0)),
        ("standard deviation", lambda fields: fields.std(0)),
        (f"{100 * level:g} % quantile", lambda fields: np.quantile(fields, level, axis=0)),
    ]
    if period := choose_period(min(len(real), len(generated)), per_year):
        statistics.append((f"once in {period[1]}", lambda fields: return_levels(fields, (period[0],))[0]))
    rows = []
    for name, of_cells in statistics:
        a, b = (real_cells.spread(of_cells(fields)) for fields in (real, generated))
        spread = name == "standard deviation"
        scale = scale_of_spread(a, unit) if spread else scale_of(codec.variables[c], a)
        difference = scale_of_difference(b - a, "K" if unit == "degC" else unit)
        rows.append(
            [
                Panel(f"{name}, real", a, scale),
                Panel(f"{name}, {title}", b, scale),
                Panel(f"{title} less real", b - a, difference),
            ]
        )
    return draw_maps(codec, rows)
