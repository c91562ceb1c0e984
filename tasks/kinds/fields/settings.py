"""What a person says of fields and of their metrics."""

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from levy_core.base.errors import LevyError
from levy_core.base.settings import Settings
from levy_core.datasets.fields.config import FieldsConfig


class FieldSettings(Settings):
    """How one data set of fields is prepared: the settings of ``FieldsConfig``, and what its network is told."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    kind: Literal["fields"]
    coordinates: bool = False

    @model_validator(mode="after")
    def _check_config(self) -> "FieldSettings":
        try:
            config = self.config
        except (LevyError, TypeError, ValueError) as error:
            raise ValueError(str(error)) from None
        if self.coordinates and config.patch:
            raise ValueError("coordinates are the same for all samples of a data set, so that patches cannot have them")
        return self

    @property
    def config(self) -> FieldsConfig:
        """The settings as the reader of fields takes them."""
        given = self.model_extra or {}
        _check_dates(given)
        return FieldsConfig.from_mapping(given)


def _check_dates(values: dict[str, Any]) -> None:
    for key, value in values.items():
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(entry, date):
                raise LevyError(f'{key} has {entry} without quotes: write "{entry}", because DVC reads no YAML dates')


class FieldDrift(Settings):
    """When new fields are told to be unlike those of the training period: docs/retraining.md."""

    quantiles: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = (0.01, 0.5, 0.99, 0.999)
    weeks: int = Field(default=13, ge=1, le=520)
    shift: float = Field(default=0.5, gt=0)
    false_alarms: float = Field(default=0.001, gt=0, lt=0.5)


class FieldEvaluation(Settings):
    """What fields are measured with: docs/weather-measures.md."""

    tail_share: float = Field(default=0.01, gt=0, lt=0.5)
    block: int = Field(default=10, ge=1)
    resamples: int = Field(default=200, ge=20)
    most: int = Field(default=2000, ge=20)
