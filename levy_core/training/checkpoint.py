"""Models on disk: ``model.safetensors``, ``design.json`` and, of a design with a latent, ``latent.safetensors``. Nothing is pickled.

``design.json`` holds everything that rebuilds the model: format, design, network, what its samples are. Who writes the last file of
a model's folder writes its manifest (``levy_core.base.manifest``), with which every load compares all files.
"""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor, nn

from levy_core.base.errors import LevyError, choose
from levy_core.base.files import write_json
from levy_core.base.manifest import check_manifest
from levy_core.base.samples import RECORDED, Samples
from levy_core.base.tensors import read_tensors, write_tensors
from levy_core.nets.dit import DiT, DiTConfig
from levy_core.nets.latent import LATENT, Latent
from levy_core.nets.mlp import MLP, MLPConfig
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.process.design import Design
from levy_core.process.parametrisation import Predictor

FORMAT = 2  # rises whenever an older file would load but mean something else
REMEDY = "train the model again, or fetch it anew"
Part = TypeVar("Part")
NetConfig = UNetConfig | DiTConfig | MLPConfig
NETS: dict[str, tuple[Any, Any]] = {"unet": (UNetConfig, UNet), "dit": (DiTConfig, DiT), "mlp": (MLPConfig, MLP)}


@dataclass(frozen=True)
class Model:
    """A trained model: its predictor (in eval mode), design, network size and what its samples are.

    Attributes:
        latent: what leads from what the network makes, ``net.shape``, to samples; None: they are the same.
    """

    predictor: Predictor
    design: Design
    net: NetConfig
    samples: Samples
    latent: Latent | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """*S, of a sample."""
        return self.latent.shape if self.latent else self.net.shape


def save_model(
    folder: Path,
    weights: dict[str, Tensor],
    design: Design,
    net: NetConfig,
    samples: Samples,
    about: dict[str, Any],
    latent: Latent | None = None,
) -> None:
    """Writes the files. ``about`` is free text for people (training settings, code version)."""
    if latent:
        latent.save(folder / LATENT)
    write_tensors(folder / "model.safetensors", weights)
    description = {
        "format": FORMAT,
        "design": design.to_mapping(),
        "net": {"kind": next(name for name, row in NETS.items() if row[0] is type(net)), **net.to_mapping()},
        "samples": samples.to_mapping(),
        "about": about,
    }
    write_json(folder / "design.json", description)


def load_model(folder: Path, device: str | torch.device = "cpu", design: Design | None = None) -> Model:
    """Rebuilds a model.

    Args:
        design: refuse a checkpoint of any other.

    Raises:
        LevyError: a missing or damaged file, also where only the manifest tells; a description in which something is missing or of another type, another
            format or design, or weights of another network.
    """
    check_manifest(folder)
    path = folder / "design.json"
    saved_design, config, net, samples = _read(path)
    if design is not None and design != saved_design:
        expected, saved = design.to_mapping(), saved_design.to_mapping()
        differing = [
            f"{key} {saved.get(key)!r} and not {expected.get(key)!r}"
            for key in saved | expected
            if saved.get(key) != expected.get(key)
        ]
        raise LevyError(
            f"{folder} holds a model of another design: {', '.join(differing)}; train this design, or load without it"
        )
    try:
        net.load_state_dict(read_tensors(folder / "model.safetensors"))
    except RuntimeError as error:
        raise LevyError(
            f"{folder / 'model.safetensors'} does not belong to the network in {path}: {' '.join(str(error).split())}"
        ) from error
    predictor = saved_design.predictor(net.to(device)).eval().requires_grad_(False)
    try:
        latent = None if saved_design.eofs is None else Latent.load(folder / LATENT)
    except LevyError as error:
        raise LevyError(f"{path} describes a model with EOFs, but {error}") from error
    if latent and config.shape != (latent.size,):
        raise LevyError(
            f"{folder / LATENT} has {latent.size} coefficients, but the network in {path} makes samples of {list(config.shape)}: {REMEDY}"
        )
    return Model(predictor, saved_design, config, samples, latent)


def _read(path: Path) -> tuple[Design, NetConfig, nn.Module, Samples]:
    """What ``design.json`` describes; the network has no weights yet."""
    try:
        description = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise LevyError(
            f"{path} cannot be read ({error}): it stands beside model.safetensors in a trained model"
        ) from error
    if not isinstance(description, dict):
        raise LevyError(
            f"{path} holds a {type(description).__name__} where a model is described by a mapping: {REMEDY}"
        )
    if description.get("format") != FORMAT:
        about = description.get("about")
        writer = about.get("levy") if isinstance(about, dict) else None
        raise LevyError(
            f"{path} has format {description.get('format')}, but this version of levy reads format {FORMAT}: "
            f"it was written by levy {writer or 'of an unknown version'}; install that version, or train the model again"
        )
    for name in ("design", "net", "samples"):
        if not isinstance(description.get(name), dict):
            fault = f"its {name!r} is {description[name]!r}" if name in description else f"it has no {name!r}"
            raise LevyError(f"{path} describes no model: {fault}, but a mapping is expected; {REMEDY}")
    size = dict(description["net"])
    try:
        config_class, net_class = choose("kind of network", size.pop("kind", "unet"), NETS)
        config = _typed("net", config_class, size)
        recorded_samples = description["samples"]
        samples = _typed("samples", Samples, RECORDED.get(str(recorded_samples.get("kind")), {}) | recorded_samples)
        return Design.from_mapping(description["design"]), config, net_class(config), samples
    except Exception as error:  # a network of sizes that do not fit together raises many kinds
        first = next(iter(str(error).splitlines()), type(error).__name__)  # torch appends frames of its own
        raise LevyError(f"{path} describes no model: {first}; {REMEDY}") from error


def _typed(name: str, kind: type[Part], values: dict[str, Any]) -> Part:
    """A dataclass from JSON's values of its fields, each of its declared type."""
    unknown = sorted(set(values) - {f.name for f in fields(kind)})  # type: ignore[arg-type]
    if unknown:
        raise LevyError(f"its {name!r} has {', '.join(unknown)}, which this version of levy does not know")
    try:
        return TypeAdapter(kind).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        wrong = [f"{name}.{'.'.join(map(str, e['loc']))}: {e['msg'].lower()}" for e in error.errors()]
        raise LevyError("; ".join(wrong)) from error
