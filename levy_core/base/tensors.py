"""Tensors on disk: safetensors files, written in one piece. Nothing is pickled."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from levy_core.base.errors import LevyError
from levy_core.base.files import replacing


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """A safetensors file, written in one piece."""
    with replacing(path) as temporary:
        save_file(tensors, temporary)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Raises:
        LevyError: the file is missing, truncated or not safetensors.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise LevyError(f"{path} cannot be read as safetensors ({error}): train or pull the model again") from error
