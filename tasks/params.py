"""params.yaml as typed values. Every error names the key, the value and what is allowed."""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from levy_core.design import Design
from levy_core.errors import LevyError, choose
from levy_core.grids import GRIDS
from levy_core.limits import LIMITS
from levy_core.solver import ETA_SCHEDULES, Solver
from levy_core.steps import DISCRETISATIONS, FAMILIES, fits, forms

PARAMS = Path("params.yaml")
# Names become folders, DVC stage names and registry names.
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


def _one_of(kind: str, table: dict) -> AfterValidator:
    def check(name: str) -> str:
        try:
            choose(kind, name, table)
        except LevyError as error:
            raise ValueError(str(error)) from None
        return name

    return AfterValidator(check)


class Section(BaseModel):
    """A section of params.yaml: unknown keys are errors, because a misspelt key would otherwise be ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataParams(Section):
    """How one data set is selected."""

    imbalance: float = Field(ge=1)
    reference_per_class: int | None = Field(default=None, ge=2)
    flip: bool = False
    seed: int = Field(default=0, ge=0)


class NetParams(Section):
    """The network."""

    channels: list[Annotated[int, Field(gt=0)]] = Field(min_length=1)
    layers: int = Field(ge=1)
    attention: list[bool] = []
    dropout: float = Field(default=0.0, ge=0, lt=1)


class TrainParams(Section):
    """Training of every design."""

    steps: int = Field(ge=1)
    batch: int = Field(ge=1)
    lr: float = Field(gt=0)
    warmup: int = Field(ge=0)
    ema: float = Field(ge=0, lt=1)
    clip: float = Field(gt=0)
    label_dropout: float = Field(ge=0, le=1)
    precision: Literal["auto", "float32", "bfloat16"]
    seed: int = Field(ge=0)
    save_every: int = Field(ge=1)


class ClassifierParams(Section):
    """Training of the classifier."""

    steps: int = Field(ge=1)
    batch: int = Field(ge=2)
    lr: float = Field(gt=0)
    width: int = Field(ge=1)
    features: int = Field(ge=2)
    seed: int = Field(ge=0)


class SampleParams(Section):
    """The grid."""

    solvers: list[Annotated[str, _one_of("solver", FAMILIES)]] = Field(min_length=1)
    discretisations: list[Annotated[str, _one_of("discretisation", DISCRETISATIONS)]] = Field(min_length=1)
    grids: list[Annotated[str, _one_of("grid", GRIDS)]] = Field(min_length=1)
    steps: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)
    etas: list[Annotated[float, Field(ge=0)]] = Field(min_length=1)
    seeds: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    n: int = Field(ge=8)
    batch: int = Field(ge=1)
    eta_schedule: Annotated[str, _one_of("eta schedule", ETA_SCHEDULES)] = "constant"
    rho_max: float | None = Field(default=None, gt=0)
    rho_min: float | None = Field(default=None, gt=0)
    denoise: bool = False
    limit: Annotated[str, _one_of("limit", LIMITS)] = "none"

    @model_validator(mode="after")
    def _every_solver_has_a_form(self) -> "SampleParams":
        for family in self.solvers:
            if not set(forms(family)) & set(self.discretisations):
                raise ValueError(
                    f"sample.solvers has {family}, but sample.discretisations has none of its forms: {', '.join(forms(family))}"
                )
        try:
            self.cells()
        except LevyError as error:
            raise ValueError(f"sample: {error}") from None
        return self

    def cells(self) -> list[Solver]:
        """The grid, without repeats: solvers that ignore eta stand once, and forms that a solver lacks are left out."""
        shared = {key: getattr(self, key) for key in ("eta_schedule", "rho_max", "rho_min", "denoise", "limit")}
        cells = [
            Solver(family, discretisation, grid, steps, eta, **shared)
            for steps in self.steps
            for family in self.solvers
            for discretisation in self.discretisations
            if fits(family, discretisation)
            for grid in self.grids
            for eta in self.etas
        ]
        return list(dict.fromkeys(cells))


class EvaluateParams(Section):
    """torch-fidelity's settings."""

    kid_subsets: int = Field(ge=1)
    kid_subset_size: int = Field(ge=2)
    neighborhood: int = Field(ge=1)
    inception_weights: Path | None = None


Metric = Literal["fid/longtail", "fid/balanced", "kid/longtail", "kid/balanced"]


class CompareParams(Section):
    """What makes a winner."""

    metric: Metric


class ComputeParams(Section):
    """Threads and device."""

    threads: int = Field(ge=1)
    device: Literal["auto", "cpu", "cuda"]


class Params(Section):
    """The whole of params.yaml."""

    datasets: list[Name] = Field(min_length=1)
    designs: list[Name] = Field(min_length=1)
    data: dict[Name, DataParams]
    models: dict[Name, dict[str, Any]]
    net: NetParams
    train: TrainParams
    classifier: ClassifierParams
    sample: SampleParams
    evaluate: EvaluateParams
    compare: CompareParams
    compute: ComputeParams

    @model_validator(mode="after")
    def _named_sections_exist(self) -> "Params":
        for key, names, section, where in (
            ("datasets", self.datasets, self.data, "data"),
            ("designs", self.designs, self.models, "models"),
        ):
            for name in names:
                if name not in section:
                    raise ValueError(
                        f"{key} names {name!r}, but `{where}` has no such section: it has {', '.join(section)}"
                    )
        for name, settings in self.models.items():
            try:
                Design.from_mapping(settings)
            except (LevyError, TypeError) as error:
                raise ValueError(f"models.{name} is {settings}: {error}") from None
        return self

    def design(self, name: str) -> Design:
        """The design called ``name``."""
        return Design.from_mapping(self.models[name])


def load(path: Path = PARAMS) -> Params:
    """Reads and validates a params file.

    Raises:
        LevyError: lists every fault: key, value, what is allowed.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise LevyError(f"{path} cannot be read ({error.strerror}): run from the root of the repository") from error
    except yaml.YAMLError as error:
        raise LevyError(f"{path} is not valid YAML: {error}") from error
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise LevyError(f"{path}: " + "; ".join(_explain(fault) for fault in error.errors())) from None


def _explain(fault: Any) -> str:
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"]).lstrip(".")
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key} (value {fault['input']!r}): check its spelling against the shipped params.yaml"
    if fault["type"] == "missing":
        return f"the key {key} is missing"
    if not key:
        return message
    return f"{key} is {fault['input']!r}: {message[0].lower() + message[1:]}"
