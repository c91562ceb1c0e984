"""Fields are measured in physical units, against the held-out and the training period."""

import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from levy_core.base.code import hash_code
from levy_core.base.errors import LevyError
from levy_core.base.files import hash_files, hash_json, write_json
from levy_core.base.samples import Samples
from levy_core.base.tensors import read_tensors, write_tensors
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.store import FieldStore
from levy_core.datasets.fields.times import field_samples, times_of
from levy_core.metrics.common.bootstrap import thin_rows
from levy_core.metrics.fields import ensembles
from levy_core.metrics.fields.measures import FieldsMeasures, FieldsReference, distance, measure_fields
from tasks.kinds.fields.settings import FieldEvaluation

FORECASTS = 200
PERIODS = ("test", "train")  # names in the tables and groups of the store


class FieldMetrics:
    """The real fields of both periods, and the codec that gives samples their units.

    Raises:
        LevyError: the reference stage has not run, or left something unreadable.
    """

    def __init__(self, reference: Path):
        self._folder = reference
        self.codec = Codec.load(reference)
        try:
            self.references = {name: _read(reference, name) for name in PERIODS}
            self.samples = Samples.from_mapping(json.loads((reference / "samples.json").read_text()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise LevyError(f"{reference} cannot be read ({error}): run the reference stage again") from error

    @cached_property
    def hash(self) -> str:
        """Of the references, the codec and the code."""
        files = sorted(path for path in self._folder.iterdir() if path.is_file())
        return hash_json([hash_files(*files), hash_code(__name__)])[:16]

    def embed(self, samples: np.ndarray) -> Tensor:
        """Physical fields, [N, C, H, W], float32 because a search keeps hundreds of them."""
        return torch.from_numpy(self.codec.measured(samples).astype(np.float32))

    def score(self, embedded: Tensor, labels: np.ndarray, metric: str) -> float:
        """The distance from the period that the metric names; 0 is perfect."""
        return distance(embedded.double().numpy(), self.references[metric.split("/")[1]])

    def watch(self, embedded: Tensor, labels: np.ndarray) -> dict[str, float]:
        """Nothing."""
        return {}

    def measure(self, samples: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """All measures; of samples with a season also those of a forecast by the season."""
        return self._row(samples, labels, self.references)

    def accept(
        self, folder: Path, shape: tuple[int, ...], samples: Samples
    ) -> Callable[..., tuple[np.ndarray, np.ndarray]]:
        """Fields of the same variables, units, cells and seasons, whatever they were standardised and transformed with."""
        if samples.kind != "fields":
            raise LevyError(f"it draws {samples.kind}, but the data are fields")
        codec = Codec.load(folder)
        for what, of_model, of_data in (
            ("seasons", samples.classes, self.samples.classes),
            ("variables", codec.names, self.codec.names),
            ("units", codec.units, self.codec.units),
            ("calendar", codec.calendar, self.codec.calendar),
            ("shape", tuple(shape), self.codec.shape),
        ):
            if of_model != of_data:
                raise LevyError(f"its {what}: {_to_text(of_model)}; of the data: {_to_text(of_data)}")
        if not codec.covers(self.codec):
            raise LevyError("its cells are not those of the data: another box, other places, or cells without values")
        return lambda drawn, labels: (self.codec.recode(drawn, times_of(codec, samples, labels), codec), labels)

    def measure_held_out(self, samples: np.ndarray, labels: np.ndarray) -> dict[str, float]:
        """As ``measure``, of the test period alone."""
        return self._row(samples, labels, {"test": self.references["test"]})

    def _row(self, samples: np.ndarray, labels: np.ndarray, references: dict[str, FieldsReference]) -> dict[str, float]:
        values = self.codec.measured(samples)
        row = measure_fields(values, labels, references)
        if self.samples.shares is not None:
            names = self.codec.names
            (real, seen), train = (_thin(self.references[name]) for name in ("test", "train"))
            row |= ensembles.crps(real, seen, values, labels, names, train)
            ranks = ensembles.rank_histogram(real, seen, values, labels, names)
            row |= {f"reliability/{name}": ensembles.reliability(counts) for name, counts in ranks.items()}
        return row

    def floors(self, labels: np.ndarray) -> dict[str, float]:
        """The distance of as many perfect samples."""
        return {f"floor/distance/{name}": real.floor(len(labels)) for name, real in self.references.items()}


def make_reference(prepared: Path, folder: Path, settings: FieldEvaluation, dataset: str) -> None:
    """Writes ``NAME.safetensors`` and ``NAME.json`` per period, the codec, and the classes with their shares."""
    codec, measures = Codec.load(prepared), FieldsMeasures(**settings.model_dump())
    for name in PERIODS:
        store = FieldStore.open(prepared / "fields.zarr", name)
        rows = thin_rows(len(store), measures.most, measures.block)
        values = codec.measured(store[rows])
        reference = FieldsReference.of(values, store.labels[rows], codec.names, codec.latitude, measures)
        write_tensors(folder / f"{name}.safetensors", reference.tensors())
        write_json(folder / f"{name}.json", reference.description())
    codec.save(folder)
    write_json(folder / "samples.json", field_samples(store).to_mapping())  # of the training period
    print(f"{dataset}: {', '.join(codec.names)} of both periods measured")


def _thin(reference: FieldsReference) -> ensembles.Ensemble:
    """At most FORECASTS fields of a period, spread evenly: each is compared with each sample of its season."""
    rows = np.linspace(0, len(reference.fields) - 1, min(FORECASTS, len(reference.fields))).round().astype(int)
    return reference.fields[rows].astype(np.float64), reference.labels[rows]


def _to_text(value: str | tuple) -> str:
    return value if isinstance(value, str) else ", ".join(map(str, value))


def _read(folder: Path, name: str) -> FieldsReference:
    description = json.loads((folder / f"{name}.json").read_text())
    return FieldsReference.read(read_tensors(folder / f"{name}.safetensors"), description)
