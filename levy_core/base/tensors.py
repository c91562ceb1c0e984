"""Tensors on disk: safetensors files, written in one piece. Nothing is pickled."""

import os
import shutil
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from levy_core.base.errors import LevyError
from levy_core.base.files import replacing


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """A safetensors file, written in one piece.

    safetensors writes under a random name beside the file; in a folder of its own, what a killed process left goes with the next write.
    """
    folder = path.with_name(f".{path.name}.parts")
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with replacing(folder / path.name) as temporary:
            save_file(tensors, temporary)
        os.replace(folder / path.name, path)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        LevyError: the file is missing, truncated or not safetensors.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise LevyError(f"{path} cannot be read as safetensors ({error}): train or pull the model again") from error
