"""What every stage does before and after its own work."""

import argparse
import errno
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from levy_core.base.errors import LevyError
from tasks.params import schema


def main(work: Callable[..., None], *names: str) -> None:
    """Runs ``work(params, *names)`` as the program of a stage: `python -m tasks.STAGE --dataset NAME ...`.

    A mistake that a person can mend ends in one message and exit status 1, without a traceback.
    """
    doc = (sys.modules[work.__module__].__doc__ or "").strip()
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in names:
        parser.add_argument(f"--{name}", required=True, metavar="NAME", help=f"a name in `{name}s` of params.yaml")
    arguments = parser.parse_args()
    values = [getattr(arguments, name) for name in names]
    try:
        settings = schema.load()
        for name, value in zip(names, values, strict=True):
            allowed = getattr(settings, f"{name}s")
            if value not in allowed:
                raise LevyError(f"unknown {name} {value!r}: params.yaml has {', '.join(allowed)}")
        work(settings, *values)
    except LevyError as error:
        sys.exit(f"error: {error}")
    except Exception as error:
        # safetensors, zarr and HDF5 put the system's words into errors of their own, numpy says how much it could write.
        told = re.search(rf"{os.strerror(errno.ENOSPC)}|^\d+ requested and \d+ written$", str(error))
        if getattr(error, "errno", None) != errno.ENOSPC and not told:
            raise
        where = getattr(error, "filename", None) or os.getcwd()
        sys.exit(f"error: the disk is full ({where}): free some space and run the same command again")


def device(name: str) -> Any:
    """The torch device of ``compute.device``.

    Raises:
        LevyError: cuda is asked for where there is none.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise LevyError("compute.device is cuda, but torch finds no GPU: set it to auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def reproducible(threads: int) -> None:
    """A fixed number of threads and deterministic kernels: the same inputs give the same bytes on the same machine."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("warn")  # as use_deterministic_algorithms, which would load torch's compiler
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs time and guards nothing that runs here


def bar(items: Any, what: str, **options: Any) -> Any:
    """A progress bar; in a log file a line every ten seconds."""
    return tqdm(items, desc=what, mininterval=0.2 if sys.stderr.isatty() else 10, dynamic_ncols=True, **options)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that takes the place of ``path`` only if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for stale in path.parent.glob(f".{path.name}.*"):  # of a run that was killed
        shutil.rmtree(stale, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    try:
        yield temporary
        temporary.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
