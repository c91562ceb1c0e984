"""Models on disk: ``model.safetensors`` and ``design.json``. Nothing is pickled.

``design.json`` holds everything that rebuilds the model: format, design, network, what its samples are.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from levy_core.base.errors import LevyError, choose
from levy_core.base.files import write_json
from levy_core.base.samples import Samples
from levy_core.base.tensors import read_tensors, write_tensors
from levy_core.nets.mlp import MLP, MLPConfig
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.process.parametrisation import Predictor

FORMAT = 2  # rises whenever an older file would load but mean something else
NETS: dict[str, tuple[Any, Any]] = {"unet": (UNetConfig, UNet), "mlp": (MLPConfig, MLP)}


@dataclass(frozen=True)
class Model:
    """A trained model: its predictor (in eval mode), design, network size and what its samples are."""

    predictor: Predictor
    design: Design
    net: UNetConfig | MLPConfig
    samples: Samples


def save_model(
    folder: Path,
    weights: dict[str, Tensor],
    design: Design,
    net: UNetConfig | MLPConfig,
    samples: Samples,
    about: dict[str, Any],
) -> None:
    """Writes the two files. ``about`` is free text for people (training settings, code version)."""
    write_tensors(folder / "model.safetensors", weights)
    described = {
        "format": FORMAT,
        "design": design.to_mapping(),
        "net": {"kind": next(name for name, row in NETS.items() if row[0] is type(net)), **net.to_mapping()},
        "samples": samples.to_mapping(),
        "about": about,
    }
    write_json(folder / "design.json", described)


def load_model(folder: Path, device: str | torch.device = "cpu", design: Design | None = None) -> Model:
    """Rebuilds a model.

    Args:
        design: refuse a checkpoint of any other.

    Raises:
        LevyError: a missing or damaged file, another format or design, or weights of another network.
    """
    path = folder / "design.json"
    try:
        described = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise LevyError(
            f"{path} cannot be read ({error}): it stands beside model.safetensors in a trained model"
        ) from error
    if described.get("format") != FORMAT:
        raise LevyError(
            f"{path} has format {described.get('format')}, but this version of levy reads format {FORMAT}: "
            f"it was written by levy {described.get('about', {}).get('levy', 'of an unknown version')}; "
            "install that version, or train the model again"
        )
    found = Design.from_mapping(described["design"])
    if design is not None and design != found:
        mine, its = design.to_mapping(), found.to_mapping()
        differing = [
            f"{key} {its.get(key)!r} and not {mine.get(key)!r}" for key in its | mine if its.get(key) != mine.get(key)
        ]
        raise LevyError(
            f"{folder} holds a model of another design: {', '.join(differing)}; train this design, or load without it"
        )
    size = dict(described["net"])
    config_class, net_class = choose("kind of network", size.pop("kind", "unet"), NETS)
    config = config_class.from_mapping(size)
    net = net_class(config)
    try:
        net.load_state_dict(read_tensors(folder / "model.safetensors"))
    except RuntimeError as error:
        raise LevyError(f"{folder / 'model.safetensors'} does not belong to the network in {path}: {error}") from error
    predictor = found.predictor(net.to(device)).eval().requires_grad_(False)
    return Model(predictor, found, config, Samples.from_mapping(described["samples"]))
