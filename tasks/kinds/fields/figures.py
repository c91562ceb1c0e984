"""The report's figures of fields, one panel per variable."""

from collections.abc import Callable

import numpy as np

from levy_core.metrics.common.bootstrap import rank_intervals
from levy_core.metrics.fields.measures import quantile_pairs
from tasks.page.figures import COLOURS, INK, add_legend, open_panels

Intervals = dict[str, dict[str, float | None]]
SIGHT = 1.0  # times the range of the real values that a figure shows beyond them
REAL = {"color": INK, "linewidth": 1.6, "linestyle": "-"}


def plot_tails(names: list[str], real: list[np.ndarray], generated: dict[str, list[np.ndarray]]) -> str:
    """Quantiles of generated against real values, both tails: on the line, the law is right."""

    def draw(axis, c: int) -> None:
        for k, (design, fields) in enumerate(generated.items()):
            x, y = quantile_pairs(fields[c], real[c])
            axis.plot(x, y, color=COLOURS[k % len(COLOURS)], marker=".", ms=4, linewidth=1.2, label=design)
        low, high = np.nanmin(real[c]), np.nanmax(real[c])
        axis.plot([low, high], [low, high], color=INK, linewidth=1, linestyle=":", label="the data")
        axis.set(xlabel="quantile of the held-out period", ylabel="quantile of the samples")
        _keep_in_sight(axis, real[c])

    return _plot_variables(names, draw)


def plot_spectra(
    names: list[str],
    real: list[np.ndarray],
    generated: dict[str, list[np.ndarray]],
    scale: np.ndarray,
    what: str,
) -> str:
    """Power [K] at each ``scale`` [K]: a wavelength in km or a wavenumber, as ``what`` says for the axis; NaN for none."""

    def draw(axis, c: int) -> None:
        for k, (design, power) in enumerate(generated.items()):
            axis.plot(scale, power[c], color=COLOURS[k % len(COLOURS)], label=design)
        axis.plot(scale, real[c], label="the data", **REAL)
        axis.set(xlabel=what, ylabel="power", xscale="log", yscale="log")
        if len(scale) > 1 and scale[-1] < scale[-2]:
            axis.invert_xaxis()  # large scales on the left, as by wavenumber

    return _plot_variables(names, draw)


def plot_joint_extremes(
    names: list[str],
    real: list[np.ndarray],
    generated: dict[str, list[np.ndarray]],
    apart: list[np.ndarray],
    what: str,
) -> str:
    """How often two cells are extreme at once, by their distance: of each variable by class of distance (``FieldsReference.joint``).

    Args:
        apart: of each variable the distance that stands for a class [classes]. what: it and its unit, for the axis.
    """

    def draw(axis, c: int) -> None:
        for k, (design, joint) in enumerate(generated.items()):
            axis.plot(apart[c], joint[c], color=COLOURS[k % len(COLOURS)], marker="o", ms=4, label=design)
        axis.plot(apart[c], real[c], marker="o", ms=4, label="the data", **REAL)
        axis.axhline(0.05, color=INK, linewidth=1, linestyle=":", label="independent")
        axis.set(
            xlabel=what,
            ylabel="extreme, given the other is",
            xscale="log",
            ylim=(0, 1),
        )

    return _plot_variables(names, draw)


def plot_rank_histograms(names: list[str], ranks: dict[str, list[np.ndarray]]) -> str:
    """Shares of the ranks of held-out values among samples, by design and variable: flat is right."""

    def draw(axis, c: int) -> None:
        for k, (design, counts) in enumerate(ranks.items()):
            if counts[c].sum():
                shares = counts[c] / counts[c].sum()
                axis.step(np.arange(len(shares)), shares, where="mid", color=COLOURS[k % len(COLOURS)], label=design)
                axis.axhline(1 / len(shares), color=INK, linewidth=1, linestyle=":")
        axis.set(xlabel="rank of the held-out value", ylabel="share", ylim=(0, None))

    return _plot_variables(names, draw)


def plot_return_levels(
    names: list[str],
    real: list[np.ndarray],
    generated: dict[str, list[np.ndarray]],
    intervals: list[Intervals],
    per_year: float | None,
    what: str,
) -> str:
    """The level that comes back once in so many years, or fields where nobody knows how many a year has; bars and bands are 90 % intervals.

    Args:
        real, generated: of each variable one number of each field [N].
        intervals: of the data, by return period in fields. what: the value, for the axis.
    """

    def draw(axis, c: int) -> None:
        for k, (design, fields) in enumerate(generated.items()):
            periods, levels = _largest(fields[c])
            colour, periods = COLOURS[k % len(COLOURS)], periods / (per_year or 1)
            axis.fill_between(periods, *rank_intervals(levels), color=colour, alpha=0.18, linewidth=0)
            axis.plot(periods, levels, color=colour, label=design)
        periods, levels = _largest(real[c])
        axis.plot(periods / (per_year or 1), levels, label="the data", **REAL)
        for period, found in intervals[c].items():
            value, low, high = (found[key] for key in ("value", "low", "high"))
            if value is not None and low is not None and high is not None:
                spread = [[max(0.0, value - low)], [max(0.0, high - value)]]
                at = float(period) / (per_year or 1)
                axis.errorbar(at, value, yerr=spread, color=INK, capsize=3, marker="s", ms=4, linewidth=1)
        axis.set(xlabel="years" if per_year else "fields", ylabel=what, xscale="log")
        _keep_in_sight(axis, levels)

    return _plot_variables(names, draw)


def _largest(fields: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return periods in fields, and the largest values that came back so often: the empirical curve (Weibull's places)."""
    largest = np.sort(fields[~np.isnan(fields)])
    return (len(largest) + 1) / np.arange(len(largest), 0, -1), largest


def _keep_in_sight(axis, real: np.ndarray) -> None:
    """Cuts the axis where samples leave the real values far behind, which would be a flat line otherwise."""
    if len(real):
        low, high = float(np.nanmin(real)), float(np.nanmax(real))
        room = SIGHT * (high - low)
        bottom, top = axis.get_ylim()
        axis.set_ylim(max(bottom, low - room), min(top, high + room))


def _plot_variables(names: list[str], draw: Callable) -> str:
    with open_panels(names, share=False) as (axes, svg):
        for c, axis in enumerate(axes):
            draw(axis, c)
        add_legend(axes, 4)
    return svg[0]
