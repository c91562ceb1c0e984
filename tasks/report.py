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
from levy_core.datasets.store import read_group
from levy_core.metrics.classifier import Classifier, classify, load_classifier
from tasks import figures, paths, stage
from tasks.cells import read_cells
from tasks.params import Params

FAMILY = {"sde-a": "SDE-A", "sde-e": "SDE-E", "ode": "ODE"}
PER_CLASS = 12  # pictures in a row
MEASURES = [
    ("FID, long-tailed reference", "fid/longtail"), ("FID, balanced reference", "fid/balanced"), ("KID x 1000, long-tailed", "kid/longtail"),
    ("precision, long-tailed", "precision/longtail"), ("recall, long-tailed", "recall/longtail"), ("recall, balanced", "recall/balanced"),
    ("rare classes: share among samples / share in the data", "rare_share_ratio"), ("rare classes: samples a seed", "rare_count"),
    ("rare classes: recall, balanced reference", "rare_recall/balanced"), ("rare classes: FID, balanced reference", "rare_fid/balanced"),
    ("rare classes: FID, long-tailed reference", "rare_fid/longtail"),
]  # fmt: skip


def report(params: Params, dataset: str) -> None:
    """Writes ``index.html`` and a picture of samples a design."""
    grid = pd.read_csv(paths.grid(dataset))
    winner = json.loads(paths.winner(dataset).read_text())
    statistics = json.loads((paths.prepared(dataset) / "statistics.json").read_text())
    judge = json.loads((paths.classifier(dataset) / "classifier.json").read_text())
    counts, classes = statistics["train"]["counts"], statistics["train"]["classes"]
    best = {d: grid[grid.design == d].sort_values(winner["metric"]).iloc[0] for d in params.designs}
    drawn = {d: _samples_of(paths.samples(dataset, d), best[d]) for d in params.designs}
    net = load_classifier(paths.classifier(dataset))
    train = read_group(paths.prepared(dataset) / "images.zarr", "train")
    curves = {d: pd.read_csv(paths.curve(dataset, d)) for d in params.designs}
    shares = {
        d: [best[d][f"class_count/{c}"] / best[d]["samples"] for c in range(len(classes))] for d in params.designs
    }
    with stage.replacing_folder(paths.report(dataset)) as folder:
        pictures = _pictures(folder, net, train.image, train.label, drawn, counts, best)
        page = {
            "dataset": dataset, "designs": params.designs, "cells": len(grid), "winner_label": _label(winner), "seeds": int(grid["seeds"].max()),
            "per_seed": int(winner["samples"]), "drawn": len(next(iter(drawn.values()))), "look_up": f'mlflow.pyfunc.load_model("models:/levy-{dataset}@champion").predict({{"n": 16}})',
            "headline": f"{winner['design']} wins with {_label(winner)}: FID {winner[winner['metric']]:.2f}" if winner["metric"].startswith("fid") else f"{winner['design']} wins with {_label(winner)}",
            "subline": _subline(grid, winner), "cards": _cards(best), "pictures": pictures, "table": _table(grid, params.designs),
            "feature_note": _feature_note(judge, params.evaluate.inception_weights is not None, statistics),
            "measures": [{"name": name, "cells": [_pm(best[d], key, 1000 if "x 1000" in name else 1) for d in params.designs]} for name, key in MEASURES],
            "rare_note": _rare_note(classes, counts, winner),
            "figures": [
                {"title": "Quality against cost", "text": "Best cell of each solver and discretisation at each number of network evaluations; lower is better. Bars: standard deviation over seeds.", "svg": figures.quality(grid, params.designs)},
                {"title": "Eta", "text": "SDE-E(eta) adds noise back and stays exact: eta = 0 is the ODE. Dashed: SDE-A in the same discretisation. The best eta depends on the model and on the number of steps, which is why it is searched.", "svg": figures.eta_curves(grid, params.designs)},
                {"title": "Which classes come back", "text": "Share of each class among the samples of each design's best cell, against its share of the training data (log scale).", "svg": figures.shares(classes, counts, shares)},
                {"title": "Training", "text": "Loss, averaged over 50 steps. The designs' losses differ in kind: compare shapes, not heights.", "svg": figures.losses(curves)},
            ],
        }  # fmt: skip
        template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(
            Path(__file__).with_name("report.html.j2").read_text()
        )
        (folder / "index.html").write_text(template.render(**page))
    print(f"report: {paths.report(dataset) / 'index.html'}")


def _label(cell: Any) -> str:
    eta = f"({cell['eta']:g})" if cell["family"] == "sde-e" else ""
    return f"{FAMILY[cell['family']]}{eta}, {cell['discretisation']}, {int(cell['steps'])} evaluations"


def _samples_of(folder: Path, cell: Any) -> np.ndarray:
    same = [
        (c, image)
        for c, image in read_cells(folder)
        if all(getattr(c.solver, k) == cell[k] for k in ("family", "discretisation", "grid", "steps", "eta"))
    ]
    return np.concatenate([np.asarray(image) for _, image in same])


def _subline(grid: pd.DataFrame, winner: dict) -> str:
    metric, few = winner["metric"], int(grid["steps"].min())
    others = grid[grid.design != winner["design"]]
    parts = []
    if len(others):
        other = others.sort_values(metric).iloc[0]
        parts.append(f"The best of the other designs is {other['design']} with {_label(other)}: {other[metric]:.2f}.")
    fast = grid[grid.steps == few].sort_values(metric).iloc[0]
    parts.append(f"With {few} evaluations the best is {fast['design']} with {_label(fast)}: {fast[metric]:.2f}.")
    return " ".join(parts)


def _cards(best: dict[str, Any]) -> list[dict[str, str]]:
    cards = []
    for design, cell in best.items():
        cards.append(
            {
                "title": f"{design}: best FID",
                "value": f"{cell['fid/longtail']:.2f}",
                "unit": f"± {cell['fid/longtail_std']:.2f}",
                "text": _label(cell),
            }
        )
        cards.append(
            {
                "title": f"{design}: rare classes",
                "value": f"{cell['rare_share_ratio']:.2f}",
                "unit": "of their true share",
                "text": f"recall of rare images {cell['rare_recall/balanced']:.2f}",
            }
        )
    return cards


def _feature_note(judge: dict, inception: bool, statistics: dict) -> str:
    source = (
        "FID, KID, precision and recall use Inception features: they are the published metrics."
        if inception
        else "FID, KID, precision and recall use the features of a small classifier trained on this data set. They compare the cells of this run with each other; they are not Inception-FID and cannot be compared with published tables."
    )
    return f"{source} The classifier that sorts samples into classes is right on {judge['held_out_accuracy']:.1%} of {judge['held_out_images']} held-out real images. Training data: {sum(statistics['train']['counts']):,} images, long-tailed; balanced reference: {sum(statistics['balanced']['counts']):,}."


def _rare_note(classes: list[str], counts: list[int], winner: dict) -> str:
    rare = ", ".join(f"{classes[c]} ({counts[c]} training images)" for c in rare_classes(counts))
    return f"Rare classes: {rare}. Their FID rests on the few rare samples among {int(winner['samples'])} a seed and is biased upwards by that; precision and recall are those of Kynkäänniemi et al. (2019)."


def _pm(cell: Any, key: str, factor: float = 1) -> str:
    if pd.isna(cell[key]):
        return "too few samples"
    spread = cell[f"{key}_std"]
    return f"{cell[key] * factor:.3g}" + (f" ± {spread * factor:.2g}" if pd.notna(spread) else "")


def _table(grid: pd.DataFrame, designs: list[str]) -> dict[str, Any]:
    names = list(dict.fromkeys(zip(grid.discretisation, grid.grid, grid.steps, strict=True)))
    names.sort(key=lambda c: (list(dict.fromkeys(grid.discretisation)).index(c[0]), c[1], c[2]))
    several_grids = grid.grid.nunique() > 1
    blocks = []
    for design in designs:
        mine = grid[grid.design == design]
        lowest = mine.groupby(["discretisation", "grid", "steps"])["fid/longtail"].min()
        rows = []
        for family, eta in dict.fromkeys(zip(mine.family, mine.eta, strict=True)):
            cells = []
            for column in names:
                hit = mine[
                    (mine.family == family)
                    & (mine.eta == eta)
                    & (mine.discretisation == column[0])
                    & (mine.grid == column[1])
                    & (mine.steps == column[2])
                ]
                value = hit.iloc[0] if len(hit) else None
                if value is None or pd.isna(value["fid/longtail"]):
                    cells.append({"mean": "–", "std": "", "best": False})
                    continue
                std = value["fid/longtail_std"]
                cells.append(
                    {
                        "mean": f"{value['fid/longtail']:.2f}",
                        "std": "" if pd.isna(std) else f"{std:.2f}",
                        "best": value["fid/longtail"] == lowest[column],
                    }
                )
            rows.append({"name": FAMILY[family] + (f"({eta:g})" if family == "sde-e" else ""), "cells": cells})
        blocks.append({"title": design, "rows": rows})
    columns = [f"{d}{' ' + g if several_grids else ''}, N = {n}" for d, g, n in names]
    return {"columns": columns, "blocks": blocks}


def _pictures(
    folder: Path,
    net: Classifier,
    real: np.ndarray,
    labels: np.ndarray,
    drawn: dict[str, np.ndarray],
    counts: list[int],
    best: dict[str, Any],
) -> list[dict[str, str]]:
    rows = sorted(range(len(counts)), key=lambda c: (-counts[c], c))[:20]
    sets = {"real": (real, labels, "the long-tailed training data")}
    sets |= {d: (image, classify(net, image), _label(best[d])) for d, image in drawn.items()}
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
