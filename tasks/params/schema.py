"""params.yaml as typed values. Every error names the key, the value and what is allowed."""

import re
from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import date
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from levy_core.base.errors import LevyError, choose
from levy_core.datasets.fields.config import FieldsConfig
from levy_core.metrics.common.paired import Rule, measure_of
from levy_core.process.design import Design
from levy_core.sampling.grids import GRIDS
from levy_core.sampling.limits import LIMITS
from levy_core.sampling.search import Space, rungs
from levy_core.sampling.solver import ETA_SCHEDULES, Solver
from levy_core.sampling.steps import DISCRETISATIONS, FAMILIES, fits, forms
from tasks.params import plain_yaml
from tasks.runtime.paths import PARAMS

FROM_DATA = "data"  # a design's nu or alpha: the data's tail index
# From where noise has the moments that losses need, to where it is as good as Gaussian (alpha: to where it is).
TAIL_RANGES = {"nu": (2.1, 50.0), "alpha": (1.1, 2.0)}
LONGEST_NAME = 60  # characters: a file's name has room for two names and what stages put around them
REAL = "real"  # what reports call the real data, beside the designs


def _check_name(name: Any) -> str:
    if not isinstance(name, str):
        kind = {bool: "a truth value", date: "a date", type(None): "nothing"}.get(type(name), "a number")
        raise ValueError(f"a name is text, but YAML reads this as {kind}: put quotes around what is written there")
    if "." in name.lstrip("."):
        raise ValueError(
            f"a name has no dot, because DVC looks for a key inside a key there: call it {name.replace('.', '_')}"
        )
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ValueError("a name is made of letters, digits, _ and -, and begins with a letter or a digit")
    if len(name) > LONGEST_NAME:
        raise ValueError(f"a name of {len(name)} characters, but it may have {LONGEST_NAME}: choose a shorter one")
    return name


# Names become folders, keys and stage names of DVC, and registry names.
Name = Annotated[str, BeforeValidator(_check_name)]


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


class ImagesParams(Section):
    """How one data set of images is selected."""

    kind: Literal["images"] = "images"
    imbalance: float = Field(ge=1)
    reference_per_class: int | None = Field(default=None, ge=2)
    test_share: float = Field(default=0.2, ge=0, lt=1)
    flip: bool = False
    seed: int = Field(default=0, ge=0)

    @property
    def selection(self) -> dict[str, Any]:
        """What decides which images are used, by the names of ``levy_core.datasets.images.split.plan``."""
        return self.model_dump(exclude={"kind", "flip"})


class FieldsParams(Section):
    """How one data set of fields is prepared: the settings of ``FieldsConfig``, and what its network is told."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    kind: Literal["fields"]
    coordinates: bool = False

    @model_validator(mode="after")
    def _it_can_be_prepared(self) -> "FieldsParams":
        try:
            config = self.config
        except (LevyError, TypeError, ValueError) as error:
            raise ValueError(str(error)) from None
        if self.coordinates and config.patch:
            raise ValueError("coordinates are the same for all samples of a data set, so that patches cannot have them")
        return self

    @property
    def config(self) -> FieldsConfig:
        """What the core is told."""
        given = self.model_extra or {}
        _check_dates(given)
        return FieldsConfig.from_mapping(given)


def _check_dates(values: dict[str, Any]) -> None:
    for key, value in values.items():
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(entry, date):
                raise LevyError(f'{key} has {entry} without quotes: write "{entry}", because DVC reads no YAML dates')


def _kind(values: Any) -> str:
    return str(values.get("kind", "images") if isinstance(values, dict) else values.kind)


DataParams = Annotated[
    Annotated[ImagesParams, Tag("images")] | Annotated[FieldsParams, Tag("fields")], Discriminator(_kind)
]


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
    processes: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _every_process_has_a_share(self) -> "TrainParams":
        if self.batch < self.processes:
            raise ValueError(
                f"train.batch is {self.batch}, but train.processes {self.processes} processes share it: raise one or lower the other"
            )
        return self


class ClassifierParams(Section):
    """Training of the classifier."""

    steps: int = Field(ge=1)
    batch: int = Field(ge=2)
    lr: float = Field(gt=0)
    width: int = Field(ge=1)
    features: int = Field(ge=2)
    seed: int = Field(ge=0)


Family = Annotated[str, _one_of("solver", FAMILIES)]
Discretisation = Annotated[str, _one_of("discretisation", DISCRETISATIONS)]
GridName = Annotated[str, _one_of("grid", GRIDS)]
EtaSchedule = Annotated[str, _one_of("eta schedule", ETA_SCHEDULES)]
Limit = Annotated[str, _one_of("limit", LIMITS)]
Positive = Annotated[float, Field(gt=0)]


class Block(Section):
    """A part of the grid: every combination of its lists that exists."""

    solvers: list[Family] = Field(min_length=1)
    discretisations: list[Discretisation] = Field(min_length=1)
    grids: list[GridName] = Field(min_length=1)
    steps: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)
    etas: list[Annotated[float, Field(ge=0)]] = Field(default=[0.0], min_length=1)
    eta_schedules: list[EtaSchedule] = Field(default=["constant"], min_length=1)
    rho_max: list[Positive | None] = Field(default=[None], min_length=1)
    rho_min: list[Positive | None] = Field(default=[None], min_length=1)
    denoise: list[bool] = Field(default=[False], min_length=1)
    limits: list[Limit] = Field(default=["none"], min_length=1)

    def cells(self) -> list[Solver]:
        """Its solvers, without repeats: one that ignores eta stands once, and forms that a solver lacks are left out.

        Raises:
            LevyError: a solver with none of the forms, or a number out of range.
        """
        for family in self.solvers:
            if not set(forms(family)) & set(self.discretisations):
                raise LevyError(f"{family} has none of its forms in discretisations: {', '.join(forms(family))}")
        pairs = [(f, d) for f in self.solvers for d in self.discretisations if fits(f, d)]
        rest = product(
            self.grids, self.steps, self.etas, self.eta_schedules, self.rho_max, self.rho_min, self.denoise, self.limits
        )
        names = ("grid", "steps", "eta", "eta_schedule", "rho_max", "rho_min", "denoise", "limit")
        settings: list[dict[str, Any]] = [dict(zip(names, values, strict=True)) for values in rest]
        return list(dict.fromkeys(Solver(*pair, **setting) for setting in settings for pair in pairs))


class SampleParams(Section):
    """The grid, and how often each cell is drawn."""

    grid: dict[Name, Block]
    seeds: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    n: int = Field(ge=8)
    batch: int = Field(ge=1)
    hours: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _every_block_has_cells(self) -> "SampleParams":
        for name, block in self.grid.items():
            try:
                block.cells()
            except LevyError as error:
                raise ValueError(f"sample.grid.{name}: {error}") from None
        return self

    def cells(self) -> list[Solver]:
        """The cells of all blocks, without repeats."""
        return list(dict.fromkeys(cell for block in self.grid.values() for cell in block.cells()))


class TuneParams(Section):
    """The search for the best sampler at each number of steps."""

    steps: list[Annotated[int, Field(ge=1)]]
    samples: int = Field(ge=8)
    first: int = Field(ge=8)
    factor: int = Field(ge=2)
    last: int = Field(ge=8)
    seed: int = Field(ge=0)
    solvers: list[Family] = Field(min_length=1)
    discretisations: list[Discretisation] = Field(min_length=1)
    grids: list[GridName] = Field(min_length=1)
    eta_schedules: list[EtaSchedule] = Field(min_length=1)
    limits: list[Limit] = Field(min_length=1)
    eta: tuple[Positive, Positive]
    rho_max: tuple[Positive, Positive]
    rho_min: tuple[Positive, Positive]

    @model_validator(mode="after")
    def _it_can_be_searched(self) -> "TuneParams":
        for name in ("eta", "rho_max", "rho_min"):
            low, high = getattr(self, name)
            if low >= high:
                raise ValueError(f"tune.{name} is [{low:g}, {high:g}]: give [smallest, largest]")
        if self.last < self.first:
            raise ValueError(f"tune.last is {self.last}, but a trial begins with tune.first, {self.first}: raise last")
        if self.samples < self.counts()[-1]:
            raise ValueError(
                f"tune.samples is {self.samples}, but one trial takes up to {self.counts()[-1]}: raise it, or lower tune.last"
            )
        try:
            self.space().pairs()
        except LevyError as error:
            raise ValueError(f"tune: {error}") from None
        return self

    def space(self) -> Space:
        """What is searched."""
        return Space(**{f.name: tuple(getattr(self, f.name)) for f in fields(Space)})

    def counts(self) -> list[int]:
        """Samples at each stage of successive halving."""
        return rungs(self.first, self.factor, self.last)


class FieldsMeasuresParams(Section):
    """What fields are measured with."""

    tail_share: float = Field(default=0.01, gt=0, lt=0.5)
    block: int = Field(default=10, ge=1)
    resamples: int = Field(default=200, ge=20)
    most: int = Field(default=2000, ge=20)


class EvaluateParams(Section):
    """torch-fidelity's settings, and those of fields."""

    kid_subsets: int = Field(ge=1)
    kid_subset_size: int = Field(ge=2)
    neighborhood: int = Field(ge=1)
    inception_weights: Path | None = None
    fields: FieldsMeasuresParams = FieldsMeasuresParams()


class CompareParams(Section):
    """What makes a winner, for each kind of data."""

    images: Literal["fid/longtail", "fid/balanced", "kid/longtail", "kid/balanced"]
    fields: Literal["distance/train", "distance/test"]


class GateParams(Section):
    """What a challenger must be, for each kind of data: metric -> rule. All rules must hold."""

    images: dict[str, Rule]
    fields: dict[str, Rule]

    @model_validator(mode="after")
    def _it_can_be_passed_by_better_models_alone(self) -> "GateParams":
        for kind, gate in self:
            for metric in gate:
                try:
                    measure_of(metric)
                except LevyError as error:
                    raise ValueError(f"retrain.gate.{kind}: {error}") from None
            if "better" not in gate.values():
                raise ValueError(
                    f"retrain.gate.{kind} has no metric that must be better: equal models would be promoted"
                )
        return self

    def of(self, kind: str) -> dict[str, Rule]:
        """The gate of a kind of data."""
        return {"images": self.images, "fields": self.fields}[kind]


class RetrainParams(Section):
    """How a new model is judged against the champion."""

    seeds: list[Annotated[int, Field(ge=0)]] = Field(min_length=3)
    n: int = Field(ge=50)
    confidence: float = Field(ge=0.5, lt=1)
    gate: GateParams

    @model_validator(mode="after")
    def _no_seed_counts_twice(self) -> "RetrainParams":
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"retrain.seeds is {self.seeds}: a seed that stands twice is no second draw")
        return self


class ComputeParams(Section):
    """Threads, device and processes."""

    threads: int = Field(ge=1)
    device: Literal["auto", "cpu", "cuda"]
    processes: int = Field(default=1, ge=1)


class Params(Section):
    """The whole of params.yaml."""

    datasets: list[Name] = Field(min_length=1)
    designs: list[Name] = Field(min_length=1)
    data: dict[Name, DataParams]
    models: dict[Name, dict[str, Any]]
    net: NetParams
    train: TrainParams
    classifier: ClassifierParams
    tune: TuneParams
    sample: SampleParams
    evaluate: EvaluateParams
    compare: CompareParams
    retrain: RetrainParams
    compute: ComputeParams

    @model_validator(mode="after")
    def _names_stay_apart(self) -> "Params":
        for key, names in (("datasets", self.datasets), ("designs", self.designs)):
            _refuse_twins(key, names)
        if REAL in self.designs:
            raise ValueError(f"designs names {REAL!r}, as reports call the real data: choose another name")
        joined: dict[str, tuple[str, str]] = {}
        for pair in product(self.datasets, self.designs):
            other = joined.setdefault("-".join(pair), pair)
            if other != pair:
                told = " and ".join(
                    f"the data set {dataset!r} with the design {design!r}" for dataset, design in (other, pair)
                )
                longer = max(other[1], pair[1], key=len)
                raise ValueError(
                    f"{told} would both be the stage {'-'.join(pair)!r}, of which DVC keeps one: "
                    f"rename the design {longer!r}, for example to {longer.replace('-', '_')!r}"
                )
        return self

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
        if not self.sample.grid and not self.tune.steps:
            raise ValueError("sample.grid has no block and tune.steps no number: nothing would be sampled")
        for name, settings in self.models.items():
            try:
                Design.from_mapping(_with_tails(settings, None))
            except (LevyError, TypeError) as error:
                raise ValueError(f"models.{name} is {settings}: {error}") from None
        if any(self.data[dataset].kind == "images" for dataset in self.datasets):
            for name in self.designs:
                try:
                    self.design(name)
                except LevyError as error:
                    raise ValueError(str(error)) from None
        return self

    def only(self, datasets: list[str]) -> "Params":
        """For some of the data sets; for all where none is named.

        Raises:
            LevyError: one is not in ``datasets``.
        """
        for dataset in datasets:
            choose("data set", dataset, dict.fromkeys(self.datasets))
        return self.model_copy(update={"datasets": list(dict.fromkeys(datasets))}) if datasets else self

    def metric(self, dataset: str) -> str:
        """What the samplers of a data set are compared by."""
        return str(getattr(self.compare, self.data[dataset].kind))

    def cells(self, dataset: str) -> list[Solver]:
        """The grid of a data set: fields have no range, so that no limit is put on them."""
        cells = self.sample.cells()
        if self.data[dataset].kind == "images":
            return cells
        return list(dict.fromkeys(replace(cell, limit="none") for cell in cells))

    def space(self, dataset: str) -> Space:
        """What `tune` searches for a data set."""
        space = self.tune.space()
        return space if self.data[dataset].kind == "images" else replace(space, limits=("none",))

    def design(self, name: str, tail_index: float | None = None) -> Design:
        """The design called ``name``; what it takes from the data comes from their tail index.

        Raises:
            LevyError: it takes something from data without a tail index.
        """
        settings = self.models[name]
        if tail_index is None and any(settings.get(key) == FROM_DATA for key in TAIL_RANGES):
            raise LevyError(
                f"models.{name} is {settings}: only fields have a tail index to take; give the number for images"
            )
        known = {} if tail_index is None else {"sigma_data": 1.0}  # fields are prepared with this standard deviation
        return Design.from_mapping(known | _with_tails(settings, tail_index))


def _refuse_twins(key: str, names: Sequence[str]) -> None:
    """Names that are equal, or would be where case does not count: on some file systems and in some registries."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise ValueError(f"{key} names {other!r} and {name!r}, which differ only in case: rename one of them")
        if names.count(name) > 1:
            raise ValueError(f"{key} names {name!r} more than once: name it once")


def _with_tails(settings: dict[str, Any], tail_index: float | None) -> dict[str, Any]:
    """The settings of a design with numbers in place of `data`, at their lowest where the tail index is still unknown."""
    given = {
        key: min(max(tail_index or 0.0, low), high)
        for key, (low, high) in TAIL_RANGES.items()
        if settings.get(key) == FROM_DATA
    }
    return settings | {key: float(f"{value:.3g}") for key, value in given.items()}


def load(path: Path = PARAMS) -> Params:
    """Reads and validates a params file.

    Raises:
        LevyError: lists every fault: key, value, what is allowed.
    """
    return _validate(_read(path), str(path))


def load_merged(changes: Path, path: Path = PARAMS) -> tuple[Params, dict[str, Any]]:
    """The settings of a params file with the changes of another, typed and as plain values; no file is changed.

    Raises:
        LevyError: lists every fault: key, value, what is allowed.
    """
    patch = _read(changes)
    if not isinstance(patch, dict):
        raise LevyError(
            f"{changes} holds {'nothing' if patch is None else repr(patch)}: the keys of {path} that are to change are expected, each with its section"
        )
    merged = plain_yaml.merge(_read(path), patch)
    return _validate(merged, f"{changes}, merged onto {path}"), merged


def _read(path: Path) -> Any:
    try:
        return plain_yaml.read(path.read_text())
    except OSError as error:
        where = "run from the root of the repository" if path == PARAMS else "give the path of a settings file"
        raise LevyError(f"{path} cannot be read ({error.strerror}): {where}") from error
    except ValueError as error:  # also bytes that are no text
        raise LevyError(f"{path} is not valid YAML: {error}") from error


def _validate(values: Any, source: str) -> Params:
    try:
        return Params.model_validate(values)
    except ValidationError as error:
        raise LevyError(f"{source}: " + "; ".join(_explain(fault) for fault in error.errors())) from None


def _explain(fault: Any) -> str:
    # pydantic puts the kind of data, which is no key, after data.NAME
    where = [part for k, part in enumerate(fault["loc"]) if not (k == 2 and fault["loc"][0] == "data")]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")
    message = fault["msg"].removeprefix("Value error, ")
    if fault["loc"][-1:] == ("[key]",):
        return f"{'.'.join(map(str, fault['loc'][:-2]))} has the name {fault['input']!r}: {message}"
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key} (value {fault['input']!r}): check its spelling against the shipped params.yaml"
    if fault["type"] == "missing":
        return f"the key {key} is missing"
    if not key or isinstance(fault["input"], dict):  # checks of a whole section name the key themselves
        return message
    return f"{key} is {fault['input']!r}: {message[0].lower() + message[1:]}"
