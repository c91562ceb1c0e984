"""What every stage does before and after its own work."""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from levy_core.base.errors import LevyError
from tasks.runtime import disk, gpu_memory


def run(work: Callable[..., None], load: Callable[[], Any], **names: str) -> None:
    """Calls ``work(load(), *names)`` as a program: ``dataset``, and of some stages ``design``.

    A mistake that a person can mend, an error of the disk, and a GPU without memory end in one message and exit status 1, without a traceback.
    """
    try:
        settings = load()
        for name, value in names.items():
            allowed = getattr(settings, f"{name}s")
            if value not in allowed:
                raise LevyError(f"unknown {name} {value!r}: params.yaml has {', '.join(allowed)}")
        work(settings, *names.values())
    except LevyError as error:
        sys.exit(f"error: {error}")
    except Exception as error:
        told = disk.explain(error) or gpu_memory.explain(error)
        if told is None:
            raise
        sys.exit(f"error: {told}")


def device(name: str) -> Any:
    """The torch device of ``compute.device``.

    Raises:
        LevyError: cuda is asked for where there is none.
    """
    import torch

    if name == "cuda" and not torch.cuda.is_available():
        raise LevyError("compute.device is cuda, but torch finds no GPU: set it to auto or cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


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
