"""Fields in the report: maps, tails, spectra, return levels, and a file of samples that other tools read."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd

from levy_core.datasets.fields.cf import write_cf
from levy_core.datasets.fields.store import FieldStore
from tasks.kinds.fields import figures
from tasks.kinds.fields.metrics import FieldRuler
from tasks.kinds.fields.times import times_of
from tasks.page import pictures
from tasks.page.shown import Chosen
from tasks.params.schema import Params
from tasks.runtime import paths

OF_VARIABLE = [
    ("Kolmogorov-Smirnov distance", "ks"),
    ("skewness, generated / real", "skew_ratio"),
    ("kurtosis, generated / real", "kurtosis_ratio"),
    ("tail: mean squared log error of upper quantiles", "tail_error"),
    ("99.9 % quantile, generated / real", "q999_ratio"),
    ("tail index (Hill)", "hill"),
    ("shape of peaks over threshold (GPD)", "gpd"),
    ("return levels: log error", "return_error"),
    ("exceedance of the real 99 % quantile, generated / real", "exceed99_ratio"),
    ("exceedance of the real 99.9 % quantile, generated / real", "exceed999_ratio"),
    ("power spectrum: log error", "spectrum_error"),
    ("spatial correlation: error", "correlation_error"),
]
OF_SEASONS = [
    ("CRPS of samples of the season", "crps"),
    ("CRPS skill over other years' fields of the season", "crps_skill"),
    ("rank histogram: reliability index", "reliability"),
]
OF_REAL = ("skewness", "kurtosis", "hill", "gpd")
MAPS = 8  # fields a row
WRITTEN = 200  # samples of a design in its file
CF_FILE = "samples-{}.nc"


class FieldExhibit:
    """The variables, beside the held-out period."""

    ways = 3
    picture_width = 480

    def __init__(self, params: Params, dataset: str):
        self._dataset, self._ruler = dataset, FieldRuler(params, dataset)
        self._names, self._codec = self._ruler.codec.names, self._ruler.codec
        self._real = self._ruler.references["test"]
        self._statistics: dict[str, Any] = json.loads((paths.prepared(dataset) / "statistics.json").read_text())
        self.training_samples = int(self._statistics["train"]["samples"])
        self.measures = [
            ("distance from the held-out period", "distance/test"),
            ("distance from the training period", "distance/train"),
            *((f"{v}: {text}", f"{key}/test/{v}") for v in self._names for text, key in OF_VARIABLE),
            *((f"{a}, {b}: joint extremes, error", f"chi_error/test/{a}-{b}") for a, b in combinations(self._names, 2)),
        ]
        if self._ruler.samples.shares is not None:
            self.measures += [(f"{v}: {text}", f"{key}/{v}") for v in self._names for text, key in OF_SEASONS]

    def card(self, design: str, cell: pd.Series) -> dict[str, str]:
        """The extremes."""
        ratios = [cell[f"q999_ratio/test/{v}"] for v in self._names]
        indices = [f"{v} {cell[f'hill/test/{v}']:.2g}" for v in self._names]
        return {
            "title": f"{design}: extremes",
            "value": " · ".join("–" if pd.isna(r) else f"{r:.2f}" for r in ratios),
            "unit": "× the real 99.9 % quantile",
            "text": f"tail index {', '.join(indices)}",
        }

    def figures(self, chosen: dict[str, Chosen]) -> dict[str, str]:
        """Tails, spectra and return levels."""
        names = [f"{v} [{u}]" for v, u in zip(self._names, self._codec.measured_units, strict=True)]
        real = list(self._real.fields.swapaxes(0, 1))
        generated = {d: list(self._codec.measured(c.samples).swapaxes(0, 1)) for d, c in chosen.items()}
        intervals = [self._real.estimates[v]["return_levels"] for v in self._names]
        return {
            "tails": figures.tails(names, real, generated),
            "spectra": figures.spectra(names, real, generated),
            "returns": figures.returns(names, real, generated, intervals),
        }

    def values(self, chosen: dict[str, Chosen]) -> dict[str, Any]:
        """For report_fields.html.j2."""
        variables = self._statistics["variables"]
        return {
            "variables": [
                {
                    "name": v,
                    "units": variables[v]["units"],
                    "measured": unit,
                    "index": _with_interval(variables[v]["tail_index"], "as light as a Gaussian's", key="nu"),
                    "real": [(name, _with_interval(self._real.estimates[v][name])) for name in OF_REAL],
                }
                for v, unit in zip(self._names, self._codec.measured_units, strict=True)
            ],
            "periods": {name: self._statistics[name] for name in ("train", "test")},
            "drawn": len(next(iter(chosen.values())).samples),
            "files": [CF_FILE.format(d) for d in chosen],
        }

    def pictures(self, folder: Path, chosen: dict[str, Chosen]) -> list[dict[str, str]]:
        """Maps of each variable, real and generated on one colour scale; also writes the samples as CF-NetCDF."""
        store = FieldStore.open(paths.prepared(self._dataset) / "fields.zarr", "test")
        real = store[np.linspace(0, len(store) - 1, min(MAPS, len(store))).round().astype(int)]
        for design, c in chosen.items():
            self._write(folder / CF_FILE.format(design), design, c)
        shown = {"real": (real, "the held-out period")} | {d: (c.samples[:MAPS], c.label) for d, c in chosen.items()}
        made = []
        for name, (fields, text) in shown.items():
            rows = np.stack([self.pixels(fields[:, k:]) for k in range(len(self._names))])
            sheet = pictures.along(rows.transpose(1, 0, 2, 3, 4), most=MAPS)
            made.append({"title": name, "text": text, "png": pictures.save(folder / f"samples-{name}.png", sheet)})
        return made

    def _write(self, path: Path, design: str, chosen: Chosen) -> None:
        n = min(WRITTEN, len(chosen.samples))
        # Each seed has the same labels, and its samples follow on those of the seed before.
        labels = np.resize(self._ruler.samples.usual_labels(0, int(chosen.cell["samples"])), n)
        about = {
            "title": f"Samples of {design} trained on {self._dataset}",
            "source": f"levy, {design} with {chosen.label}",
            "comment": "Generated fields, not observations or forecasts.",
        }
        write_cf(path, self._codec, chosen.samples[:n], times_of(self._codec, self._ruler.samples, labels), about)

    def pixels(self, samples: np.ndarray) -> np.ndarray:
        """The first channel in colours from -4 to 4 standard deviations; missing cells are grey."""
        first = np.asarray(samples)[..., 0, :, :]
        colours = mpl.colormaps["RdYlBu_r"].with_extremes(bad="0.5")
        rgba = colours(np.ma.masked_invalid((first + 4) / 8))
        return np.moveaxis((rgba[..., :3] * 255).astype(np.uint8), -1, -3)


def _with_interval(found: dict[str, Any], none: str = "too few fields", key: str = "value") -> str:
    if found[key] is None:
        return none
    low, high = (float("inf") if found[end] is None else found[end] for end in ("low", "high"))
    return f"{found[key]:.3g} ({low:.3g} to {high:.3g})"
