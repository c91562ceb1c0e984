"""What can be checked of the raw data before anything runs."""

import shutil
from pathlib import Path

from levy_core.base.errors import LevyError
from tasks.params.schema import Params
from tasks.runtime import paths

FREE_BYTES = 500 * 2**20


def check_sources(params: Params) -> None:
    """Opens every data set without reading its images or fields, and looks at the free disk space.

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


def prune_outputs(params: Params) -> bool:
    """Removes outputs of designs that params.yaml no longer names: DVC leaves them, and folders are read as a whole.

    Returns whether there were any.

    They stay in DVC's cache: `dvc checkout` brings them back with the params.yaml that names them.
    """
    found = False
    for dataset in params.datasets:
        for kind in ("models", "curves", "tuned", "trials", "samples", "evaluations"):
            for path in (paths.OUTPUTS / dataset / kind).glob("*"):
                if path.name.removesuffix(".csv").removesuffix(".json") not in params.designs:
                    found = True
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
    return found
