"""Fields from the prepared store to training."""

from pathlib import Path

import numpy as np
import torch

from levy_core.base.conditions import of_labels
from levy_core.base.errors import LevyError
from levy_core.base.files import hash_files
from levy_core.datasets.fields.append import PREPARED
from levy_core.datasets.fields.codec import JSON, TENSORS, Codec
from levy_core.datasets.fields.labels import class_numbers
from levy_core.datasets.fields.static import TENSORS as STATIC
from levy_core.datasets.fields.static import load_static
from levy_core.datasets.fields.store import FieldStore
from levy_core.datasets.fields.times import field_samples
from tasks.kinds.fields.settings import FieldSettings
from tasks.kinds.fields.statistics import read_field_statistics
from tasks.kinds.kind import TrainingData
from tasks.kinds.statistics import STATISTICS


def read_training_data(prepared: Path, settings: FieldSettings) -> TrainingData:
    """Standardised fields, read from the store as they are needed."""
    store, codec = FieldStore.open(prepared / "fields.zarr", "train"), Codec.load(prepared)
    held_out = FieldStore.open(prepared / "fields.zarr", "test")
    statistics = read_field_statistics(prepared, codec.names)
    static = [field.name for field in statistics.static]
    files = (STATISTICS, JSON, TENSORS, PREPARED, *[STATIC] * bool(static))
    places = _find_degrees(codec, prepared) if statistics.coordinates else {}
    return TrainingData(
        store,
        of_labels(torch.from_numpy(store.labels)),
        field_samples(store),
        hash_files(*(prepared / name for name in files)),
        net={
            "wraps": codec.wraps and not settings.config.patch,
            "coordinates": statistics.coordinates,
            "static": len(static),
        },
        net_inputs={**places, "static": load_static(prepared, static)} if static else places,
        label_numbers=class_numbers(store.classes, codec.calendar),
        sigma_data=1.0,  # fields are prepared with this standard deviation
        tail_index=min(v.tail_index.nu or float("inf") for v in statistics.variables.values()),
        areas=codec.areas,
        save=codec.save,
        held_out=(held_out, of_labels(torch.from_numpy(held_out.labels))) if len(held_out) else None,
    )


def _find_degrees(codec: Codec, prepared: Path) -> dict[str, np.ndarray]:
    """Latitude and longitude of cells, or of places."""
    latitude, longitude = (codec.latitude, codec.longitude) if codec.locations is None else codec.locations
    if latitude is None or longitude is None:
        raise LevyError(
            f"coordinates are asked for, but the places of {prepared} have no latitude and longitude: add them to the files, or set "
            "coordinates to false"
        )
    return {"latitude": latitude, "longitude": longitude}
