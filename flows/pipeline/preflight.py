"""What can be checked of the raw data before anything runs."""

import os
import shutil
import sys
from collections.abc import Mapping
from math import prod
from pathlib import Path

import numpy as np
import torch

from levy_core.base.errors import LevyError
from levy_core.observations.views import Scene
from levy_core.training.encoding import count_fitted
from tasks.kinds.kind import Contents
from tasks.params.experiments import FEWEST
from tasks.params.resolution import design_of
from tasks.params.samplers import cells_of
from tasks.params.schema import Params
from tasks.params.training import TrainParams
from tasks.runtime import paths, stage

FREE_BYTES = 500 * 2**20


def check_sources(params: Params) -> dict[str, Contents]:
    """Opens every data set once without reading all of it, looks at the free disk space, and warns on stderr of classes with one sample.

    Returns:
        What each data set holds.

    Raises:
        LevyError: what the data set is made of is missing, damaged, unsafe or does not suit its settings; it has no classes, which
            are to be balanced, or fewer EOFs than a design asks for, or samples too large for EOFs or too small for patches; experiments that its
            held-out samples do not suit; a nearly full disk.
    """
    found, needed = dict[str, Contents](), 0  # bytes
    for dataset in params.datasets:
        found[dataset] = contents = params.kind(dataset).check(paths.raw(dataset), params.data[dataset])
        for key, value in (("balance", params.train.balance), ("class_balancing", params.train.class_balancing)):
            if value and not contents.counts:
                raise LevyError(
                    f"train.{key} is {value:g}, but {dataset} is of the kind {params.data[dataset].kind}, which has no classes: "
                    f"set train.{key} to 0, or name only data sets with classes in datasets"
                )
        _check_eofs(params, dataset, contents)
        _check_patches(params, dataset, contents.shape)
        _check_experiments(params, dataset, contents)
        needed += _bytes_of_samples(params, dataset, contents.shape)
        for line in _find_repeated(dataset, contents.counts, params.train):
            print(f"warning: {line}", file=sys.stderr)
    free = shutil.disk_usage(Path.cwd()).free
    if free < FREE_BYTES:
        raise LevyError(
            f"only {free / 2**20:.0f} MiB are free on the disk of {Path.cwd()}: a run needs {FREE_BYTES / 2**20:.0f} MiB and more"
        )
    if needed > free:
        raise LevyError(
            f"sample.n is {params.sample.n:,}, whose samples take {needed / 2**30:,.0f} GiB or more in all cells of the grid, but "
            f"{free / 2**30:,.0f} GiB are free on the disk of {Path.cwd()}: draw fewer, or fewer cells or seeds"
        )
    return found


def check_machine(params: Params) -> None:
    """Looks for what stages that will run need beside data: the device, and the files that are named for the evaluation.

    Raises:
        LevyError: no GPU where cuda is asked for; a file, such as the weights of Inception, that is not there or cannot be read.
    """
    stage.device(params.compute.device)
    for dataset in params.datasets:
        for name, value in params.evaluation(dataset):
            if isinstance(value, Path) and not (value.is_file() and os.access(value, os.R_OK)):
                raise LevyError(
                    f"evaluate.{params.kind(dataset).name}.{name} is {value}, which is {'not readable' if value.is_file() else 'no file'}: give the path "
                    "of one, from the folder of params.yaml, or null"
                )


def _bytes_of_samples(params: Params, dataset: str, shape: tuple[int, ...]) -> int:
    """Of the grid, at least, that are not there yet."""
    kind, sample = params.kind(dataset), params.sample
    each = prod(shape) * np.dtype(kind.dtype).itemsize
    drawn = [file for design in params.designs for file in paths.samples(dataset, design).glob("*.npy")]
    number = sample.n * len(sample.seeds) * len(cells_of(sample, kind)) * len(params.designs)
    return max(0, number * each - sum(file.stat().st_size for file in drawn))


def _check_eofs(params: Params, dataset: str, contents: Contents) -> None:
    """Refuses designs with more EOFs than the samples have that they are fitted to, and large samples, which leave few of these."""
    given = {name: eofs for name in params.designs if (eofs := params.models[name].get("eofs")) is not None}
    if not given:
        return
    size = prod(contents.shape)
    try:
        fitted = count_fitted(sum(contents.counts.values()), size)
    except LevyError as error:
        raise LevyError(f"models.{next(iter(given))}.eofs on {dataset}: {error}") from error
    most = min(fitted - 1, size)
    for name, eofs in given.items():
        if isinstance(eofs, int) and eofs > most:
            raise LevyError(
                f"models.{name}.eofs is {eofs}, but the {fitted} training samples of {dataset} that EOFs are fitted to have at most "
                f"{most} EOFs: give fewer, or a share of the variance such as 0.95"
            )


def _check_patches(params: Params, dataset: str, shape: tuple[int, ...]) -> None:
    """Refuses designs whose patches the fields do not hold."""
    given = {name: patches for name in params.designs if (patches := design_of(params.models[name]).patches)}
    for name, patches in given.items():
        try:
            patches.check(*shape[-2:])
        except LevyError as error:
            raise LevyError(f"models.{name} on {dataset}: {error}") from error


def _check_experiments(params: Params, dataset: str, contents: Contents) -> None:
    """Refuses experiments that the held-out samples do not suit; where these are too few, the stage leaves them out and says so."""
    experiments, kind = params.experiments(dataset), params.kind(dataset)
    if not experiments or kind.observing is None:
        return
    if contents.held_out < FEWEST:
        return
    for name, experiment in experiments.items():
        try:
            experiment.operator(Scene(torch.ones(contents.shape, dtype=torch.bool)))
        except LevyError as error:
            raise LevyError(f"observe.{kind.name}.{name} on {dataset}: {error}") from error


def _find_repeated(dataset: str, counts: Mapping[str, int], train: TrainParams) -> list[str]:
    """Classes that balance would draw again and again from one sample, each with how often."""
    if not train.balance:
        return []
    weights = {name: n ** (1 - train.balance) for name, n in counts.items() if n}
    rows = train.steps * train.balance_phase * train.batch * (1 - train.label_dropout)
    return [
        f"{dataset}: class {name!r} has one training sample, which train.balance {train.balance:g} would show about "
        f"{rows * weight / sum(weights.values()):,.0f} times: lower train.balance, or bring more samples of that class"
        for name, weight in weights.items()
        if counts[name] == 1
    ]


def prune_outputs(params: Params) -> list[str]:
    """Moves outputs of designs that params.yaml does not name out of the folders that stages read as a whole, and brings back
    those of designs that it names again. DVC would leave them there, and its cache may not have them: cells of a sample stage
    that was interrupted are nowhere else.

    Returns:
        For people, what was moved, one line for each data set and direction.
    """
    lines = []
    for dataset in params.datasets:
        pruned = paths.pruned(dataset)
        if names := [_bring_back(output, pruned) for output in _to_bring_back(params, dataset)]:
            lines.append(f"brought back from {pruned}, as params.yaml names their designs again: {', '.join(names)}")
        if names := [name for path in _to_set_aside(params, dataset) if (name := _set_aside(path, pruned))]:
            lines.append(
                f"moved to {pruned}, as params.yaml does not name their designs: {', '.join(names)}. "
                "The next run that names them brings them back"
            )
    return lines


def find_prunable(params: Params) -> set[Path]:
    """What ``prune_outputs`` would change: outputs that it brings back, and the folders of these and of those that it moves."""
    moved = [path for dataset in params.datasets for path in _to_set_aside(params, dataset)]
    back = [path for dataset in params.datasets for path in _to_bring_back(params, dataset)]
    return {*back, *(path.parent for path in moved + back)}


def _outputs(params: Params, dataset: str) -> list[Path]:
    return [output for design in params.designs for output in paths.outputs_of_design(dataset, design)]


def _to_bring_back(params: Params, dataset: str) -> list[Path]:
    return [
        output
        for output in _outputs(params, dataset)
        if _kept(output, paths.pruned(dataset)).exists() and not output.exists()
    ]


def _to_set_aside(params: Params, dataset: str) -> list[Path]:
    expected = _outputs(params, dataset)
    folders = dict.fromkeys(output.parent for output in expected)
    return [path for folder in folders for path in sorted(set(folder.glob("*")) - set(expected))]


def _kept(output: Path, pruned: Path) -> Path:
    return pruned / output.parent.name / output.name


def _bring_back(output: Path, pruned: Path) -> str:
    output.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(_kept(output, pruned), output)
    return f"{output.parent.name}/{output.name}"


def _set_aside(path: Path, pruned: Path) -> str:
    """Its name; "" where it was half-written by a process that was killed, and is removed."""
    kept = _kept(path, pruned)
    _remove(kept)  # an older one
    if path.name.startswith("."):
        _remove(path)
        return ""
    kept.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(path, kept)
    return f"{path.parent.name}/{path.name}"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
