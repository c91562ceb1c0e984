"""Series in the report: drawn as lines, and their quantiles."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.kinds.series.metrics import LEVELS, SeriesMetrics
from tasks.kinds.series.settings import SeriesEvaluation
from tasks.page import figures, pictures
from tasks.page.default_sampler import DefaultSampler
from tasks.runtime.paths import Folders

HEIGHT, RANGE = 32, 4.0  # pixels of a picture, and the standard deviations that they reach up and down
PICTURES = 8  # series per row


class SeriesPage:
    """Series beside the held-out ones."""

    template = Path(__file__).with_name("page.html.j2")
    trajectories = 3
    picture_width = 480

    def __init__(self, folders: Folders, settings: SeriesEvaluation):
        self._metrics = SeriesMetrics(folders.reference, settings)
        self.variables: list[str] = []
        self.training_samples = len(self._metrics.real["train"])

    def card(self, design: str, cell: pd.Series) -> dict[str, str]:
        """The autocorrelation."""
        value = f"{cell['autocorrelation_error/test']:.2f}"
        return {
            "title": f"{design}: in time",
            "value": value,
            "unit": "error of the autocorrelation",
            "text": "0 is right",
        }

    def figures(self, samplers: dict[str, DefaultSampler]) -> dict[str, str]:
        """Quantiles against those of the held-out series."""
        real = np.quantile(self._metrics.real["test"], LEVELS)
        with figures.open_panels([""], (5.8, 4.6)) as ([axis], made):
            axis.plot(real, real, color=figures.INK, linewidth=1, linestyle=":", label="the data")
            for k, (design, sampler) in enumerate(samplers.items()):
                drawn = np.quantile(self._metrics.scale.restore(sampler.samples), LEVELS)
                axis.plot(real, drawn, "o", ms=4, color=figures.COLOURS[k % len(figures.COLOURS)], label=design)
            axis.set(xlabel="quantile of the data", ylabel="quantile of the samples")
            axis.legend(fontsize=9)
        return {"quantiles": made[0]}

    def values(self, samplers: dict[str, DefaultSampler]) -> dict[str, Any]:
        """For page.html.j2."""
        return {"counts": {name: len(part) for name, part in self._metrics.real.items()}}

    def pictures(self, folder: Path, samplers: dict[str, DefaultSampler]) -> list[dict[str, str]]:
        """Some series of each."""
        real = self._metrics.scale.standardise(self._metrics.real["test"])
        sets = {
            "real": (real, "held out"),
            **{design: (sampler.samples, sampler.label) for design, sampler in samplers.items()},
        }
        made = []
        for name, (samples, text) in sets.items():
            sheet = pictures.draw_trajectories(self.pixels(samples[:PICTURES])[:, None], most=PICTURES)
            made.append({"title": name, "text": text, "png": pictures.save_png(folder / f"samples-{name}.png", sheet)})
        return made

    def pixels(self, samples: np.ndarray) -> np.ndarray:
        """[..., 1, 1, T] as lines: uint8 [..., 1, HEIGHT, T], black on white."""
        row = ((RANGE - np.clip(samples, -RANGE, RANGE)) / (2 * RANGE) * (HEIGHT - 1)).round().astype(int)
        return np.where(np.arange(HEIGHT)[:, None] == row, 0, 255).astype(np.uint8)
