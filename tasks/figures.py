"""The report's figures as SVG that follows the page's colour scheme."""

import io

import matplotlib as mpl

mpl.use("svg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

INK = "#010203"  # replaced by the page's text colour
COLOURS = ["#e76f24", "#2a78c2", "#1a936f", "#8f5bb5", "#c7a317", "#c23b6b", "#3aa6a6", "#7a6a53"]
MARKERS = {"sde-a": "s", "sde-e": "o", "ode": "^", "split-ddim": "D", "split-dlim": "v", "posterior": "P"}
STYLE = {
    "font.family": "sans-serif", "font.size": 11, "svg.fonttype": "none", "svg.hashsalt": "levy", "text.color": INK, "axes.edgecolor": INK, "axes.labelcolor": INK,
    "xtick.color": INK, "ytick.color": INK, "axes.spines.top": False, "axes.spines.right": False, "axes.facecolor": "none", "figure.facecolor": "none",
    "legend.frameon": False, "axes.grid": True, "grid.alpha": 0.18, "grid.color": INK, "lines.linewidth": 2, "axes.titleweight": "bold", "axes.titlesize": 12,
}  # fmt: skip
FID = "fid/longtail"


def _svg(figure: Figure) -> str:
    stream = io.StringIO()
    with plt.rc_context(STYLE):  # its hashsalt: without it the ids differ from run to run
        figure.savefig(stream, format="svg", bbox_inches="tight", metadata={"Date": None, "Creator": None})
    plt.close(figure)
    text = stream.getvalue()
    return text[text.index("<svg") :].replace(INK, "currentColor")


def _panels(designs: list[str]) -> tuple[Figure, list]:
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            1, len(designs), figsize=(5.4 * len(designs), 3.9), sharey=True, squeeze=False, layout="constrained"
        )
    return figure, list(axes[0])


def _label_fid(figure: Figure, axes: list) -> None:
    axes[0].set_ylabel("FID")
    axes[0].yaxis.set_major_formatter(mpl.ticker.ScalarFormatter())
    axes[0].yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)


def quality(grid: pd.DataFrame, designs: list[str]) -> str:
    """FID against network evaluations, a panel a design, a line a (solver, discretisation)."""
    figure, axes = _panels(designs)
    with plt.rc_context(STYLE):
        for axis, design in zip(axes, designs, strict=True):
            mine = grid[grid.design == design]
            for d, discretisation in enumerate(dict.fromkeys(grid.discretisation)):
                for family in dict.fromkeys(grid.family):
                    part = mine[(mine.family == family) & (mine.discretisation == discretisation)]
                    best = part.sort_values(FID).groupby("steps").head(1).sort_values("steps")
                    axis.errorbar(
                        best.steps * (1 + 0.012 * (d - 1)), best[FID], yerr=best[f"{FID}_std"].fillna(0), color=COLOURS[d], marker=MARKERS[family], capsize=2,
                        linestyle="--" if family == "sde-a" else "-", label=f"{family.upper()} {discretisation}",
                    )  # fmt: skip
            axis.set(title=design, xlabel="network evaluations", yscale="log")
            axis.set_xticks(sorted(grid.steps.unique()), [str(s) for s in sorted(grid.steps.unique())])
            axis.minorticks_off()
        _label_fid(figure, axes)
    return _svg(figure)


def eta_curves(grid: pd.DataFrame, designs: list[str]) -> str:
    """FID against eta at the largest number of steps, the ODE at eta 0, SDE-A as a level."""
    figure, axes = _panels(designs)
    steps = grid.steps.max()
    with plt.rc_context(STYLE):
        for axis, design in zip(axes, designs, strict=True):
            for d, discretisation in enumerate(dict.fromkeys(grid.discretisation)):
                mine = grid[(grid.design == design) & (grid.steps == steps) & (grid.discretisation == discretisation)]
                curve = mine[mine.family != "sde-a"].sort_values(FID).groupby("eta").head(1).sort_values("eta")
                axis.errorbar(
                    curve.eta,
                    curve[FID],
                    yerr=curve[f"{FID}_std"].fillna(0),
                    color=COLOURS[d],
                    marker="o",
                    capsize=2,
                    label=discretisation,
                )
                for level in mine[mine.family == "sde-a"][FID]:
                    axis.axhline(level, color=COLOURS[d], linestyle="--", linewidth=1.2)
            axis.set(title=f"{design}, {steps} evaluations", xlabel="eta", yscale="log")
            axis.minorticks_off()
        _label_fid(figure, axes)
    return _svg(figure)


def shares(classes: list[str], counts: list[int], generated: dict[str, list[float]]) -> str:
    """Bars of class shares, commonest class first."""
    order = sorted(range(len(counts)), key=lambda c: (-counts[c], c))
    truth = [count / sum(counts) for count in counts]
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(10.8, 3.4), layout="constrained")
        width = 0.8 / (len(generated) + 1)
        for k, (name, share) in enumerate([("training data", truth), *generated.items()]):
            colour = "#8a949e" if k == 0 else COLOURS[k - 1]
            axis.bar(
                np.arange(len(order)) + (k - len(generated) / 2) * width,
                [share[c] for c in order],
                width * 0.92,
                color=colour,
                label=name,
            )
        axis.set(yscale="log", ylabel="share", xticks=range(len(order)))
        axis.set_xticklabels([classes[c] for c in order], rotation=0 if max(map(len, classes)) < 4 else 45)
        axis.yaxis.set_major_formatter(mpl.ticker.PercentFormatter(1.0, decimals=1))
        axis.grid(axis="x", visible=False)
        axis.legend(fontsize=9)
    return _svg(figure)


def losses(curves: dict[str, pd.DataFrame]) -> str:
    """Training curves."""
    with plt.rc_context(STYLE):
        figure, axis = plt.subplots(figsize=(10.8, 3.1), layout="constrained")
        for k, (name, curve) in enumerate(curves.items()):
            axis.plot(curve.step, curve.loss, color=COLOURS[k], label=name)
        axis.set(xlabel="optimiser step", ylabel="loss", yscale="log")
        axis.legend(fontsize=9)
    return _svg(figure)
