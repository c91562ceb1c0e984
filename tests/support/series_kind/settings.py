"""What a person says of series and of their metrics."""

from typing import Literal

from pydantic import Field

from levy_core.base.settings import Settings


class SeriesSettings(Settings):
    """How one data set of series is split."""

    kind: Literal["series"]
    test_share: float = Field(default=0.25, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)


class SeriesEvaluation(Settings):
    """How series are measured."""

    lags: int = Field(default=8, ge=1)
