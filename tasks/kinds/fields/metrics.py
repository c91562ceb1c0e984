"""Fields are measured in physical units, against the held-out and the training period; anomalies, where a model is of them, too."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import RootModel

from levy_core.base.artifacts import STRICT, read_artifact
from levy_core.base.code import hash_code
from levy_core.base.errors import LevyError
from levy_core.base.files import hash_files, hash_json, write_json
from levy_core.base.rows import Chosen, Converted, Joined, Rows, thin_rows
from levy_core.base.samples import Samples
from levy_core.base.tensors import read_tensors, write_tensors
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import SEASON
from levy_core.datasets.fields.labels import SEASONS, measured_as, say_names, seasons_of
from levy_core.datasets.fields.store import FieldStore
from levy_core.datasets.fields.times import field_samples, times_of
from levy_core.metrics.fields import ensembles
from levy_core.metrics.fields.decidable import explain_undecidable
from levy_core.metrics.fields.geometry import PLANE, Geometry, Globe, Places
from levy_core.metrics.fields.measures import FieldsMeasures, FieldsReference, distance, measure_summary
from levy_core.metrics.fields.summary import Summary, summarise
from tasks.kinds.fields.settings import FieldEvaluation
from tasks.runtime import cluster

FORECASTS = 200
BLOCKS = 20  # of the bootstrap, at least
PERIODS = ("test", "train")  # names in the tables and groups of the store
CEILING = "ceiling.json"
SEASONS_FILE = "seasons.safetensors"  # of the training fields that are looked at, where values are mapped by season
ANOMALIES = "{}-anomalies"  # name of a period whose fields lack their climatology


class Ceiling(RootModel[dict[str, float | None]]):
    """What the training period scores, by metric; None where it has too few fields."""

    model_config = STRICT


class FieldMetrics:
    """The real fields of both periods, and the codec that gives samples their units.

    Attributes:
        references: by name, real fields in physical units of ``test`` and ``train`` and, where a climatology was taken off, their
            anomalies as ``test-anomalies`` and ``train-anomalies``.
        ceiling: what the training period itself scores against the held-out one: no model of it can be expected to do better.

    Raises:
        LevyError: the reference stage has not run, or left something unreadable.
    """

    def __init__(self, reference: Path):
        self._folder = reference
        self.codec = Codec.load(reference)
        try:
            self.references = {name: _read(reference, name) for name in _names(self.codec)}
            self.samples = Samples.from_mapping(json.loads((reference / "samples.json").read_text()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LevyError(f"{reference} cannot be read ({error}): run the reference stage again") from error
        if any(type(real.frame.geometry) is not type(_geometry(self.codec)) for real in self.references.values()):
            raise LevyError(
                f"{reference} is of before scales were those of the globe and of places: run the reference stage again"
            )

        self._measured_as = measured_as(self.samples.classes)
        self.ceiling = read_artifact(reference / CEILING, Ceiling, "reference").root

    @cached_property
    def hash(self) -> str:
        """Of the references, the codec and the code."""
        files = sorted(path for path in self._folder.iterdir() if path.is_file())
        return hash_json([hash_files(*files), hash_code(__name__)])[:16]

    def embed(self, samples: Rows) -> Rows:
        """Samples as they are, [n, C, H, W]: their times, and so their units, depend on how many there are in all."""
        return samples

    def score(self, embedded: Sequence[Any], labels: np.ndarray, metric: str) -> float:
        """The distance from the period that the metric names; 0 is perfect."""
        samples = embedded[0] if len(embedded) == 1 else Joined(embedded)
        real = self.references[metric.split("/")[1]]
        return distance(self.physical(samples, labels), real, self._measured_as[labels])

    def summarise(self, samples: Rows, labels: np.ndarray, name: str) -> Summary:
        """What the frame of a reference of this name sees of samples in physical units."""
        frames = {name: self.references[name].frame}
        return summarise(self.physical(samples, labels), frames, self._measured_as[labels])[name]

    def watch(self, embedded: Sequence[Any], labels: np.ndarray) -> dict[str, float]:
        """Nothing."""
        return {}

    def measure(self, samples: Rows, labels: np.ndarray) -> dict[str, float]:
        """All measures, with those of samples as a forecast of the held-out fields: by the season where samples have one."""
        return self._row(samples, labels, PERIODS)

    def accept(
        self, folder: Path, shape: tuple[int, ...], samples: Samples
    ) -> Callable[..., tuple[Converted, np.ndarray]]:
        """Fields of the same variables, units, cells and seasons, whatever they were standardised and transformed with."""
        if samples.kind != "fields":
            raise LevyError(f"it draws {samples.kind}, but the data are fields")
        codec = Codec.load(folder)
        for what, of_model, of_data in (
            ("seasons", say_names(samples.classes), say_names(self.samples.classes)),
            ("variables", codec.names, self.codec.names),
            ("units", codec.units, self.codec.units),
            ("calendar", codec.calendar, self.codec.calendar),
            ("shape", tuple(shape), self.codec.shape),
        ):
            if of_model != of_data:
                raise LevyError(f"its {what}: {_to_text(of_model)}; of the data: {_to_text(of_data)}")
        if not codec.covers(self.codec):
            raise LevyError("its cells are not those of the data: another box, other places, or cells without values")

        def accepted(drawn: Rows, labels: np.ndarray) -> tuple[Converted, np.ndarray]:
            times = times_of(codec, samples, labels)
            recode = lambda read, rows: self.codec.recode(read, times[rows], codec)
            return Converted(drawn, (len(labels), *self.codec.shape), recode), labels

        return accepted

    def measure_held_out(self, samples: Rows, labels: np.ndarray) -> dict[str, float]:
        """As ``measure``, of the test period alone."""
        return self._row(samples, labels, ("test",))

    def physical(self, samples: Rows, labels: np.ndarray) -> Converted:
        """Samples [N, C, H, W] in physical units, float64, as they are read: whole fields, each with the climatology of a time of its label."""
        times = self.times(labels)
        decode = lambda read, rows: self.codec.decode(read, None if times is None else times[rows])
        return Converted(samples, (len(labels), *self.codec.shape), decode)

    def times(self, labels: np.ndarray) -> np.ndarray | None:
        """Of samples of these labels; None where no climatology was taken off."""
        return None if self.codec.climatology is None else times_of(self.codec, self.samples, labels)

    def _anomalies(self, samples: Rows, n: int) -> Converted:
        return Converted(samples, (n, *self.codec.shape), partial(_to_anomalies, self.codec))

    def rank_histograms(self, samples: Rows, labels: np.ndarray) -> dict[str, np.ndarray]:
        """By variable, of held-out values among samples [N, C, H, W] of their season, or among all where samples have none."""
        name, its = self._forecast_as("test"), self._anomalies(samples, len(labels))
        fields, measured_as = (
            its if self.codec.climatology else self.physical(samples, labels),
            self._measured_as[labels],
        )
        generated = summarise(fields, {name: self.references[name].frame}, measured_as)
        return self._ranks(generated[name], self._forecast_by(measured_as))

    def _forecast_as(self, period: str) -> str:
        """The reference whose fields are forecast: without their climatology where one was taken off."""
        return period if self.codec.climatology is None else ANOMALIES.format(period)

    def _forecast_by(self, labels: np.ndarray) -> np.ndarray:
        """Labels by which samples forecast real fields: one where they have no season, as real fields have then."""
        return labels if self.samples.shares else np.zeros_like(labels)

    def _ranks(self, generated: Summary, labels: np.ndarray) -> dict[str, np.ndarray]:
        real = _thin(self.references[self._forecast_as("test")])
        return ensembles.rank_histogram(*real, generated.values.astype(np.float64), labels, self.codec.names)

    def _row(self, samples: Rows, labels: np.ndarray, periods: tuple[str, ...]) -> dict[str, float]:
        views = [(self.physical(samples, labels), periods)]
        if self.codec.climatology is not None:
            views.append((self._anomalies(samples, len(labels)), (ANOMALIES.format("test"),)))
        row, labels, summaries = dict[str, float](), self._measured_as[labels], dict[str, Summary]()
        for fields, names in views:
            summaries |= summarise(fields, {name: self.references[name].frame for name in names}, labels)
        for name, generated in summaries.items():
            row |= measure_summary(generated, labels, name, self.references[name])
        names, generated, labels = self.codec.names, summaries[self._forecast_as("test")], self._forecast_by(labels)
        (real, seen), (train, of_train) = map(self._forecast, PERIODS)
        pooled = [self.references[self._forecast_as(period)].frame.pooled for period in PERIODS]
        # of the longer period fewer cells are pooled
        here, there = np.isin(pooled[0], pooled[1]), np.isin(pooled[1], pooled[0])
        values = generated.values[:, :, here].astype(np.float64)
        row |= ensembles.crps(real[:, :, here], seen, values, labels, names, (train[:, :, there], of_train))
        row |= {f"reliability/{v}": ensembles.reliability(its) for v, its in self._ranks(generated, labels).items()}
        return {"samples": float(len(labels))} | row

    def _forecast(self, period: str) -> ensembles.Ensemble:
        return _thin(self.references[self._forecast_as(period)])

    @property
    def undecidable(self) -> dict[str, str]:
        """Of extremes of each variable that the held-out period has too few of."""
        found = {v: explain_undecidable(its) for v, its in self.references["test"].estimates.items()}
        return {f"{measure}/test/{v}": why for v, reasons in found.items() for measure, why in reasons.items()}

    def floors(self, labels: np.ndarray) -> dict[str, float]:
        """The distance of as many perfect samples."""
        return {f"floor/distance/{name}": self.references[name].floor(len(labels)) for name in PERIODS}


def make_reference(prepared: Path, folder: Path, settings: FieldEvaluation, dataset: str) -> None:
    """Writes ``NAME.safetensors`` and ``NAME.json`` per reference, the ceiling, the codec, and the classes with their shares."""
    codec, usual, made = Codec.load(prepared), FieldsMeasures(**settings.model_dump()), {}
    wet = {v.key: v.wet for v in codec.variables if v.wet is not None}
    for name in PERIODS:
        store = FieldStore.open(prepared / "fields.zarr", name)
        measures = _in_samples(usual, store)
        shape, labels = (len(store), *store.shape), measured_as(store.classes)[store.labels]
        views = {name: Converted(store, shape, partial(_decode, codec, store.times))}
        if name == "train" and any(v.quantile_mapping == SEASON for v in codec.variables):
            looked_at = store.times[thin_rows(len(store), measures.most, measures.block, store.runs)]
            numbers = [SEASONS.index(season) for season in seasons_of(looked_at)]
            write_tensors(folder / SEASONS_FILE, {name: torch.tensor(numbers)})
        if codec.climatology is not None:
            views[ANOMALIES.format(name)] = Converted(store, shape, partial(_to_anomalies, codec))
        for view, values in views.items():
            wet_of_view = wet if view == name else {}
            with cluster.open_block_map() as map_parts:
                made[view] = reference = FieldsReference.of(
                    values,
                    labels,
                    codec.names,
                    codec.areas,
                    measures,
                    wet_of_view,
                    codec.valid,
                    map_parts,
                    store.runs,
                    _geometry(codec),
                )
            write_tensors(folder / f"{view}.safetensors", reference.tensors())
            write_json(folder / f"{view}.json", reference.description())
    real, of_training = made["test"], made["train"]
    as_held_out = _summarise_training(codec, store, real, of_training)
    pooled = (of_training if as_held_out is of_training.summary else real).frame.pooled
    row = measure_summary(as_held_out, of_training.labels, "test", real, pooled)
    write_json(folder / CEILING, {name: value if np.isfinite(value) else None for name, value in row.items()})
    for variable, estimates in real.estimates.items():
        if reasons := explain_undecidable(estimates):
            print(f"{dataset}: {variable}: not decidable with these data: {_list_reasons(reasons)}")
    codec.save(folder)
    write_json(folder / "samples.json", field_samples(store).to_mapping())  # of the training period
    print(f"{dataset}: {', '.join(codec.names)} of both periods measured")


def _summarise_training(
    codec: Codec, store: FieldStore, real: FieldsReference, of_training: FieldsReference
) -> Summary:
    """The training fields that are looked at, as samples are seen beside the held-out ones: without the cells that these lack."""
    if real.frame.holes is None and np.array_equal(real.frame.valid, of_training.frame.valid):
        return of_training.summary
    rows = thin_rows(len(store), of_training.config.most, of_training.config.block, store.runs)
    decode = partial(_decode, codec, store.times[rows])
    fields = Converted(Chosen(store, rows), (len(rows), *store.shape), decode)
    return summarise(fields, {"": real.frame}, of_training.labels)[""]


def _geometry(codec: Codec) -> Geometry:
    if codec.places is not None:
        return Places(np.full((2, len(codec.places)), np.nan) if codec.locations is None else codec.locations)
    return Globe(codec.areas) if codec.wraps and codec.areas is not None else PLANE


def _decode(codec: Codec, times: np.ndarray, read: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return codec.decode(read, times[rows])


def _to_anomalies(codec: Codec, read: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return codec.anomalies(read)


def _in_samples(measures: FieldsMeasures, store: FieldStore) -> FieldsMeasures:
    """Blocks of as many times, where several samples (members, tiles) are of one: but of what is kept, at least twenty blocks."""
    block = measures.block * (len(store) // len(np.unique(store.times)))
    return replace(measures, block=min(block, max(measures.block, measures.most // BLOCKS)))


def _names(codec: Codec) -> list[str]:
    views = ("{}",) if codec.climatology is None else ("{}", ANOMALIES)
    return [view.format(name) for name in PERIODS for view in views]


def _list_reasons(reasons: dict[str, str]) -> str:
    """Each reason once, with the measures that it holds for."""
    measures: dict[str, list[str]] = {}
    for measure, why in reasons.items():
        measures.setdefault(why, []).append(measure)
    return "; ".join(f"{', '.join(names)} ({why})" for why, names in measures.items())


def _thin(reference: FieldsReference) -> ensembles.Ensemble:
    """At most FORECASTS fields of a period, spread evenly: each is compared with each sample of its season, if samples have one."""
    n = len(reference.summary)
    rows = np.linspace(0, n - 1, min(FORECASTS, n)).round().astype(int)
    return reference.summary.values[rows].astype(np.float64), reference.labels[rows]


def _to_text(value: str | tuple) -> str:
    return value if isinstance(value, str) else ", ".join(map(str, value))


def _read(folder: Path, name: str) -> FieldsReference:
    description = json.loads((folder / f"{name}.json").read_text())
    return FieldsReference.read(read_tensors(folder / f"{name}.safetensors"), description)
