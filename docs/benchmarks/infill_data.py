"""What docs/benchmarks/infill.py is measured on: data sets with a held-out period, what is observed of them, small trained networks."""

import shutil
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from levy_core.base.conditions import LABEL, of_labels
from levy_core.base.errors import LevyError
from levy_core.base.manifest import write_manifest
from levy_core.base.pixels import to_unit
from levy_core.base.rows import thin_rows
from levy_core.base.samples import RECORDED, Samples
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import FieldsConfig, Variable
from levy_core.datasets.fields.prepare import STORE, prepare_fields
from levy_core.datasets.fields.store import FieldStore
from levy_core.datasets.images.sources import open_source
from levy_core.datasets.images.split import assign_groups
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.observations.covariance import Covariance, fit_covariance
from levy_core.observations.operators import Blur, Operator, block_mean, mask
from levy_core.process.design import Design
from levy_core.training.checkpoint import Model, load_model, save_model
from levy_core.training.config import TrainConfig
from levy_core.training.trainer import Trainer

TAIL = 4.0  # degrees of freedom of t-EDM's noise and of Student-t kriging: those of the starter weather
WIDE = {"level_mean": 0.5, "level_std": 1.5, "sigma_data": 1.0}  # docs/benchmarks/weather.py
DESIGNS = {"edm": {"preset": "edm"}, "tedm": {"preset": "tedm", "nu": TAIL}}
CIFAR = (10_000, 216)  # images to train on, and held out
RAIN = Variable("tp", "mm day-1", transform="log1p", minimum=0, accumulated="1D")
STARTER = Path("data/weather/era5-style.nc")
# name: (file, what is made of it, every how many held-out fields one is a case)
FIELDS = {
    "starter": (
        STARTER.name,
        FieldsConfig((Variable("t2m", "degC"), RAIN), climatology="day", train_until="2006-12-31", gap="10D"),
        20,
    ),
    "uk": (
        "era5-2mt-2019-03-uk.grib",
        FieldsConfig((Variable("t2m", "degC"),), box=(50.0, 55.75, -10.0, -2.25), climatology="hour", test_share=0.3),
        6,
    ),
    "canada": (
        "pr_day_CanESM2_rcp85_2095.nc",
        FieldsConfig(
            (Variable("pr", "mm day-1", transform="log1p", minimum=0),), box=(42.35, 45, -75, -72.35), test_share=0.25
        ),
        2,
    ),
}


@dataclass(frozen=True, eq=False)
class Data:
    """What models are trained on and judged with, float32 [N, C, H, W]: standardised fields, or images in [-1, 1].

    ``test`` has NaN in cells that are always missing, ``train`` 0.
    """

    name: str
    train: Tensor
    test: Tensor
    channels: tuple[str, ...]
    every: int
    codec: Codec | None = None
    times: np.ndarray | None = None

    @property
    def kind(self) -> str:
        return "images" if self.codec is None else "fields"

    @property
    def wraps(self) -> bool:
        return self.codec is not None and self.codec.wraps

    def decode(self, members: Tensor, rows: np.ndarray) -> np.ndarray:
        """Members [T, M, C, H, W] of the held-out ``rows`` in physical units."""
        if self.codec is None or self.times is None:
            return members.numpy()
        values = self.codec.decode(members.flatten(0, 1).numpy(), np.repeat(self.times[rows], members.shape[1]))
        return values.reshape(members.shape)

    @cached_property
    def covariance(self) -> Covariance:
        return fit_covariance(self.train[torch.from_numpy(thin_rows(len(self.train), 2000, 1))], most=256)

    def tasks(self) -> dict[str, tuple[Operator, float]]:
        """What is observed, and the standard deviation of its errors."""
        shape = self.train.shape[1:]
        _, height, width = shape
        row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        if self.kind == "images":
            half, block = mask((column < width // 2).expand(shape)), 2 if height < 16 else 4
            return {
                "half": (half, 0.0),
                f"{block}x": (block_mean(shape, (block, block)), 0.0),
                "deblur": (Blur(tuple(shape), 1.0), 0.05),
            }
        stations = torch.rand(height, width, generator=torch.manual_seed(0)) < 0.05
        areas = None if self.codec is None or self.codec.areas is None else torch.from_numpy(self.codec.areas)[:, None]
        box = ((row - height // 2).abs() < height // 4) & ((column - width // 2).abs() < width // 4)
        return {
            "4x": (block_mean(shape, (4, 4), areas), 0.0),
            "8x": (block_mean(shape, (8, 8), areas), 0.0),
            "stations": (mask(stations.expand(shape)), 0.1),
            "box": (mask((~box).expand(shape)), 0.0),
        }


def read(name: str, source: Path | None, scratch: Path) -> Data:
    """The digits, CIFAR-10 of the archive in ``source``, or a file's fields by the pipeline's own preparation.

    Raises:
        LevyError: the file is not there.
    """
    if name == "digits":
        images = open_source(Path("data/digits"))
        pixels = torch.from_numpy(to_unit(np.stack([images.read(i) for i in range(len(images.labels))])))
        groups = assign_groups(images, 1, None, 0, 0.2)
        return Data(name, pixels[groups["train"]], pixels[groups["test"]], ("grey",), 6)
    if name == "cifar10":
        if source is None:
            raise LevyError("nobody said where its archive lies (--source)")
        images = open_source(source)
        chosen = np.random.default_rng(0).permutation(len(images.labels))[: sum(CIFAR)]
        pixels = torch.from_numpy(to_unit(np.stack([images.read(i) for i in chosen])))
        return Data(name, pixels[: CIFAR[0]], pixels[CIFAR[0] :], ("red", "green", "blue"), 6)
    file, config, every = FIELDS[name]
    path = STARTER if name == "starter" else (source or Path()) / file
    if not path.exists():
        raise LevyError(f"there is no {path}")
    prepared = scratch / "prepared" / name
    if not (prepared / STORE).exists():
        folder = scratch / "source" / name
        for made in (prepared, folder):
            shutil.rmtree(made, ignore_errors=True)
            made.mkdir(parents=True)
        shutil.copy(path, folder)
        prepare_fields(folder, config, prepared, None, lambda blocks: blocks)
    codec = Codec.load(prepared)
    train, test = (FieldStore.open(prepared / STORE, group) for group in ("train", "test"))
    fields = torch.from_numpy(train[:]).nan_to_num()
    return Data(name, fields, torch.from_numpy(test[:]), codec.names, every, codec, test.times)


def train(data: Data, design_name: str, steps: int, scratch: Path) -> Model:
    """Trained, or as it was trained before."""
    folder = scratch / "models" / f"{data.name}-{design_name}-{steps}"
    if not (folder / "design.json").exists():
        fields = data.kind == "fields"
        design = Design.from_mapping(DESIGNS[design_name] | (WIDE if fields else {}))
        config = TrainConfig(
            steps=steps, batch=32 if fields else 64, lr=2e-3, warmup=50, ema=0.99, clip=1.0, label_dropout=0.0, flip=False,
            seed=0, precision="float32",
        )  # fmt: skip
        torch.manual_seed(0)
        size = UNetConfig(tuple(data.train.shape[1:]), 0, (16, 32), wraps=data.wraps)
        labels = of_labels(torch.zeros(len(data.train), dtype=torch.long))
        trainer = Trainer(design, UNet(size), data.train, labels, {LABEL: torch.tensor(0)}, config, torch.device("cpu"))
        start = time.process_time()
        for at in trainer.run():
            if at.step % 100 == 0:
                spent = time.process_time() - start
                print(f"{data.name} {design_name}, step {at.step}: loss {at.loss:.3f}, {spent:.0f} s", flush=True)
        folder.mkdir(parents=True, exist_ok=True)
        save_model(folder, trainer.averaged_weights(), design, size, Samples(data.kind, (), **RECORDED[data.kind]), {})
        write_manifest(folder)
    return load_model(folder)
