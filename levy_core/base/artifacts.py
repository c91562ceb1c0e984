"""JSON files that a stage leaves to others, taken only where they hold what they have to."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from levy_core.base.errors import LevyError

STRICT = ConfigDict(strict=True, frozen=True, allow_inf_nan=False)


class Artifact(BaseModel):
    """What a file holds, or a part of it: nothing is converted, NaN and infinities are errors, further keys are left alone."""

    model_config = STRICT


Content = TypeVar("Content", bound=BaseModel)


def read_artifact(path: Path, content: type[Content], stage: str) -> Content:
    """What a file holds.

    Args:
        stage: what has to run again where the file cannot be read.

    Raises:
        LevyError: the file is missing or damaged; says where, what was found there and what was expected.
    """
    try:
        return parse(path.read_bytes(), content)
    except (OSError, ValueError) as error:
        raise LevyError(f"{path} cannot be read ({error}): run the {stage} stage again") from error


def parse(text: bytes, content: type[Content]) -> Content:
    """JSON as ``content``.

    Raises:
        ValueError: the first thing that is wrong, in a line.
    """
    try:
        return content.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        expected, place = first["msg"].removeprefix("Value error, "), ".".join(map(str, first["loc"]))
        raise ValueError(f"{place} is {first['input']!r:.60}: {expected}" if place else expected) from None
