"""`levy solver`: what a sampler does, step by step, without a network."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from levy_core.sampling.solver import StepTable

app = typer.Typer(help="Solvers as tables.", no_args_is_help=True)


@app.command()
def show(
    family: Annotated[str, typer.Argument(help="sde-a, sde-e, ode, split-ddim, split-dlim or posterior.")] = "ode",
    discretisation: Annotated[
        str,
        typer.Argument(
            help="euler-maruyama, ei-score, ei-noise, ei-data, 2m-noise, 2m-data, 3m-data or heun; split and posterior have ei-noise only. Tables of the kind fitted are made by tune for one model."
        ),
    ] = "ei-noise",
    steps: Annotated[int, typer.Option(min=1, help="Network evaluations.")] = 10,
    eta: Annotated[float, typer.Option(min=0, help="Noise that comes back, for sde-e and split.")] = 0.0,
    eta_schedule: Annotated[str, typer.Option(help="constant, quiet-end or falling.")] = "constant",
    grid: Annotated[str, typer.Option(help="uniform-t, uniform-log-rho or karras.")] = "uniform-t",
    schedule: Annotated[str, typer.Option(help="cosine, dlpm-cosine, linear, exploding or flow.")] = "cosine",
    alpha: Annotated[float, typer.Option(help="Exponent of the noise; 2 for Gaussian and Student-t.")] = 1.8,
    rho_max: Annotated[float | None, typer.Option(help="Start; without it, the schedule's own.")] = None,
    rho_min: Annotated[float | None, typer.Option(help="End; without it, the schedule's own.")] = None,
    denoise: Annotated[bool, typer.Option(help="A last step to rho = 0.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Also draw it: a .png, .svg or .pdf file.")] = None,
) -> None:
    """Print the table of a solver: y <- keep * y + weights * predictions + noise * e, one row per network evaluation.

    noise[0] is the newest eps_hat, data[0] the newest x0_hat = y - rho eps_hat; [1] stands for the evaluation before.
    """
    from rich.console import Console
    from rich.table import Table

    from levy_core.base.errors import choose
    from levy_core.process.noise import Gaussian, Stable
    from levy_core.process.schedule import SCHEDULES
    from levy_core.sampling.oracles import Scale, scale_after
    from levy_core.sampling.solver import Solver, tabulate

    noise = Gaussian() if alpha == 2 else Stable(alpha)
    solver = Solver(family, discretisation, grid, steps, eta, eta_schedule, rho_max, rho_min, denoise)
    steps_table = tabulate(solver, choose("schedule", schedule, SCHEDULES)(alpha))
    rows = steps_table.rows()
    title = f"{solver.label}, {schedule} at alpha {alpha:g}: {steps_table.nfe} evaluations"
    table = Table("step", *rows[0], title=title)
    for number, row in enumerate(rows, 1):
        table.add_row(str(number), *(f"{value:.5g}" for value in row.values()))
    Console().print(table)
    print(f"ends at rho = {float(steps_table.rho[-1]):.4g}")
    if steps_table.jumps is None:
        print(
            f"on data of scale 1 in the noise's own law it returns scale {scale_after(steps_table, Scale(noise)):.4f}"
        )
    else:
        print(
            "a path's coefficients follow from its mixing variables A, drawn first: V = sum of jump * A from here to the end"
        )
    if plot:
        _draw(steps_table, title, plot)
        print(plot)


def _draw(table: "StepTable", title: str, path: Path) -> None:
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    numbers = range(1, table.nfe + 1)
    figure, (levels, coefficients) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    positive = table.rho[table.rho > 0]  # 0, where denoising ends, has no place on a logarithmic axis
    levels.plot(range(1, len(positive) + 1), positive, marker="o")
    levels.set(yscale="log", xlabel="step", ylabel="rho", title="noise level")
    rows = table.rows()[: table.nfe]
    for name in [name for name in rows[0] if name != "rho"]:
        coefficients.plot(numbers, [row[name] for row in rows], marker=".", label=name)
    coefficients.set(yscale="symlog", xlabel="step", title="coefficients")
    coefficients.legend(frameon=False)
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    plt.close(figure)
