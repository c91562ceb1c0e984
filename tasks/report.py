"""Stage report: one self-contained HTML page: who won at which cost and why, the grid, eta curves, classes, pictures, tails, cost."""

import json
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd

from levy_core.checkpoint import Model, load_model
from levy_core.datasets.longtail import rare_classes
from levy_core.datasets.store import read_group
from levy_core.metrics.classifier import classify, load_classifier
from tasks import figures, paths, pictures, stage, tables
from tasks.cells import read_cells
from tasks.draw import evaluation_flops, trajectories
from tasks.grid import Row, solver_of, thrifty
from tasks.params import Params
from tasks.reference import feature_space, read_references

PATHS = 6  # samples whose way is shown


def report(params: Params, dataset: str) -> None:
    """Writes ``index.html``, its figures and its pictures."""
    stage.reproducible(params.compute.threads)
    grid = pd.read_csv(paths.grid(dataset))
    winner = json.loads(paths.winner(dataset).read_text())
    eta = json.loads(paths.eta(dataset).read_text())
    metric, designs = winner["metric"], list(eta)  # a design whose every cell failed has no best one to show
    statistics = json.loads((paths.prepared(dataset) / "statistics.json").read_text())
    counts, classes = statistics["train"]["counts"], statistics["train"]["classes"]
    chosen = {d: thrifty(grid[grid.design == d], metric) for d in designs}
    drawn = {d: _samples_of(paths.samples(dataset, d), chosen[d]) for d in designs}
    shares = {
        d: [cell[f"class_count/{c}"] / cell["samples"] for c in range(len(classes))] for d, cell in chosen.items()
    }
    models = {d: load_model(paths.model(dataset, d)) for d in designs}
    reference, name = read_references(paths.reference(dataset))[0], metric.split("/")[1]
    floor = float(grid[f"floor/{name}"].dropna().iloc[0])
    drawings = {
        "quality": figures.quality(grid, designs, metric, floor if metric.startswith("fid") else 0.0),
        "eta": figures.eta_curves(grid, designs, metric),
        "classes": figures.shares(classes, counts, shares),
        "tails": figures.tails(*_distances(params, dataset, reference["longtail"].features.numpy(), drawn)),
        "training": figures.losses({d: pd.read_csv(paths.curve(dataset, d)) for d in designs}),
    }
    page: dict[str, Any] = {
        "dataset": dataset,
        "designs": designs,
        "grid": grid,
        "metric": metric,
        "winner": winner,
        "winner_label": _label(winner),
        "headline": tables.budgets(eta),
        "overtaken": tables.overtaken(eta, grid, metric),
        "cards": tables.cards(chosen, metric),
        "tables": tables.papers_form(grid, designs, metric),
        "measures": tables.measures(chosen, designs),
        "per_class": tables.per_class(chosen, designs, classes, counts),
        "cost": _cost(params, models, chosen, sum(counts)),
        "failures": [(row["design"], _label(row), row["failed"]) for _, row in grid[grid.failed.notna()].iterrows()],
        "judge": json.loads((paths.classifier(dataset) / "classifier.json").read_text()),
        "inception": params.evaluate.inception_weights is not None,
        "floor": floor,
        "train_images": sum(counts),
        "balanced_images": sum(statistics["balanced"]["counts"]),
        "drawn": len(next(iter(drawn.values()))),
        "rare": [f"{classes[c]} ({counts[c]} training images)" for c in rare_classes(counts)],
        "figures": drawings,
    }
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(Path(__file__).with_name("report.html.j2").read_text())
    with stage.replacing_folder(paths.report(dataset)) as folder:
        for title, svg in drawings.items():
            (folder / f"{title}.svg").write_text(svg.replace("currentColor", "#1d232b"))
        page["pictures"] = _by_class(folder, dataset, drawn, counts, chosen)
        page["ways"] = _ways(folder, models, chosen)
        (folder / "index.html").write_text(template.render(**page))
    print(f"report: {paths.report(dataset) / 'index.html'}")


def _label(cell: Row) -> str:
    return f"{solver_of(cell).label}, {int(cell['nfe'])} evaluations"


def _samples_of(folder: Path, cell: Row) -> np.ndarray:
    solver = solver_of(cell)
    return np.concatenate([np.asarray(d.image) for d in read_cells(folder) if d.cell.solver == solver])


def _distances(
    params: Params, dataset: str, real: np.ndarray, drawn: dict[str, np.ndarray]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """How far features lie from the centre of the training images: theirs, and each design's."""
    features, centre = feature_space(params, dataset), real.mean(0)
    generated = {d: np.linalg.norm(features(image).numpy() - centre, axis=1) for d, image in drawn.items()}
    return np.linalg.norm(real - centre, axis=1), generated


def _cost(params: Params, models: dict[str, Model], chosen: dict[str, pd.Series], images: int) -> list[dict[str, Any]]:
    seen = params.train.steps * params.train.batch
    rows = []
    for design, model in models.items():
        one, nfe = evaluation_flops(model), int(chosen[design]["nfe"])
        rows.append(
            {
                "design": design,
                "parameters": sum(p.numel() for p in model.predictor.parameters()),
                "seen": seen,
                "epochs": seen / images,
                "training": 3 * one * seen / 1e12,  # a backward pass costs about two forward passes
                "one": one / 1e6,
                "nfe": nfe,
                "image": one * nfe / 1e6,
            }
        )
    return rows


def _by_class(
    folder: Path, dataset: str, drawn: dict[str, np.ndarray], counts: list[int], chosen: dict[str, pd.Series]
) -> list[dict[str, str]]:
    net, train = (
        load_classifier(paths.classifier(dataset)),
        read_group(paths.prepared(dataset) / "images.zarr", "train"),
    )
    sets = {"real": (train.image, train.label, "the long-tailed training data")}
    sets |= {d: (image, classify(net, image), _label(chosen[d])) for d, image in drawn.items()}
    rows = pictures.rows_of(counts)
    return [
        {
            "title": name,
            "text": text,
            "png": pictures.save(folder / f"samples-{name}.png", pictures.by_class(image, verdict, rows)),
        }
        for name, (image, verdict, text) in sets.items()
    ]


def _ways(folder: Path, models: dict[str, Model], chosen: dict[str, pd.Series]) -> list[dict[str, str]]:
    made = []
    for design, model in models.items():
        steps = trajectories(model, solver_of(chosen[design]), seed=0, n=PATHS)
        png = pictures.save(folder / f"steps-{design}.png", pictures.along(steps))
        made.append({"title": design, "text": _label(chosen[design]), "png": png})
    return made


if __name__ == "__main__":
    stage.main(report, "dataset")
