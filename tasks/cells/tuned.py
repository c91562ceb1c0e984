"""What the tune stage found, on disk."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from levy_core.base.errors import LevyError
from levy_core.base.files import write_json
from levy_core.sampling.solver import Solver

T = TypeVar("T")


def write_tuned(path: Path, samplers: dict[int, dict]) -> None:
    """``samplers[steps]`` has ``sampler`` (a solver's fields) and how it was found."""
    write_json(path, {str(steps): entry for steps, entry in samplers.items()})


def read_tuned(path: Path) -> dict[int, Solver]:
    """The sampler found for each number of steps.

    Raises:
        LevyError: the file is missing or damaged.
    """
    return _read(path, lambda entry: Solver(**entry["sampler"]))


def read_spent(path: Path) -> dict[int, int]:
    """Evaluations of the network, each for one sample, that the search of each number of steps took, fits included.

    Raises:
        LevyError: as ``read_tuned``.
    """
    return _read(path, lambda entry: int(entry["evaluations"]))


def _read(path: Path, value: Callable[[Any], T]) -> dict[int, T]:
    try:
        return {int(steps): value(entry) for steps, entry in json.loads(path.read_text()).items()}
    except (
        OSError,
        ValueError,
        OverflowError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        LevyError,
    ) as error:
        raise LevyError(f"{path} cannot be read ({error}): run the tune stage again") from error
