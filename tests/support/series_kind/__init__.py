"""Time series: one CSV file per series, drawn as they are, measured by their quantiles and their autocorrelation."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.kinds.kind import Contents, Kind, Metrics, Page, TrainingData
from tasks.kinds.series.measures import MEASURES
from tasks.kinds.series.settings import SeriesEvaluation, SeriesSettings
from tasks.runtime.paths import Folders

if TYPE_CHECKING:
    from torch import device


def _check(raw: Path, settings: SeriesSettings) -> Contents:
    from tasks.kinds.series.data import read_series

    return Contents({}, (1, 1, read_series(raw).shape[1]))


def _count(raw: Path, settings: SeriesSettings) -> dict[str, Any]:
    from tasks.kinds.series.data import read_series

    series = read_series(raw)
    return {"counts": {"series": len(series)}, "shape": [1, 1, series.shape[1]]}


def _prepare(raw: Path, settings: SeriesSettings, folder: Path, previous: Path | None, dataset: str) -> None:
    from tasks.kinds.series.data import prepare

    prepare(raw, settings, folder, dataset)


def _training_data(prepared: Path, settings: SeriesSettings) -> TrainingData:
    from tasks.kinds.series.training import read_training_data

    return read_training_data(prepared)


def _make_reference(prepared: Path, folder: Path, settings: SeriesEvaluation, on: "device", dataset: str) -> None:
    from tasks.kinds.series.metrics import make_reference

    make_reference(prepared, folder)


def _open_metrics(folders: Folders, settings: SeriesEvaluation, on: "device") -> Metrics:
    from tasks.kinds.series.metrics import SeriesMetrics

    return SeriesMetrics(folders.reference, settings)


def _open_page(folders: Folders, settings: SeriesEvaluation, on: "device") -> Page:
    from tasks.kinds.series.page import SeriesPage

    return SeriesPage(folders, settings)


KIND = Kind(
    name="series",
    settings=SeriesSettings,
    evaluation=SeriesEvaluation,
    measures=MEASURES,
    dtype="float32",
    bounded=False,
    weighs_classes=False,
    has_tail_index=False,
    check=_check,
    count=_count,
    prepare=_prepare,
    training_data=_training_data,
    make_reference=_make_reference,
    open_metrics=_open_metrics,
    open_page=_open_page,
    output_shape=lambda shape: shape[-1:],
)
