"""Stage reference: the features of the real images, and what does not depend on samples, computed once and kept."""

import json
from pathlib import Path

import numpy as np
import torch

from levy_core.datasets.store import read_group
from levy_core.files import write_json
from levy_core.metrics.images import Features, FidelityConfig, Reference
from levy_core.tensors import read_tensors, write_tensors
from tasks import paths, stage
from tasks.params import EvaluateParams, Params

GROUPS = {"balanced": "balanced", "longtail": "train"}  # name in the tables -> group of the store; training data last


def reference(params: Params, dataset: str) -> None:
    """Writes ``NAME.safetensors`` a reference and ``counts.json``, the training images of each class."""
    stage.reproducible(params.compute.threads)
    features = feature_space(params, dataset)
    with stage.replacing_folder(paths.reference(dataset)) as folder:
        for name, group in GROUPS.items():
            images = read_group(paths.prepared(dataset) / "images.zarr", group)
            made = Reference.of(features(images.image), images.label, fidelity(params.evaluate))
            write_tensors(
                folder / f"{name}.safetensors",
                {
                    "features": made.features,
                    "labels": torch.from_numpy(made.labels),
                    "radii": made.radii,
                    "spacing": made.spacing,
                },
            )
        counts = np.bincount(images.label, minlength=len(images.classes)).tolist()
        write_json(folder / "counts.json", counts)
    print(f"{dataset}: features of {', '.join(GROUPS)} kept, {made.features.shape[1]} numbers an image")


def feature_space(params: Params, dataset: str) -> Features:
    """The space that samples are compared in."""
    device = stage.device(params.compute.device)
    return Features(paths.classifier(dataset), params.evaluate.inception_weights, str(device))


def fidelity(settings: EvaluateParams) -> FidelityConfig:
    """torch-fidelity's settings of params.yaml."""
    return FidelityConfig(**settings.model_dump(exclude={"inception_weights"}))


def read_references(folder: Path) -> tuple[dict[str, Reference], list[int]]:
    """The references by name, and the training images of each class."""
    found = {}
    for name in GROUPS:
        tensors = read_tensors(folder / f"{name}.safetensors")
        found[name] = Reference(tensors["features"], tensors["labels"].numpy(), tensors["radii"], tensors["spacing"])
    return found, json.loads((folder / "counts.json").read_text())


if __name__ == "__main__":
    stage.main(reference, "dataset")
