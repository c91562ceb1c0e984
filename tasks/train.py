"""Stage train: one design on one data set. Interrupted, the same command goes on, to the same result."""

import hashlib
import json
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import torch

import levy_core.batches
import levy_core.design
import levy_core.loss
import levy_core.nets.globe
import levy_core.nets.unet
import levy_core.noise
import levy_core.param
import levy_core.schedule
import levy_core.seeds
import levy_core.train
from levy_core.batches import sample_shape
from levy_core.checkpoint import save_model
from levy_core.design import Design
from levy_core.errors import LevyError
from levy_core.files import hash_code, replacing
from levy_core.nets.precision import parameter_count
from levy_core.nets.unet import UNet, UNetConfig
from levy_core.tensors import read_tensors, write_tensors
from levy_core.train import TrainConfig, Trainer
from tasks import paths, stage
from tasks.params import Params
from tasks.training import TRAINING, Training

CURVE_WINDOW = 50  # steps averaged into one point of the curve
# Code that decides what a training step does.
DECIDES = (
    levy_core.batches,
    levy_core.design,
    levy_core.loss,
    levy_core.nets.globe,
    levy_core.nets.unet,
    levy_core.noise,
    levy_core.param,
    levy_core.schedule,
    levy_core.seeds,
    levy_core.train,
)


def train(params: Params, dataset: str, design_name: str) -> None:
    """Trains, saving a resumable state every ``train.save_every`` steps; writes model and curve."""
    stage.reproducible(params.compute.threads)
    training = TRAINING[params.data[dataset].kind](params, dataset)
    design = params.design(design_name, training.tail_index)
    classes = len(training.samples.classes)
    net_config = UNetConfig.from_mapping(
        {"shape": sample_shape(training.data), "classes": classes, **training.net, **params.net.model_dump()}
    )
    settings = params.train.model_dump()
    save_every = settings.pop("save_every")
    config = TrainConfig(flip=training.flip, **settings)
    torch.manual_seed(config.seed)
    net = UNet(net_config, **training.places)
    trainer = Trainer(design, net, training.data, training.labels, classes, config, stage.device(params.compute.device))
    print(
        f"{design_name} on {dataset}: {parameter_count(net):,} parameters, {design.noise}, {'bfloat16' if trainer.bf16 else 'float32'}"
    )

    resume = Resume(paths.resume(dataset, design_name), _fingerprint(design, net_config, config, training))
    curve = resume.restore(trainer)
    with stage.bar(
        trainer.run(), f"train {design_name}", initial=trainer.step, total=config.steps, unit="step"
    ) as progress:
        for p in progress:
            curve.append((p.loss, p.grad_norm))
            progress.set_postfix(loss=f"{p.loss:.3f}", refresh=False)
            if p.step % save_every == 0 and p.step < config.steps:
                resume.save(trainer, curve)

    about = {"levy": version("levy"), "train": params.train.model_dump(), "dataset": dataset, "design": design_name}
    with stage.replacing_folder(paths.model(dataset, design_name)) as folder:
        save_model(folder, trainer.averaged_weights(), design, net_config, training.samples, about)
        if training.codec is not None:
            training.codec.save(folder)
    _write_curve(paths.curve(dataset, design_name), curve)
    resume.clear()


def _fingerprint(design: Design, net: UNetConfig, config: TrainConfig, training: Training) -> bytes:
    decides = [design.to_mapping(), net.to_mapping(), asdict(config), hash_code(*DECIDES), training.hash]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).digest()


def _write_curve(path: Path, curve: list[tuple[float, float]]) -> None:
    table = pd.DataFrame(curve, columns=["loss", "grad_norm"])
    table.insert(0, "step", table.index + 1)
    points = table.groupby((table.index) // CURVE_WINDOW).agg({"step": "max", "loss": "mean", "grad_norm": "mean"})
    with replacing(path) as temporary:
        points.to_csv(temporary, index=False, float_format="%.6g")


class Resume:
    """The saved state of an unfinished run; used only by a run of the same design, network, settings and data.

    One file, replaced as a whole: a kill while saving leaves the state before.
    """

    def __init__(self, path: Path, fingerprint: bytes):
        self.path = path
        self.fingerprint = torch.frombuffer(bytearray(fingerprint), dtype=torch.uint8)

    def save(self, trainer: Trainer, curve: list[tuple[float, float]]) -> None:
        """Takes the place of the state before."""
        about = {"curve": torch.tensor(curve, dtype=torch.float64), "fingerprint": self.fingerprint}
        write_tensors(self.path, trainer.state() | about)

    def restore(self, trainer: Trainer) -> list[tuple[float, float]]:
        """Puts a matching state into ``trainer`` and returns the curve so far; else leaves it at step 0."""
        try:
            state = read_tensors(self.path)
        except LevyError:
            return []
        curve, fingerprint = state.pop("curve"), state.pop("fingerprint")
        if not torch.equal(fingerprint, self.fingerprint):
            return []
        trainer.restore(state)
        print(f"going on after step {trainer.step}")
        return [(loss, norm) for loss, norm in curve.tolist()]

    def clear(self) -> None:
        """Removes the state of a finished run."""
        self.path.unlink(missing_ok=True)


if __name__ == "__main__":
    stage.main(train, "dataset", "design")
