"""The report's figures as SVG that follows the page's colour scheme."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from tasks.cells.selection import is_published, solver_of
from tasks.cells.tables import metric_name

INK = "#010203"  # replaced by the page's text colour
COLOURS = ["#e76f24", "#2a78c2", "#1a936f", "#8f5bb5", "#c7a317", "#c23b6b", "#3aa6a6", "#7a6a53"]
FAMILIES = {"sde-a": "#8a949e", "sde-e": "#2a78c2", "ode": "#1a936f"}
STYLES = {"euler-maruyama": "-", "ei-score": ":", "ei-noise": "--"}
TUNED = "#e76f24"
LEGIBLE = 1.15  # ratio of neighbours on a logarithmic axis
STYLE = {
    "font.family": "sans-serif", "font.size": 11, "svg.fonttype": "none", "svg.hashsalt": "levy", "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK,
    "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False, "axes.facecolor": "none", "figure.facecolor": "none",
    "legend.frameon": False, "axes.grid": True, "grid.alpha": 0.18, "grid.color": INK, "lines.linewidth": 2, "axes.titleweight": "bold", "axes.titlesize": 12,
}  # fmt: skip


@contextmanager
def open_panels(
    titles: list[str], size: tuple[float, float] = (5.4, 3.9), share: bool = True
) -> Iterator[tuple[list, list[str]]]:
    """Axes, one panel per title; the list that is given beside them receives the SVG."""
    svg: list[str] = []
    with plt.rc_context(STYLE):  # also while saving: without its hashsalt the ids differ from run to run
        figure, axes = plt.subplots(
            1, len(titles), figsize=(size[0] * len(titles), size[1]), sharey=share, squeeze=False, layout="constrained"
        )
        for axis, title in zip(axes[0], titles, strict=True):
            axis.set_title(title)
        yield list(axes[0]), svg
        svg.append(_to_svg(figure))


def _to_svg(figure: Figure) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    text = stream.getvalue()
    return text[text.index("<svg") :].replace(INK, "currentColor")


def _set_log_scale(axes: list, label: str, positive: bool) -> None:
    """A logarithmic y axis where the values allow one (KID can be negative)."""
    axes[0].set_ylabel(label)
    if positive:
        axes[0].set_yscale("log")
        axes[0].yaxis.set_major_formatter(mpl.ticker.FormatStrFormatter("%g"))
        axes[0].yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
        axes[0].yaxis.set_minor_locator(mpl.ticker.NullLocator())


def add_legend(axes: list, columns: int) -> None:
    """One legend of all panels, below them."""
    entries = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    axes[0].figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns, fontsize=9)


def label_apart(ticks: list[int]) -> list[str]:
    """Labels of ticks of a logarithmic axis, ascending; none where the next one that has one is so near that the two would overlap."""
    labels, following = list[str](), float("inf")
    for tick in reversed(ticks):
        far = following > LEGIBLE * tick
        labels, following = [str(tick) if far else "", *labels], tick if far else following
    return labels


def plot_quality(grid: pd.DataFrame, designs: list[str], metric: str, floor: float) -> str:
    """The metric against network evaluations, one panel per design: the paper's solvers (SDE-E at its best eta), the tuned ones, the rest."""
    with open_panels(designs) as (axes, svg):
        for axis, design in zip(axes, designs, strict=True):
            cells = grid[grid.design == design].dropna(subset=[metric])
            solvers = [solver_of(row) for _, row in cells.iterrows()]
            published = np.array([is_published(solver) for solver in solvers], dtype=bool)
            for key, part in cells[published].groupby(["family", "discretisation"], sort=False):
                family, form = map(str, key)
                label = f"{family.upper()} {form}"
                _draw_line(axis, part, metric, label, color=FAMILIES[family], linestyle=STYLES[form], marker="o", ms=4)
            other_grids = cells[~published & ~cells.tuned]
            for k, (key, part) in enumerate(other_grids.groupby(["family", "discretisation"], sort=False)):
                family, form = map(str, key)
                _draw_line(
                    axis,
                    part,
                    metric,
                    f"{family.upper()} {form}, other grids",
                    color=COLOURS[3 + k % 5],
                    marker="D",
                    ms=4,
                )
            _draw_line(axis, cells[cells.tuned], metric, "tuned", color=TUNED, marker="*", ms=12, linewidth=3)
            axis.axhline(floor, color=INK, linestyle=":", linewidth=1.2, label="perfect samples, as many")
            ticks = sorted(grid.nfe.unique())
            axis.set(xlabel="network evaluations per sample", xscale="log")
            axis.set_xticks(ticks, label_apart(ticks))
            axis.minorticks_off()
        _set_log_scale(axes, metric_name(metric), positive=bool((grid[metric].dropna() > 0).all()))
        add_legend(axes, 3)
    return svg[0]


def _draw_line(axis, part: pd.DataFrame, metric: str, label: str, **style) -> None:
    if part.empty:
        return
    lowest = part.sort_values(metric).groupby("nfe").head(1).sort_values("nfe")
    spread = lowest[f"{metric}_std"].fillna(0)
    axis.errorbar(lowest.nfe, lowest[metric], yerr=spread, label=label, capsize=2, elinewidth=1, **style)


def plot_eta(grid: pd.DataFrame, designs: list[str], metric: str) -> str:
    """The metric of SDE-E against eta at each number of evaluations, the ODE at eta 0; a ring marks each curve's optimum.

    Empty where the grid has no such solver.
    """
    grid = grid.dropna(subset=[metric])
    kept = [
        is_published(solver) and solver.family in ("ode", "sde-e")
        for solver in (solver_of(row) for _, row in grid.iterrows())
    ]
    curves = grid[kept]
    if curves.empty:
        return ""
    costs = sorted(map(int, curves.nfe.unique()))
    with open_panels(designs) as (axes, svg):
        for axis, design in zip(axes, designs, strict=True):
            of_design = curves[curves.design == design]
            for key, cells in of_design.groupby(["nfe", "discretisation"]):
                (nfe, form), part = map(str, key), cells.sort_values("eta")
                colour = plt.get_cmap("viridis")(0.3 + 0.6 * costs.index(int(nfe)) / max(1, len(costs) - 1))
                axis.errorbar(
                    part.eta, part[metric], yerr=part[f"{metric}_std"].fillna(0), color=colour, linestyle=STYLES[form],
                    marker="o", ms=4, capsize=2, elinewidth=1, label=f"{nfe} evaluations, {form}",
                )  # fmt: skip
                optimum = part.sort_values(metric).iloc[0]
                axis.plot(optimum.eta, optimum[metric], "o", ms=12, mfc="none", mec=colour, mew=1.6)
            axis.set_xscale("symlog", linthresh=0.05)
            axis.set(xlabel="eta")
            ticks = [0, *sorted(eta for eta in curves.eta.unique() if eta > 0)]
            axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.minorticks_off()
        _set_log_scale(axes, metric_name(metric), positive=bool((curves[metric] > 0).all()))
        add_legend(axes, 3)
    return svg[0]


def plot_shares(classes: list[str], truth: list[float], generated: dict[str, np.ndarray]) -> str:
    """Bars of class shares, rarest class first: the true ones, and per design [classes, 3], each share with its interval's ends."""
    order = sorted(range(len(truth)), key=lambda c: (truth[c], -c))
    width = 0.8 / (len(generated) + 1)
    places = [np.arange(len(order)) + (k - len(generated) / 2) * width for k in range(len(generated) + 1)]
    with open_panels([""], (10.8, 3.4)) as ([axis], svg):
        axis.bar(places[0], [truth[c] for c in order], width * 0.92, color="#8a949e", label="training data")
        for k, (name, shares) in enumerate(generated.items()):
            share, low, high = shares[order].T
            axis.bar(places[k + 1], share, width * 0.92, color=COLOURS[k % len(COLOURS)], label=name)
            arms = np.maximum(0, [share - low, high - share])
            axis.errorbar(places[k + 1], share, yerr=arms, fmt="none", ecolor=INK, elinewidth=1, capsize=2)
        axis.set(yscale="log", ylabel="share", ylim=(min(truth) / 10, 1), xticks=range(len(order)))
        axis.set_xticklabels([classes[c] for c in order], rotation=0 if max(map(len, classes)) < 4 else 45)
        axis.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
        axis.grid(axis="x", visible=False)
        add_legend([axis], len(places))
    return svg[0]


def plot_tails(real: np.ndarray, generated: dict[str, np.ndarray]) -> str:
    """Quantiles of generated against real distances from the centre of the training images: on the line, the law is right."""
    levels = np.concatenate([np.linspace(0.02, 0.9, 45), 1 - np.geomspace(0.1, 0.005, 12)])
    with open_panels([""], (5.8, 4.6)) as ([axis], svg):
        x = np.quantile(real, levels)
        axis.plot(x, x, color=INK, linewidth=1, linestyle=":", label="the data")
        for k, (name, values) in enumerate(generated.items()):
            axis.plot(
                x,
                np.quantile(values, levels),
                color=COLOURS[k % len(COLOURS)],
                marker=".",
                ms=5,
                linewidth=1.2,
                label=name,
            )
        axis.axvline(np.quantile(real, 0.9), color=INK, linewidth=0.8, alpha=0.4)
        axis.set(xlabel="quantile of the training images", ylabel="quantile of the samples")
        axis.legend(fontsize=9)
    return svg[0]


def plot_losses(curves: dict[str, pd.DataFrame]) -> str:
    """Training curves, and the losses of held-out samples as dots."""
    with open_panels([""], (10.8, 3.1)) as ([axis], svg):
        for k, (name, curve) in enumerate(curves.items()):
            axis.plot(curve.step, curve.loss, color=COLOURS[k % len(COLOURS)], label=name)
            if "held_out_loss" in curve:  # curves of before there was one have none
                axis.plot(curve.step, curve.held_out_loss, "o", color=COLOURS[k % len(COLOURS)], markersize=3)
        axis.set(xlabel="optimiser step", ylabel="loss", yscale="log")
        axis.legend(fontsize=9)
    return svg[0]
