"""Fields in the report: maps, tails, spectra, return levels, and a file of samples that other tools read."""

from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from PIL import Image

from levy_core.base.rows import Converted, thin_rows
from levy_core.datasets.fields.cf import write_cf
from levy_core.datasets.fields.split import say_runs
from levy_core.datasets.fields.store import GROUPS, FieldStore
from levy_core.datasets.fields.timeline import say, seconds_between
from levy_core.datasets.fields.times import drawn_times
from levy_core.datasets.fields.whole_years import advise_whole_years
from levy_core.metrics.fields.spatial import joint_exceedance
from levy_core.metrics.fields.summary import Summary
from tasks.cells.observed import Shown
from tasks.kinds.fields import figures, sheets
from tasks.kinds.fields.answer import answer, tabulate_decidable
from tasks.kinds.fields.cell_values import CellValues, find_step
from tasks.kinds.fields.metrics import ANOMALIES, FieldMetrics
from tasks.kinds.fields.scales import axis_of_distance, axis_of_power
from tasks.kinds.fields.statistics import read_field_statistics
from tasks.page import pictures
from tasks.page.default_sampler import DefaultSampler
from tasks.runtime.paths import Folders

OF_REAL = ("skewness", "kurtosis", "hill", "gpd")
YEAR = 365.25 * 86400  # seconds
WRITTEN = 200  # samples of a design in its file,
WRITTEN_VALUES = 40_000_000  # of large fields as many as have so many values
CF_FILE = "samples-{}.nc"


class FieldPage:
    """The variables, beside the held-out period."""

    template = Path(__file__).with_name("page.html.j2")
    trajectories = 3
    picture_width = 480

    def __init__(self, folders: Folders):
        self._prepared, self._metrics = folders.prepared, FieldMetrics(folders.reference)
        self._codec, self.variables = self._metrics.codec, list(self._metrics.codec.names)
        self.units = list(self._codec.units)
        self._real = self._metrics.references["test"]
        self._summaries: dict[DefaultSampler, Summary] = {}
        self._statistics = read_field_statistics(folders.prepared, self.variables)
        self.training_samples = self._statistics.train.samples

    def card(self, design: str, cell: pd.Series) -> dict[str, str]:
        """How far values reach from the median, as a ratio to the real distance, and tail indices."""
        ratios = [cell[f"q999_ratio/test/{v}"] for v in self.variables]
        indices = [f"{v} {cell[f'hill/test/{v}']:.2g}" for v in self.variables]
        return {
            "title": f"{design}: extremes",
            "value": " · ".join("–" if pd.isna(r) else f"{r:.2f}" if r < 100 else f"{r:.0e}" for r in ratios),
            "unit": "× the real distance from the median, 99.9 % quantile",
            "text": f"tail index {', '.join(indices)}",
        }

    def figures(self, samplers: dict[str, DefaultSampler]) -> dict[str, str]:
        """Tails, spectra and return levels."""
        names = [f"{v} [{u}]" for v, u in zip(self.variables, self._codec.units, strict=True)]
        real, generated = self._real.summary, {d: self._summary(sampler) for d, sampler in samplers.items()}
        of, channels = self._real.estimates, range(len(names))
        highest, of_means = ([of[v][key] for v in self.variables] for key in ("return_levels", "mean_return_levels"))
        year = self._fields_per_year

        def of_each(
            number: Callable[[Summary, int], np.ndarray],
        ) -> tuple[list[np.ndarray], dict[str, list[np.ndarray]]]:
            return [number(real, c) for c in channels], {
                d: [number(its, c) for c in channels] for d, its in generated.items()
            }

        return {
            "tails": figures.plot_tails(names, *of_each(lambda its, c: its.values[:, c])),
            "spectra": self._plot_spectra(names, *of_each(lambda its, c: its.power[:, c].mean(0))),
            "joint": self._plot_joint_extremes(names, generated),
            "ranks": self._plot_ranks(names, samplers),
            "returns": figures.plot_return_levels(
                names, *of_each(lambda its, c: its.maxima[:, c]), highest, year, "highest value anywhere"
            ),
            "means": figures.plot_return_levels(
                names, *of_each(Summary.known_means), of_means, year, "mean over the area"
            ),
        }

    def _summary(self, sampler: DefaultSampler) -> Summary:
        """In physical units, made once."""
        if sampler not in self._summaries:
            self._summaries[sampler] = self._metrics.summarise(sampler.rows, sampler.labels, "test")
        return self._summaries[sampler]

    def _plot_spectra(self, names: list[str], real: list[np.ndarray], generated: dict[str, list[np.ndarray]]) -> str:
        """Nothing of places."""
        if not self._real.has_spectrum:
            return ""
        return figures.plot_spectra(names, real, generated, *axis_of_power(self._codec, self._real.frame))

    def _plot_joint_extremes(self, names: list[str], generated: dict[str, Summary]) -> str:
        """Nothing where no two cells have a distance."""
        if not any(map(len, self._real.joint)):
            return ""
        joint = {d: [self._joint(its, c) for c in range(len(names))] for d, its in generated.items()}
        apart = axis_of_distance(self._codec, self._real.frame)
        return figures.plot_joint_extremes(names, list(self._real.joint), joint, *apart)

    def _joint(self, generated: Summary, c: int) -> np.ndarray:
        return np.array([joint_exceedance(generated.beside[c], pairs) for pairs in self._real.frame.pairs[c]])

    @cached_property
    def _fields_per_year(self) -> float | None:
        """None where several fields have the same time."""
        step = float(np.median(seconds_between(self._times["test"])))
        return YEAR / step if step > 0 else None

    @cached_property
    def _times(self) -> dict[str, np.ndarray]:
        """Of the fields of both periods."""
        return {group: FieldStore.open(self._prepared / "fields.zarr", group).times for group in GROUPS}

    def _physical(self, sampler: DefaultSampler) -> Converted:
        return self._metrics.physical(sampler.rows, sampler.labels)

    def _plot_ranks(self, names: list[str], samplers: dict[str, DefaultSampler]) -> str:
        ranks = {d: self._metrics.rank_histograms(c.rows, c.labels) for d, c in samplers.items()}
        return figures.plot_rank_histograms(names, {d: [its[v] for v in self.variables] for d, its in ranks.items()})

    def values(self, samplers: dict[str, DefaultSampler]) -> dict[str, Any]:
        """What page.html.j2 asks for."""
        variables, units = self._statistics.variables, dict(zip(self.variables, self._codec.units, strict=True))
        references = {"": (self._real, self._codec.units)}
        if self._codec.climatology is not None:
            references = references | {
                ", anomaly": (self._metrics.references[ANOMALIES.format("test")], self._codec.anomaly_units)
            }
        mapped = [v.key for v in self._metrics.codec.variables if v.quantile_mapping]
        return {
            "answer": partial(
                answer, units=units, real=self._real.estimates, ceiling=self._metrics.ceiling, mapped=mapped
            ),
            "decidable": tabulate_decidable(self.variables, units, self._real.estimates, self._metrics.ceiling),
            "variables": [
                {
                    "name": v + what,
                    "units": unit,
                    "index": _with_interval(variables[v].tail_index.model_dump(), "as light as a Gaussian's", key="nu"),
                    "real": [(name, _with_interval(real.estimates[v][name])) for name in OF_REAL],
                }
                for what, (real, its_units) in references.items()
                for v, unit in zip(self.variables, its_units, strict=True)
            ],
            "geometry": type(self._real.frame.geometry).__name__,
            "per_year": self._fields_per_year,
            "anomalies": self._codec.climatology is not None,
            "dtype": self._codec.dtype,
            "seasons": self._metrics.samples.shares is not None,
            "unlike_seasons": advise_whole_years(self._times["train"], self._times["test"]),
            "periods": {
                group: {"samples": len(times), "when": say_runs(times)} for group, times in self._times.items()
            },
            "drawn": len(next(iter(samplers.values())).labels),
            "files": [CF_FILE.format(d) for d in samplers],
        }

    def pictures(self, folder: Path, samplers: dict[str, DefaultSampler]) -> list[dict[str, str]]:
        """Maps, real and generated on one colour scale: fields, then statistics of each cell; also writes the samples as CF-NetCDF."""
        codec, made = self._codec, []
        of_variables = sheets.scales(codec, self._real.summary.values)
        store = FieldStore.open(self._prepared / "fields.zarr", "test")
        rows = np.linspace(0, len(store) - 1, min(sheets.MEMBERS, len(store))).round().astype(int)
        config, space = self._real.config, self._real.frame.space
        every = thin_rows(len(store), config.most, config.block, store.runs)  # those of the reference
        real = CellValues.read(codec, store, every, store.times[every], find_step(len(every), space))
        decode = lambda rows: codec.decode(store[rows], store.times[rows])

        def add(sheet: Image.Image, title: str, text: str, design: str = "") -> None:
            png = pictures.save_png(folder / f"samples-{title}.png", sheet)
            made.append({"title": title, "text": text, "design": design, "png": png})

        dates = [say(time)[:13] for time in store.times[rows]]  # to the hour
        add(
            sheets.draw_members(
                codec,
                decode(rows),
                dates,
                _find_highest(self._real.summary, lambda row: decode(every[row])),
                of_variables,
            ),
            "real",
            "the held-out period",
        )
        for design, sampler in samplers.items():
            self._write(folder / CF_FILE.format(design), design, sampler)
            generated, n = self._physical(sampler), len(sampler.labels)
            first = np.arange(min(sheets.MEMBERS, n))
            titles, highest = (
                [f"sample {k + 1}" for k in first],
                _find_highest(self._summary(sampler), generated.__getitem__),
            )
            add(sheets.draw_members(codec, generated[first], titles, highest, of_variables), design, sampler.label)
            times = self._metrics.times(sampler.labels)
            cells = CellValues.read(codec, sampler.rows, np.arange(n), times, real.step)
            for c, name in enumerate(codec.names):
                add(
                    sheets.draw_statistics(real, cells, c, design, self._fields_per_year),
                    f"{design}-{name}",
                    name,
                    design,
                )
        return made

    def draw_observed(self, cases: Sequence[Shown]) -> Image.Image:
        """The first and the last case, an extreme one."""
        return sheets.draw_observed(self._codec, [cases[0], cases[-1]] if len(cases) > 1 else list(cases))

    def _write(self, path: Path, design: str, sampler: DefaultSampler) -> None:
        n = min(WRITTEN, len(sampler.labels), max(1, WRITTEN_VALUES // int(np.prod(self._codec.shape))))
        # Each seed has the same labels, and its samples follow on those of the seed before.
        labels = np.resize(self._metrics.samples.usual_labels(0, int(sampler.cell["samples"])), n)
        about = {
            "title": f"Samples of {design} trained on {self._prepared.parent.name}",
            "source": f"levy, {design} with {sampler.label}",
            "comment": "Generated fields, not observations or forecasts.",
        }
        times = drawn_times(self._codec, self._metrics.samples, labels)
        write_cf(path, self._codec, sampler.rows[np.arange(n)], times, about)

    def pixels(self, samples: np.ndarray) -> np.ndarray:
        """The first channel in colours from -4 to 4 standard deviations; missing cells are grey."""
        first = np.asarray(samples)[..., 0, :, :]
        colours = mpl.colormaps["RdYlBu_r"].with_extremes(bad="0.5")
        rgba = colours(np.ma.masked_invalid((first + 4) / 8))
        return np.moveaxis((rgba[..., :3] * 255).astype(np.uint8), -1, -3)


def _find_highest(summary: Summary, read: Callable[[np.ndarray], np.ndarray]) -> sheets.Highest:
    """Of summarised fields, which ``read`` gives by their rows."""
    most = [int(np.nanargmax(of)) if np.isfinite(of).any() else 0 for of in summary.maxima.T]
    return sheets.Highest([read(np.array([row]))[0, c] for c, row in enumerate(most)], len(summary))


def _with_interval(interval: dict[str, Any], none: str = "too few fields", key: str = "value") -> str:
    if interval[key] is None:
        return none
    low, high = (float("inf") if interval[end] is None else interval[end] for end in ("low", "high"))
    return f"{interval[key]:.3g} ({low:.3g} to {high:.3g})"
