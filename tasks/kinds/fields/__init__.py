"""Fields of weather: a training and a held-out period, in physical units, with a tail index."""

import sys
from collections.abc import Mapping, Sequence
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.kinds.fields.measures import MEASURES
from tasks.kinds.fields.settings import FieldDrift, FieldEvaluation, FieldSettings
from tasks.kinds.held_out import HeldOut, Observing
from tasks.kinds.kind import Contents, Correct, Correction, Drift, DriftMeasure, Kind, Metrics, Page, TrainingData
from tasks.runtime.paths import Folders

if TYPE_CHECKING:
    import numpy as np
    from torch import device

    from levy_core.base.rows import Rows
    from levy_core.base.samples import Samples
    from levy_core.process.design import Design


def _check(raw: Path, settings: FieldSettings) -> Contents:
    import numpy as np

    from levy_core.datasets.fields.prepare import inspect
    from levy_core.datasets.fields.whole_years import advise_whole_years

    found = inspect(raw, settings.config)
    times = found.fields.data.time.to_numpy()
    train, test = (times[found.periods[group]] for group in ("train", "test"))
    if advice := advise_whole_years(train, test):
        print(f"warning: {raw}: {advice}", file=sys.stderr)
    counts = np.bincount(found.labels["train"], minlength=len(found.classes)) * found.samples
    held_out = len(found.labels["test"]) * found.samples
    return Contents(dict(zip(found.classes, counts.tolist(), strict=True)), found.shape, held_out)


def _count(raw: Path, settings: FieldSettings) -> dict[str, Any]:
    """The number of fields, and their first and last time."""
    from levy_core.datasets.fields.prepare import inspect
    from levy_core.datasets.fields.reading import count_members

    fields = inspect(raw, settings.config).fields
    times = fields.data.time.to_numpy()
    return {"counts": {"fields": len(times) * count_members(fields)}, "first": str(times[0]), "last": str(times[-1])}


def _prepare(raw: Path, settings: FieldSettings, folder: Path, previous: Path | None, dataset: str) -> None:
    from tasks.kinds.fields.data import prepare

    prepare(raw, settings, folder, previous, dataset)


def _training_data(prepared: Path, settings: FieldSettings) -> TrainingData:
    from tasks.kinds.fields.training import read_training_data

    return read_training_data(prepared, settings)


def _make_reference(prepared: Path, folder: Path, settings: FieldEvaluation, on: "device", dataset: str) -> None:
    from tasks.kinds.fields.metrics import make_reference

    make_reference(prepared, folder, settings, dataset)


def _open_metrics(folders: Folders, settings: FieldEvaluation, on: "device") -> Metrics:
    from tasks.kinds.fields.metrics import FieldMetrics

    return FieldMetrics(folders.reference)


def _open_page(folders: Folders, settings: FieldEvaluation, on: "device") -> Page:
    from tasks.kinds.fields.page import FieldPage

    return FieldPage(folders)


def _advise(settings: FieldSettings, design: "Design") -> str:
    """Heavy noise on a variable that was made light: the inverse makes of a power law something without moments."""
    from levy_core.datasets.fields.transforms import STEEP

    names = [f"{v.transform} of {v.key}" for v in settings.config.variables if v.transform in STEEP]
    if not names or design.noise.moments == inf:
        return ""
    return (
        f"heavy-tailed noise with {', '.join(names)}: the inverse of such a transform makes of a power law something without moments, "
        "and extremes come out many times too high; take identity or power, or a Gaussian design (docs/weather.md)"
    )


def _why_no_eofs(settings: FieldSettings) -> str:
    if settings.config.static is None:
        return ""
    return "has `static`, but a network of coefficients sees no cells that such fields could tell it of; take eofs or static out"


def _why_no_patches(settings: FieldSettings) -> str:
    if settings.config.patch:
        return "has `patch`, whose tiles do not know where they lie; take one of the two out"
    if not settings.coordinates:
        return "does not tell its network where cells lie, so that a patch would not know its place; set coordinates to true"
    return ""


def _find_drift(
    raw: Path, settings: FieldSettings, before: dict[str, Any], after: dict[str, Any], drift: FieldDrift
) -> list[Drift]:
    from tasks.kinds.fields.drift import find_drift

    return find_drift(raw, settings, before, drift)


def _check_observed(settings: FieldSettings, view: str, std: float | dict[str, float], guides: Sequence[str]) -> None:
    from levy_core.base.errors import LevyError
    from levy_core.observations.guides import OBSERVATION_GUIDES

    linear = [guide for guide in guides if not OBSERVATION_GUIDES[guide].takes_nonlinear]

    for v in settings.config.variables:
        if isinstance(std, dict) and v.key not in std:
            raise LevyError(f"std is {std}, without {v.key}: give one number for all variables, or one of each")
        behind = "values of other quantiles" if v.quantile_mapping else f"its {v.transform}"
        if view == "means" and linear and (v.transform != "identity" or v.quantile_mapping):
            raise LevyError(
                f"means of {v.key} are no means of what the network sees, {behind}, which the guide {linear[0]} needs: take "
                "interpolation, single cells (see: cells), or a model of the variable as it is"
            )


def _open_held_out(prepared: Path, settings: FieldSettings) -> HeldOut:
    from tasks.kinds.fields.held_out import HeldOutFields

    return HeldOutFields(prepared)


def _count_fitted(shape: tuple[int, ...]) -> int:
    from tasks.kinds.fields.correction import count

    return count(shape)


def _fit_correction(reference: Path, samples: "Rows", labels: "np.ndarray") -> dict[str, Any]:
    from tasks.kinds.fields.correction import fit

    return fit(reference, samples, labels)


def _open_correction(folder: Path, found: Mapping[str, Any], of_model: "Samples") -> Correct:
    from tasks.kinds.fields.corrected import open_correction

    return open_correction(folder, found, of_model)


CORRECTION = Correction(
    lambda settings: any(v.quantile_mapping for v in settings.config.variables),
    _count_fitted,
    _fit_correction,
    _open_correction,
)

KIND = Kind(
    name="fields",
    settings=FieldSettings,
    evaluation=FieldEvaluation,
    measures=MEASURES,
    dtype="float32",
    bounded=False,
    weighs_classes=False,
    has_tail_index=True,
    check=_check,
    count=_count,
    prepare=_prepare,
    training_data=_training_data,
    make_reference=_make_reference,
    open_metrics=_open_metrics,
    open_page=_open_page,
    output_shape=lambda shape: shape,
    drift=DriftMeasure(FieldDrift, _find_drift),
    observing=Observing(("half", "cells", "means", "box"), _check_observed, _open_held_out),
    correction=CORRECTION,
    advise=_advise,
    why_no_eofs=_why_no_eofs,
    why_no_patches=_why_no_patches,
)
