"""Settings: validated values that a person gives."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Settings(BaseModel):
    """Unknown keys are errors, because a misspelt key would otherwise be ignored; so are infinities, NaN, and true or false for a number.

    Texts of numbers are numbers: YAML reads 1e-3 as a text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_values(cls, value: Any, info: ValidationInfo) -> Any:
        """Where a number is expected, true would be read as 1."""
        kinds = set(_kinds(cls.model_fields[str(info.field_name)].annotation))
        if kinds & {int, float} and bool not in kinds:
            for each in value if isinstance(value, list | tuple) else [value]:
                if isinstance(each, bool):
                    raise ValueError(f"{str(each).lower()} stands where a number is expected")
        return value


def _kinds(annotation: Any) -> Iterator[type]:
    """The types that an annotation is made of."""
    for part in get_args(annotation):
        yield from _kinds(part)
    if isinstance(annotation, type):
        yield annotation
    elif isinstance(annotation, bool):  # of a Literal
        yield bool
