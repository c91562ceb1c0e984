"""What the tune stage found, on disk."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from levy_core.base.errors import LevyError
from levy_core.base.files import write_json
from levy_core.sampling.solver import Solver

T = TypeVar("T")


CORRECTION = "correction"  # the key beside numbers of steps


def write_tuned(path: Path, samplers: dict[int, dict], correction: dict[str, Any] | None = None) -> None:
    """``samplers[steps]`` has ``sampler`` (a solver's fields) and how it was found; ``correction`` is what corrects samples, if anything does."""
    found = {CORRECTION: correction} if correction else {}
    write_json(path, {**{str(steps): entry for steps, entry in samplers.items()}, **found})


def read_correction(path: Path) -> dict[str, Any]:
    """What corrects samples of a model; {} where nothing does.

    Raises:
        LevyError: as ``read_tuned``.
    """
    try:
        found = json.loads(path.read_text()).get(CORRECTION, {})
        if isinstance(found, dict):
            return found
        raise TypeError(f"{CORRECTION} is {found!r:.40}")
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, error) from error


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
        entries = json.loads(path.read_text()).items()
        return {int(steps): value(entry) for steps, entry in entries if steps != CORRECTION}
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
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> LevyError:
    return LevyError(f"{path} cannot be read ({error}): run the tune stage again")
