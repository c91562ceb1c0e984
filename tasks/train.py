"""Stage train: one design on one data set. Interrupted, the same command goes on, to the same result; finished, it is kept."""

import os
import sys
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.metadata import version
from math import nan, prod
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import nn

from levy_core.base.code import hash_code
from levy_core.base.determinism import make_reproducible
from levy_core.base.errors import LevyError
from levy_core.base.files import hash_json, replacing
from levy_core.base.manifest import write_manifest
from levy_core.nets.labels import tell_labels
from levy_core.nets.latent import Latent
from levy_core.nets.mlp import MLP, MLPConfig
from levy_core.nets.precision import parameter_count, resolve_precision
from levy_core.observations.kept import keep_covariance
from levy_core.process.design import Design
from levy_core.training.augmentation import Augmentation
from levy_core.training.batches import sample_shape
from levy_core.training.checkpoint import NETS, NetConfig, save_model
from levy_core.training.compiling import resolve_compile
from levy_core.training.config import TrainConfig
from levy_core.training.encoding import count_fitted, encode_data, fit_to_data, measure_held_back
from levy_core.training.share import Share
from levy_core.training.trainer import Trainer
from tasks.kinds.kind import TrainingData
from tasks.params.resolution import check_tail_index, design_of
from tasks.params.schema import Params
from tasks.params.training import NetParams
from tasks.runtime import paths, processes, stage
from tasks.runtime.finished import FinishedStage
from tasks.runtime.live import LiveLog
from tasks.runtime.progress import bar
from tasks.training.choice import check_choice, choose_weights, describe_choice
from tasks.training.held_out import CURVE, HeldOut, Point
from tasks.training.kept_averages import KeptAverages
from tasks.training.pictures import Pictures
from tasks.training.resume import Resume
from tasks.training.size import size_network

CURVE_WINDOW = 50  # steps averaged into one point of the curve
READ_EVERY = 20  # steps that a GPU takes before their losses are read, at most
# Code that decides what a training step does, with all that it imports.
CODE = (
    "levy_core.training.trainer",
    "levy_core.process.design",
    "levy_core.nets.unet",
    "levy_core.nets.dit",
    "levy_core.nets.mlp",
    "levy_core.training.encoding",
)
# And what the files of a finished training say, beside this module.
LEAVES = ("tasks.training.held_out", "tasks.training.choice")  # without what they import
FILES_CODE = (*CODE, "levy_core.base.determinism", "levy_core.observations.kept", "levy_core.training.checkpoint")


def train(params: Params, dataset: str, design_name: str) -> None:
    """Trains in ``train.processes`` processes, saving a resumable state every ``train.save_every`` steps; writes model and curve."""
    work = lambda state: _train(params, dataset, design_name, state)
    processes.run(params.compute, params.train.processes, work, exchange=True)


def _train(params: Params, dataset: str, design_name: str, state: PartialState) -> None:
    """The work of one of the processes that share every batch; only the main one speaks and writes."""
    _check_number(params.train.processes, state)
    make_reproducible(params.compute.threads)
    compiled = resolve_compile(params.compute.compile, state.device, params.train.steps)
    if compiled:
        _keep_compiled()
    training = params.kind(dataset).training_data(paths.prepared(dataset), params.data[dataset])
    settings_of_design = params.models[design_name]
    check_tail_index(design_name, settings_of_design, training.tail_index)
    design = design_of(settings_of_design, training.tail_index, training.sigma_data)
    latent = None if design.eofs is None else fit_to_data(training.data, design.eofs, training.areas)
    data = encode_data(latent, training.data) if latent else training.data
    net_config = _size_network(params.net, training, design, latent)
    settings = params.train.model_dump(exclude={"save_every", "processes", "checkpointing", "ema_chosen", "pictures"})
    settings["ema_lengths"] = tuple(params.train.ema_lengths or ())
    settings["precision"] = resolve_precision(params.train.precision, state.device)
    config = TrainConfig(flip=training.flip, crop=training.crop, colour=training.colour, **settings)
    torch.manual_seed(config.seed)
    if isinstance(net_config, MLPConfig):
        net: nn.Module = MLP(net_config)
    else:
        built = NETS[params.net.kind][1](net_config, **training.net_inputs)
        built.checkpointing, net = params.train.checkpointing, built
    tell_labels(net, training.label_numbers)
    share = Share(state.process_index, state.num_processes, _sum_over_processes)
    read_every = 1 if state.device.type == "cpu" else _largest_divisor(params.train.save_every, READ_EVERY)
    kept_averages = KeptAverages(paths.kept_averages(dataset, design_name), state.is_main_process)
    trainer = Trainer(
        design, net, data, training.cond, training.samples.absent, config, state.device, share, read_every=read_every,
        keep=kept_averages.keep,
    )  # fmt: skip
    fingerprint = _fingerprint(design, net_config, config, training)
    samples = replace(training.samples, label_dropout=config.label_dropout)
    resume = Resume(paths.resume(dataset, design_name), fingerprint, config.precision, kept_averages)
    curve = resume.restore(trainer)
    train_settings = params.train.model_dump(exclude={"pictures"}, exclude_none=True)
    about: dict[str, Any] = {
        "levy": version("levy"),
        "train": train_settings,
        "dataset": dataset,
        "design": design_name,
    }
    about["precision"] = config.precision  # what `auto` was on this processor
    pictures = Pictures(paths.pictures(dataset, design_name), params.train.pictures, samples, latent)
    kind, machine = params.kind(dataset), [params.compute.threads, state.device.type, compiled]
    held_out = HeldOut(training, latent, config.steps, trainer.made.cover)
    check_choice(params.train.ema_chosen, held_out, dataset)
    code = [
        hash_code(__name__, *LEAVES, *FILES_CODE, leaves=[__name__, *LEAVES]),
        kind.hash_code("data"),
        kind.hash_code("training"),
    ]
    decided_by = hash_json([fingerprint.hex(), samples.to_mapping(), about, code, machine, held_out.hash])
    outputs = [paths.model(dataset, design_name), paths.curve(dataset, design_name)]
    finished = FinishedStage(paths.finished_training(dataset, design_name), decided_by, outputs)
    kept = finished.is_kept()
    _check_start((kept, trainer.step, trainer.bf16, fingerprint.hex()))
    main = state.is_main_process
    if kept:
        if main:
            if not config.ema_lengths:
                resume.clear()  # where the training was cut off just before it did so
            print(
                f"{design_name} on {dataset}: the model is kept, because its data, its settings and its code are those that "
                "it was trained with"
            )
        return
    if main:
        of_eofs = f" on {latent.size} EOFs" if latent else ""
        print(
            f"{design_name} on {dataset}: {parameter_count(net):,} parameters{of_eofs}, {design.noise}, {config.precision}"
        )
        if latent:
            print(_describe_fit(latent, training))
        if advice := kind.advise(params.data[dataset], design):
            print(f"warning: {advice}", file=sys.stderr)
        if trainer.step:
            print(f"going on after step {trainer.step}")
        elif resume.unused:
            print(resume.unused)
        if not trainer.step:  # what is there is of another training
            kept_averages.clear()
            pictures.clear()
        pictures.begin(trainer.step, config.steps)
    if compiled:
        about["compiled"] = _compile(trainer, main)
    live = (
        LiveLog(paths.live(dataset, design_name), decided_by, config.steps, trainer.step, CURVE_WINDOW)
        if main
        else None
    )
    options = {"initial": trainer.step, "total": config.steps, "unit": "step", "disable": not main}
    with bar(trainer.run(), f"train {design_name}", **options) as progress:
        for p in progress:
            held_out_loss = held_out.loss(trainer, p.step, curve) if main else nan
            curve.append((p.loss, p.grad_norm, held_out_loss))
            progress.set_postfix(loss=f"{p.loss:.3f}", refresh=False)
            if live:
                live.add(
                    p.step,
                    {"train_loss": p.loss, "train_grad_norm": p.grad_norm, "held_out_loss": held_out_loss, "lr": p.lr},
                )
                if picture := pictures.draw(trainer, p.step):
                    live.add_picture(p.step, picture)
            if main and p.step % params.train.save_every == 0 and p.step < config.steps:
                resume.save(trainer, curve)
    if not main:
        return

    if config.ema_lengths:
        resume.save(trainer, curve)  # which stays, for another choice
    weights, choice = choose_weights(trainer, params.train.ema_chosen, held_out, kept_averages.read)
    if choice:
        print(describe_choice(choice, curve[-1][2]))
    with stage.replacing_folder(paths.model(dataset, design_name)) as folder:
        save_model(folder, weights, design, net_config, samples, about | choice, latent)
        training.save(folder)
        if latent is None:  # which says what the covariance would
            keep_covariance(training.data, prod(sample_shape(training.data)), folder)
        write_manifest(folder)
    _write_curve(paths.curve(dataset, design_name), curve)
    finished.write()
    if not config.ema_lengths:
        resume.clear()


def _keep_compiled() -> None:
    """Kernels go where other stages and checkouts find them; torch reads the variable before anything is compiled."""
    with suppress(OSError):  # a home that cannot be written to: torch has a folder of its own
        paths.compiled().mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(paths.compiled()))


def _compile(trainer: Trainer, main: bool) -> bool:
    """Whether the network is now compiled; why not is said, and costs no more than that."""
    if main:
        print("compiling the network, which takes a minute or so", flush=True)
    fault = trainer.compile()
    if fault and main:
        print(
            f"warning: the network is not compiled, and trains as with compute.compile: false ({fault})",
            file=sys.stderr,
        )
    return not fault


def _describe_fit(latent: Latent, training: TrainingData) -> str:
    """How many fields decided the EOFs, and what such EOFs hold of fields that did not."""
    samples = len(training.data)
    fitted = f"EOFs fitted to {count_fitted(samples, latent.mean.numel()):,} of {samples:,} samples"
    held = measure_held_back(training.data, latent.size, training.areas)
    return (
        fitted
        if held is None
        else f"{fitted}; {latent.size} of the first 90 % hold {held:.0%} of the variance of the others"
    )


def _size_network(params: NetParams, training: TrainingData, design: Design, latent: Latent | None) -> NetConfig:
    numbers = 0 if training.label_numbers is None else training.label_numbers.shape[1]
    augment = Augmentation(training.crop, training.colour).numbers
    shape, classes = sample_shape(training.data), len(training.samples.classes)
    return size_network(params, design, shape, classes, augment, numbers, training.net, latent.size if latent else None)


def _check_number(wanted: int, state: PartialState) -> None:
    """The number of processes decides the last bits of a model, so a launcher may not choose another than the one on record."""
    if state.num_processes != wanted:
        raise LevyError(
            f"{state.num_processes} processes were started, but train.processes is {wanted}: "
            f"set it to {state.num_processes}, or start as many as it says"
        )


def _check_start(start: tuple[bool, int, bool, str]) -> None:
    """All processes must go on from the same step with the same settings, code and data, or all keep what is finished."""
    starts = gather_object([start])
    if len(set(starts)) > 1:
        steps = ", ".join("finished" if kept else str(step) for kept, step, _, _ in starts)
        raise LevyError(
            f"the processes do not start from the same point (steps {steps}; settings, code, data or precision may differ too): "
            "all of them need the same commit and one file system with its outputs, on processors of one kind"
        )


def _sum_over_processes(flat: torch.Tensor) -> None:
    try:
        torch.distributed.all_reduce(flat)
    except RuntimeError as error:  # gloo's or NCCL's
        raise processes.LostError(
            f"another process of this training has ended ({str(error).splitlines()[0]}): "
            "run the same command again, it goes on from the last saved step"
        ) from error


def _fingerprint(design: Design, net: NetConfig, config: TrainConfig, training: TrainingData) -> bytes:
    decides = [design.to_mapping(), net.to_mapping(), asdict(config), hash_code(*CODE), training.hash]
    return bytes.fromhex(hash_json(decides))


def _largest_divisor(n: int, most: int) -> int:
    return max(d for d in range(1, most + 1) if n % d == 0)


def _write_curve(path: Path, curve: list[Point]) -> None:
    table = pd.DataFrame(curve, columns=CURVE)
    table.insert(0, "step", table.index + 1)
    points = table.groupby((table.index) // CURVE_WINDOW).agg({"step": "max", **dict.fromkeys(CURVE, "mean")})
    with replacing(path) as temporary:
        points.to_csv(temporary, index=False, float_format="%.6g")
