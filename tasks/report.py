"""Stage report: one self-contained HTML page: who won, the grid, eta curves, classes, pictures."""

import base64
import json
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pandas as pd
from PIL import Image

from levy_core.datasets.longtail import rare_classes
from levy_core.datasets.store import Images, read_group
from levy_core.metrics.classifier import Classifier, classify, load_classifier
from levy_core.steps import FAMILIES
from tasks import figures, paths, stage
from tasks.cells import read_cells
from tasks.grid import best, solver_of
from tasks.params import Params

PER_CLASS = 12  # pictures in a row
MOST_CLASSES = 20  # rows; the commonest classes, where there are more
FID = "fid/longtail"
MEASURES = [
    ("FID, long-tailed reference", "fid/longtail"), ("FID, balanced reference", "fid/balanced"), ("KID x 1000, long-tailed", "kid/longtail"),
    ("precision, long-tailed", "precision/longtail"), ("recall, long-tailed", "recall/longtail"), ("recall, balanced", "recall/balanced"),
    ("rare classes: share among samples / share in the data", "rare_share_ratio"), ("rare classes: samples a seed", "rare_count"),
    ("rare classes: recall, balanced reference", "rare_recall/balanced"), ("rare classes: FID, balanced reference", "rare_fid/balanced"),
    ("rare classes: FID, long-tailed reference", "rare_fid/longtail"),
]  # fmt: skip


def report(params: Params, dataset: str) -> None:
    """Writes ``index.html`` and a picture of samples a design."""
    designs = params.designs
    grid = pd.read_csv(paths.grid(dataset))
    winner = json.loads(paths.winner(dataset).read_text())
    statistics = json.loads((paths.prepared(dataset) / "statistics.json").read_text())
    counts, classes = statistics["train"]["counts"], statistics["train"]["classes"]
    bests = {d: best(grid[grid.design == d], winner["metric"]).iloc[0] for d in designs}
    drawn = {d: _samples_of(paths.samples(dataset, d), bests[d]) for d in designs}
    shares = {d: [bests[d][f"class_count/{c}"] / bests[d]["samples"] for c in range(len(classes))] for d in designs}
    page: dict[str, Any] = {
        "dataset": dataset,
        "designs": designs,
        "grid": grid,
        "winner": winner,
        "winner_label": _label(winner),
        "runner_up": _describe(grid[grid.design != winner["design"]], winner["metric"]),
        "fastest": _describe(grid[grid.steps == grid.steps.min()], winner["metric"]),
        "cards": _cards(bests),
        "table": _table(grid, designs),
        "measures": [
            (name, [_pm(bests[d], key, 1000 if "x 1000" in name else 1) for d in designs]) for name, key in MEASURES
        ],
        "judge": json.loads((paths.classifier(dataset) / "classifier.json").read_text()),
        "inception": params.evaluate.inception_weights is not None,
        "train_images": sum(counts),
        "balanced_images": sum(statistics["balanced"]["counts"]),
        "drawn": len(next(iter(drawn.values()))),
        "rare": [f"{classes[c]} ({counts[c]} training images)" for c in rare_classes(counts)],
        "quality": figures.quality(grid, designs),
        "eta_curves": figures.eta_curves(grid, designs),
        "shares": figures.shares(classes, counts, shares),
        "losses": figures.losses({d: pd.read_csv(paths.curve(dataset, d)) for d in designs}),
    }
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    source = Path(__file__).with_name("report.html.j2").read_text()
    net = load_classifier(paths.classifier(dataset))
    train = read_group(paths.prepared(dataset) / "images.zarr", "train")
    with stage.replacing_folder(paths.report(dataset)) as folder:
        page["pictures"] = _pictures(folder, net, train, drawn, counts, bests)
        (folder / "index.html").write_text(template.from_string(source).render(**page))
    print(f"report: {paths.report(dataset) / 'index.html'}")


def _label(cell: Any) -> str:
    solver = solver_of(cell)
    return f"{solver.label}, {solver.steps} evaluations"


def _describe(grid: pd.DataFrame, metric: str) -> str:
    if grid.empty:
        return ""
    cell = best(grid, metric).iloc[0]
    return f"{cell['design']} with {_label(cell)}: {cell[metric]:.2f}"


def _samples_of(folder: Path, cell: Any) -> np.ndarray:
    solver = solver_of(cell)
    return np.concatenate([np.asarray(d.image) for d in read_cells(folder) if d.cell.solver == solver])


def _cards(bests: dict[str, Any]) -> list[dict[str, str]]:
    cards = []
    for design, cell in bests.items():
        cards.append(
            {
                "title": f"{design}: best FID",
                "value": f"{cell['fid/longtail']:.2f}",
                "unit": f"± {cell['fid/longtail_std']:.2f}" if pd.notna(cell["fid/longtail_std"]) else "one seed",
                "text": _label(cell),
            }
        )
        cards.append(
            {
                "title": f"{design}: rare classes",
                "value": f"{cell['rare_share_ratio']:.2f}",
                "unit": "× their true share",
                "text": f"recall of rare images {cell['rare_recall/balanced']:.2f}",
            }
        )
    return cards


def _pm(cell: Any, key: str, factor: float = 1) -> str:
    if pd.isna(cell[key]):
        return "too few samples"
    spread = cell[f"{key}_std"]
    return f"{cell[key] * factor:.3g}" + (f" ± {spread * factor:.2g}" if pd.notna(spread) else "")


def _table(grid: pd.DataFrame, designs: list[str]) -> dict[str, Any]:
    """The paper's form: a row a family and eta, a column a discretisation, grid and number of steps."""
    axes = ["discretisation", "grid", "steps"]
    columns = list(grid[axes].drop_duplicates().sort_values(axes).itertuples(index=False, name=None))
    several_grids = grid.grid.nunique() > 1
    blocks = []
    for design in designs:
        mine = grid[grid.design == design]
        lowest = mine.groupby(axes)[FID].min()
        by_cell = mine.set_index(["family", "eta", *axes])
        rows = []
        for family, eta in dict.fromkeys(zip(mine.family, mine.eta, strict=True)):
            name = family.upper() + (f"({eta:g})" if FAMILIES[family].most_eta is not None else "")
            places = [(family, eta, *column) for column in columns]
            cells = [by_cell.loc[place] if place in by_cell.index else None for place in places]
            row = [
                ("", False)
                if cell is None
                else (_pm(cell, FID), cell[FID] == lowest[column])  # a form it does not have
                for cell, column in zip(cells, columns, strict=True)
            ]
            rows.append((name, row))
        blocks.append((design, rows))
    return {"columns": [f"{d}{' ' + g if several_grids else ''}, N = {n}" for d, g, n in columns], "blocks": blocks}


def _pictures(
    folder: Path, net: Classifier, train: Images, drawn: dict[str, np.ndarray], counts: list[int], bests: dict[str, Any]
) -> list[dict[str, str]]:
    rows = sorted(range(len(counts)), key=lambda c: (-counts[c], c))[:MOST_CLASSES]
    sets = {"real": (train.image, train.label, "the long-tailed training data")}
    sets |= {d: (image, classify(net, image), _label(bests[d])) for d, image in drawn.items()}
    pictures = []
    for name, (image, verdict, text) in sets.items():
        path = folder / f"samples-{name}.png"
        _contact_sheet(image, verdict, rows).save(path)
        pictures.append({"title": name, "text": text, "png": base64.b64encode(path.read_bytes()).decode()})
    return pictures


def _contact_sheet(image: np.ndarray, verdict: np.ndarray, rows: list[int]) -> Image.Image:
    _, channels, height, width = image.shape
    zoom, gap = max(1, 32 // height), 2
    sheet = np.full((len(rows) * (height * zoom + gap), PER_CLASS * (width * zoom + gap), channels), 128, np.uint8)
    for r, c in enumerate(rows):
        for k, index in enumerate(np.flatnonzero(verdict == c)[:PER_CLASS]):
            tile = image[index].transpose(1, 2, 0).repeat(zoom, 0).repeat(zoom, 1)
            top, left = r * (height * zoom + gap), k * (width * zoom + gap)
            sheet[top : top + height * zoom, left : left + width * zoom] = tile
    return Image.fromarray(sheet[..., 0] if channels == 1 else sheet)


if __name__ == "__main__":
    stage.main(report, "dataset")
