"""The sections of params.yaml that say what is trained, and how: net and train."""

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, model_validator

from levy_core.base.errors import LevyError
from levy_core.base.settings import Settings
from levy_core.nets.named import CHOICES, NAMED
from levy_core.training.power_averages import LONGEST, check_length
from levy_core.training.rates import LrSchedule
from tasks.params.sections import Count, one_of


class NetParams(Settings):
    """The network: a row of ``NAMED`` and what is to differ from it; of designs with eofs ``depth`` layers of ``width`` values."""

    name: Annotated[str, one_of("network", NAMED)] = "small"
    channels: list[Annotated[int, Field(gt=0)]] | None = Field(default=None, min_length=1)
    layers: Count | None = None
    attention: list[bool] | None = None
    head_channels: Count | None = None
    scale_shift: bool | None = None
    residual_resampling: bool | None = None
    dropout: float | None = Field(default=None, ge=0, lt=1)
    hidden: Count | None = None
    patch: Count | None = None
    width: Count = 128
    depth: Count = 3

    @model_validator(mode="after")
    def _it_has_what_is_set(self) -> "NetParams":
        allowed = CHOICES[self.kind]
        for key in self._own:
            if key not in allowed:
                raise ValueError(
                    f"net.{key} is set, which the network {self.name} does not have: it has {', '.join(allowed)}; take net.{key} out, or choose "
                    "another net.name"
                )
        channels, attention = self.settings.get("channels", []), self.attention or []
        if len(attention) > len(channels):
            raise ValueError(
                f"net.attention is {attention}, but net.channels has {len(channels)} resolutions: give one entry per resolution"
            )
        return self

    @property
    def _own(self) -> dict[str, Any]:
        return self.model_dump(exclude={"name", "width", "depth"}, exclude_none=True)

    @property
    def kind(self) -> str:
        """Of the network that sees values."""
        return NAMED[self.name].kind

    @property
    def settings(self) -> dict[str, Any]:
        """Its settings, as far as they do not follow from the data."""
        named = dict(NAMED[self.name].settings)
        if self.channels is not None and "attention" in named:
            named["attention"] = named["attention"][: len(self.channels)]
        return named | self._own

    @property
    def described(self) -> dict[str, Any]:
        """All of it, for a record."""
        return {"name": self.name, **self.settings, "width": self.width, "depth": self.depth}


def _read_chosen(value: Any) -> float | str | None:
    if value is None or value == "best":
        return value
    if type(value) not in (int, float) or not 0 < value < LONGEST:
        raise ValueError(
            f"best, or a number above 0 and below {LONGEST:.4f} is expected: the length of an average, per length of the training"
        )
    return float(value)


class TrainParams(Settings):
    """Training of every design."""

    steps: Count
    batch: Count
    lr: float = Field(gt=0)
    warmup: int = Field(ge=0, le=2**31 - 1)
    ema: float = Field(ge=0, lt=1)
    clip: float = Field(gt=0)
    label_dropout: float = Field(ge=0, le=1)
    precision: Literal["auto", "float32", "bfloat16"]
    seed: int = Field(ge=0)
    save_every: Count
    processes: int = Field(default=1, ge=1, le=10_000)
    balance: float = Field(default=0.0, ge=0, le=1)
    balance_phase: float = Field(default=0.2, gt=0, le=1)
    class_balancing: float = Field(default=0.0, ge=0)
    lr_schedule: LrSchedule = "constant"
    weight_decay: float = Field(default=0.0, ge=0)
    accumulate: int = Field(default=1, ge=1, le=10_000)
    checkpointing: bool = False
    pictures: int = Field(default=0, ge=0, le=1000)
    ema_lengths: list[Annotated[float, Field(gt=0, lt=LONGEST)]] | None = Field(
        default=None, min_length=1, max_length=4
    )
    ema_chosen: Annotated[Any, PlainValidator(_read_chosen)] = None

    @model_validator(mode="after")
    def _the_chosen_average_can_be_made(self) -> "TrainParams":
        lengths = self.ema_lengths or []
        if any(after < 1.01 * before for before, after in pairwise(sorted(lengths))):
            raise ValueError(
                f"train.ema_lengths is {lengths}: name each once, and none within 1 % of another, of which it says nothing new"
            )
        if self.ema_chosen is not None and not lengths:
            raise ValueError(
                f"train.ema_chosen is {self.ema_chosen}, but train.ema_lengths names no averages to make it of: set it to [0.05, 0.1]"
            )
        if isinstance(self.ema_chosen, float):
            try:
                check_length(lengths, self.steps, self.ema_chosen)
            except LevyError as error:
                raise ValueError(f"train.ema_chosen is {self.ema_chosen:g}: {error}") from None
        return self

    @model_validator(mode="after")
    def _there_are_labelled_rows_to_balance(self) -> "TrainParams":
        for key in ("balance", "class_balancing"):
            if (value := getattr(self, key)) > 0 and self.label_dropout == 1:
                raise ValueError(
                    f"train.{key} is {value:g}, but train.label_dropout 1 trains every sample without its class: "
                    f"lower train.label_dropout, or set train.{key} to 0"
                )
        return self

    @model_validator(mode="after")
    def _every_process_has_a_share(self) -> "TrainParams":
        if self.batch < self.processes:
            raise ValueError(
                f"train.batch is {self.batch}, but train.processes {self.processes} processes share it: raise one or lower the other"
            )
        if self.batch // self.processes < self.accumulate:
            raise ValueError(
                f"train.accumulate is {self.accumulate}, but each process has {self.batch // self.processes} samples of train.batch: "
                "raise one or lower the other"
            )
        return self
