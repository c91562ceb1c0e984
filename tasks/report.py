"""Stage report: one self-contained HTML page: who won at which cost and why, the grid, eta curves, samples, tails, cost."""

from pathlib import Path
from typing import Any, get_args

import jinja2
import numpy as np
import pandas as pd

from levy_core.base.determinism import make_reproducible
from levy_core.base.errors import LevyError
from levy_core.base.samples import Classes, Samples
from levy_core.process.loss import explain_minimiser
from levy_core.process.twins import describe_missing_twin
from levy_core.serving.draw import evaluation_flops, trajectories
from levy_core.training.checkpoint import Model, load_model
from tasks.cells.comparison import read_eta, read_winner
from tasks.cells.observed import read_scores, read_shown
from tasks.cells.selection import Row, cell_label, rows_of_cell, select_default, solver_of
from tasks.cells.store import read_cells, read_labels
from tasks.cells.tables import metric_name, read_rows
from tasks.cells.tuned import read_spent
from tasks.kinds.kind import Page
from tasks.page import contrasts, figures, observed, pictures, tables
from tasks.page.default_sampler import DefaultSampler
from tasks.params.schema import Params
from tasks.params.training import TrainParams
from tasks.runtime import paths, stage


def report(params: Params, dataset: str) -> None:
    """Writes ``index.html``, its figures and its pictures."""
    make_reproducible(params.compute.threads)
    grid = read_rows(paths.grid(dataset))
    winner = _find_winner(dataset, grid)
    metric = winner["metric"]
    eta = read_eta(paths.eta(dataset), winner, params.designs)
    designs = list(eta)  # a design whose every cell failed has no best one to show
    models = {d: load_model(paths.model(dataset, d)) for d in designs}
    samplers = {
        d: _default_sampler(dataset, d, select_default(grid[grid.design == d], metric), m.samples)
        for d, m in models.items()
    }
    # A twin whose every cell failed is one of the designs, too.
    made = {d: (models.get(d) or load_model(paths.model(dataset, d))).design for d in params.designs}
    device, kind = stage.device(params.compute.device), params.kind(dataset)
    of_kind = kind.open_page(paths.folders(dataset), params.evaluation(dataset), device)
    floor = float(grid[f"floor/{metric}"].dropna().iloc[0])
    drawings = {
        "quality": figures.plot_quality(grid, designs, metric, floor),
        "eta": figures.plot_eta(grid, designs, metric),
        "training": figures.plot_losses({d: pd.read_csv(paths.curve(dataset, d)) for d in designs}),
        **of_kind.figures(samplers),
    }
    cells = {d: c.cell for d, c in samplers.items()}
    page: dict[str, Any] = {
        "dataset": dataset,
        "designs": designs,
        "grid": grid,
        "metric": metric,
        "name": metric_name(metric),
        "winner": winner,
        "winner_label": _label(winner),
        "winner_in_short": _label_in_short(winner),
        "winning": f"{winner['design']} wins with {_label_in_short(winner)}: {metric_name(metric)} {winner[metric]:.3g}",
        "headline": tables.list_budgets(eta),
        "cheaper_than_published": tables.list_cheaper_than_published(eta, grid, metric),
        "cards": [
            card for d, c in samplers.items() for card in (tables.make_card(d, c.cell, metric), of_kind.card(d, c.cell))
        ],
        "tables": tables.tabulate_grid(grid, designs, metric),
        "measures": tables.tabulate_measures(cells, designs, kind.list_measures(of_kind.variables)),
        "contrasts": contrasts.list_contrasts(grid, {d: m.design for d, m in models.items()}, metric),
        "balance": _describe_balance(params.train),
        "twins_to_add": [line for d in designs if (line := describe_missing_twin(d, params.models[d], made))],
        "leaning": {d: explain_minimiser(n) for d, m in models.items() if (n := m.design.loss.minimiser) != "mean"},
        "cost": _cost(params, dataset, models, cells, of_kind.training_samples),
        "failures": [(row["design"], _label(row), row["failed"]) for _, row in grid[grid.failed.notna()].iterrows()],
        "floor": floor,
        "figures": drawings,
        "picture_width": of_kind.picture_width,
        **of_kind.values(samplers),
    }
    loader = jinja2.FileSystemLoader([of_kind.template.parent, Path(__file__).with_name("page")])
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.get_template(of_kind.template.name)
    with stage.replacing_folder(paths.report(dataset)) as folder:
        for title, svg in drawings.items():
            if svg:
                (folder / f"{title}.svg").write_text(svg.replace("currentColor", "#1d232b"))
        page["pictures"] = of_kind.pictures(folder, samplers)
        page["observed"] = _write_observed(folder, params, dataset, designs, winner["design"], of_kind)
        page["ways"] = _write_trajectories(folder, models, samplers, of_kind)
        (folder / "index.html").write_text(template.render(**page))
    print(f"report: {paths.report(dataset) / 'index.html'}")


def _find_winner(dataset: str, grid: pd.DataFrame) -> dict[str, Any]:
    """The winner's row of the grid, and the metric by which it was chosen."""
    winner = read_winner(paths.winner(dataset))
    rows = rows_of_cell(grid, winner)
    if rows.empty:
        raise LevyError(
            f"{paths.winner(dataset)} is {cell_label(winner)}, which {paths.grid(dataset)} does not have: run the compare stage again"
        )
    return {"metric": winner["metric"], **{str(name): value for name, value in rows.iloc[0].items()}}


def _label(cell: Row) -> str:
    return f"{solver_of(cell).label}, {int(cell['nfe'])} evaluations"


def _label_in_short(cell: Row) -> str:
    """Without the discretisation and the levels."""
    return f"{solver_of(cell).form.rsplit(' ', 1)[0]}, {int(cell['nfe'])} evaluations"


def _describe_balance(train: TrainParams) -> str:
    """How training departs from the proportions of the data."""
    steps = f" in the last {100 * train.balance_phase:g} % of the steps" if train.balance_phase < 1 else ""
    parts = [f"balance {train.balance:g}{steps}"] * bool(train.balance)
    parts += [f"class-balancing term {train.class_balancing:g}"] * bool(train.class_balancing)
    return ", ".join(parts) or "none"


def _default_sampler(dataset: str, design: str, cell: pd.Series, of_model: Samples) -> DefaultSampler:
    solver = solver_of(cell)
    folder = paths.samples(dataset, design)
    cells = read_cells(folder)
    labels = read_labels(folder, cells)
    drawn = [d.samples for d in cells if d.samples is not None and solver_of(d.cell.settings) == solver]
    ways: tuple[Classes, ...] = get_args(Classes)
    classes: Classes = next(
        (way for way in ways if np.array_equal(of_model.labels(way, 0, len(labels)), labels)), "none"
    )
    return DefaultSampler(cell, _label(cell), drawn, np.tile(labels, len(drawn)), classes)


def _cost(
    params: Params, dataset: str, models: dict[str, Model], cells: dict[str, pd.Series], samples: int
) -> list[dict[str, Any]]:
    drawn = params.train.steps * params.train.batch
    rows = []
    for design, model in models.items():
        one, nfe = evaluation_flops(model), int(cells[design]["nfe"])
        rows.append(
            {
                "design": design,
                "parameters": sum(p.numel() for p in model.predictor.parameters()),
                "seen": drawn,
                "epochs": drawn / samples,
                "training": 3
                * evaluation_flops(model, in_training=True)
                * drawn
                / 1e12,  # a backward pass costs about two forward passes
                "searching": one * sum(read_spent(paths.tuned(dataset, design)).values()) / 1e12,
                "one": one / 1e6,
                "nfe": nfe,
                "sample": one * nfe / 1e6,
            }
        )
    return rows


def _write_observed(
    folder: Path, params: Params, dataset: str, designs: list[str], winner: str, page: Page
) -> list[dict[str, Any]]:
    """What was observed of held-out data: one table for each experiment that was done, and pictures of the winner, or of a design that has it."""
    experiments, entries = params.experiments(dataset), []
    scores = {d: read_scores(paths.observed(dataset, d)) for d in designs} if experiments else {}
    for name, experiment in experiments.items():
        done = [d for d, table in scores.items() if (table.experiment == name).any()]
        if not done:  # the data do not suit it, as the stage observe says
            continue
        design = winner if winner in done else done[0]
        cases = read_shown(paths.observed(dataset, design))[name]  # none where all of the model's ways failed
        png = pictures.save_png(folder / f"observed-{name}.png", page.draw_observed(cases)) if cases else ""
        entries.append(
            {
                "title": name,
                "text": f"{experiment.text}; {observed.describe_numbers(scores[design], name)}, {experiment.members} members of each",
                "rows": observed.tabulate_observed(scores, name, page.variables, page.units),
                "design": design,
                "way": cases[0].way if cases else "",
                "cases": [f"{case.name}{', extreme' * case.extreme}" for case in cases],
                "png": png,
            }
        )
    return entries


def _write_trajectories(
    folder: Path, models: dict[str, Model], samplers: dict[str, DefaultSampler], page: Page
) -> list[dict[str, str]]:
    entries = []
    for design, model in models.items():
        steps = page.pixels(
            trajectories(model, solver_of(samplers[design].cell), 0, samplers[design].labels[: page.trajectories])
        )
        png = pictures.save_png(folder / f"steps-{design}.png", pictures.draw_trajectories(steps))
        entries.append({"title": design, "text": samplers[design].label, "png": png})
    return entries
