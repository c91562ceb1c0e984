"""What the train stage asks of a data set, whatever its kind."""

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch

from levy_core.base.files import hash_files
from levy_core.base.samples import Samples
from levy_core.datasets.images.pixels import to_unit
from levy_core.datasets.images.store import read_group
from tasks.params.schema import FieldsParams, Params
from tasks.runtime import paths

if TYPE_CHECKING:
    from levy_core.datasets.fields.codec import Codec
    from levy_core.datasets.fields.store import FieldStore


@dataclass(frozen=True)
class Training:
    """Training samples and what a model of them has to know.

    Attributes:
        data: float32 [N, C, H, W]. labels: int64 [N].
        flip: mirror half of the samples. hash: of the samples and labels.
        net: settings of the network that the data decide. places: latitude and longitude for a network that is told them.
        codec: from the samples to physical fields; kept with the model. tail_index: the heaviest of the variables.
    """

    data: "torch.Tensor | FieldStore"
    labels: torch.Tensor
    samples: Samples
    hash: str
    flip: bool = False
    net: dict[str, Any] = field(default_factory=dict)
    places: dict[str, Any] = field(default_factory=dict)
    codec: "Codec | None" = None
    tail_index: float | None = None


def images(params: Params, dataset: str) -> Training:
    """Long-tailed images in [-1, 1]."""
    prepared = paths.prepared(dataset)
    found = read_group(prepared / "images.zarr", "train")
    digest = hashlib.sha256(found.image.tobytes())
    digest.update(found.label.tobytes())
    flip = json.loads((prepared / "statistics.json").read_text())["flip"]
    return Training(
        torch.from_numpy(to_unit(found.image)), torch.from_numpy(found.label), Samples("images", found.classes), digest.hexdigest(), flip
    )  # fmt: skip


def fields(params: Params, dataset: str) -> Training:
    """Standardised fields, read from the store as they are needed. Imports are late: images do without theirs."""
    from levy_core.datasets.fields.codec import Codec
    from levy_core.datasets.fields.store import FieldStore
    from tasks.kinds.fields.times import field_samples

    prepared = paths.prepared(dataset)
    store, codec = FieldStore.open(prepared / "fields.zarr", "train"), Codec.load(prepared)
    statistics = json.loads((prepared / "statistics.json").read_text())
    settings = cast(FieldsParams, params.data[dataset])
    return Training(
        store,
        torch.from_numpy(store.labels),
        field_samples(store),
        hash_files(prepared / "statistics.json", prepared / "codec.safetensors"),
        net={"wraps": codec.wraps and not settings.config.patch, "coordinates": settings.coordinates},
        places={"latitude": codec.latitude, "longitude": codec.longitude} if settings.coordinates else {},
        codec=codec,
        tail_index=min(v["tail_index"]["nu"] or float("inf") for v in statistics["variables"].values()),
    )


TRAINING = {"images": images, "fields": fields}  # kind of data -> reader of the folder that `prepare` wrote
