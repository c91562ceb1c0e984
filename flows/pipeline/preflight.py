"""What can be checked of the raw data before anything runs."""

import shutil
from pathlib import Path

from levy_core.base.errors import LevyError
from tasks.params.schema import Params
from tasks.runtime import paths

FREE_BYTES = 500 * 2**20


def check_sources(params: Params) -> None:
    """Opens every data set without reading all of it, and looks at the free disk space.

    Raises:
        LevyError: what the data set is made of is missing, damaged, unsafe or does not suit its settings; a nearly full disk.
    """
    for dataset in params.datasets:
        params.kind(dataset).check(paths.raw(dataset), params.data[dataset])
    free = shutil.disk_usage(Path.cwd()).free
    if free < FREE_BYTES:
        raise LevyError(
            f"only {free / 2**20:.0f} MiB are free on the disk of {Path.cwd()}: a run needs {FREE_BYTES / 2**20:.0f} MiB and more"
        )


def prune_outputs(params: Params) -> list[str]:
    """Moves outputs of designs that params.yaml does not name out of the folders that stages read as a whole, and brings back
    those of designs that it names again. DVC would leave them there, and its cache may not have them: cells of a sample stage
    that was interrupted are nowhere else.

    Returns:
        For people, what was moved, one line for each data set and direction.
    """
    lines = []
    for dataset in params.datasets:
        expected = [output for design in params.designs for output in paths.outputs_of_design(dataset, design)]
        pruned = paths.pruned(dataset)
        if names := _bring_back(expected, pruned):
            lines.append(f"brought back from {pruned}, as params.yaml names their designs again: {', '.join(names)}")
        if names := _set_aside(expected, pruned):
            lines.append(
                f"moved to {pruned}, as params.yaml does not name their designs: {', '.join(names)}. "
                "The next run that names them brings them back"
            )
    return lines


def _bring_back(expected: list[Path], pruned: Path) -> list[str]:
    moved = []
    for output in expected:
        kept = pruned / output.parent.name / output.name
        if kept.exists() and not output.exists():
            output.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(kept, output)
            moved.append(f"{output.parent.name}/{output.name}")
    return moved


def _set_aside(expected: list[Path], pruned: Path) -> list[str]:
    moved = []
    for folder in dict.fromkeys(output.parent for output in expected):
        for path in sorted(set(folder.glob("*")) - set(expected)):
            kept = pruned / folder.name / path.name
            _remove(kept)  # an older one
            if path.name.startswith("."):  # half-written, of a process that was killed
                _remove(path)
                continue
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, kept)
            moved.append(f"{folder.name}/{path.name}")
    return moved


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
