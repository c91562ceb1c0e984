"""params.yaml as typed values. Every error names the key, the value and what is allowed."""

import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import date
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    ValidationError,
    create_model,
    model_validator,
)

from levy_core.base.errors import LevyError, choose
from levy_core.base.measure import measure_of
from levy_core.base.settings import Settings
from levy_core.metrics.common.paired import Rule
from levy_core.sampling.grids import GRIDS
from levy_core.sampling.guidance import GUIDES
from levy_core.sampling.limits import LIMITS
from levy_core.sampling.search import Space, rungs
from levy_core.sampling.solver import ETA_SCHEDULES, Solver
from levy_core.sampling.steps import DISCRETISATIONS, FAMILIES, fits, forms
from tasks.kinds.kind import Kind, kind_names, kind_of
from tasks.params import plain_yaml
from tasks.params.resolution import design_of, takes_tail_index
from tasks.runtime.paths import PARAMS

DEFAULT_KIND = "images"
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


def _data_settings(values: Any) -> Settings:
    """The settings of a data set, by its kind."""
    if not isinstance(values, dict):
        raise ValueError("the settings of a data set are expected here, each with its key, such as `kind: images`")
    try:
        return kind_of(str(values.get("kind", DEFAULT_KIND))).settings.model_validate(values)
    except LevyError as error:
        raise ValueError(str(error)) from None


DataSettings = Annotated[Any, PlainValidator(_data_settings)]


class NetParams(Settings):
    """The network."""

    channels: list[Annotated[int, Field(gt=0)]] = Field(min_length=1)
    layers: int = Field(ge=1)
    attention: list[bool] = Field(default_factory=list)
    dropout: float = Field(default=0.0, ge=0, lt=1)


class TrainParams(Settings):
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


Family = Annotated[str, _one_of("solver", FAMILIES)]
Discretisation = Annotated[str, _one_of("discretisation", DISCRETISATIONS)]
GridName = Annotated[str, _one_of("grid", GRIDS)]
EtaSchedule = Annotated[str, _one_of("eta schedule", ETA_SCHEDULES)]
Limit = Annotated[str, _one_of("limit", LIMITS)]
GuideName = Annotated[str, _one_of("guide", GUIDES)]
Positive = Annotated[float, Field(gt=0)]


class Block(Settings):
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
    guides: list[GuideName] = Field(default=["none"], min_length=1)
    strengths: list[Annotated[float, Field(ge=0)]] = Field(default=[1.0], min_length=1)

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
            self.grids, self.steps, self.etas, self.eta_schedules, self.rho_max, self.rho_min, self.denoise, self.limits,
            self.guides, self.strengths,
        )  # fmt: skip
        names = (
            "grid", "steps", "eta", "eta_schedule", "rho_max", "rho_min", "denoise", "limit", "guide", "strength"
        )  # fmt: skip
        settings: list[dict[str, Any]] = [dict(zip(names, values, strict=True)) for values in rest]
        return list(dict.fromkeys(Solver(*pair, **setting) for setting in settings for pair in pairs))


class SampleParams(Settings):
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


class TuneParams(Settings):
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
    guides: list[GuideName] = Field(default=["none"], min_length=1)
    strength: tuple[Positive, Positive] = (1.0, 4.0)
    eta: tuple[Positive, Positive]
    rho_max: tuple[Positive, Positive]
    rho_min: tuple[Positive, Positive]

    @model_validator(mode="after")
    def _it_can_be_searched(self) -> "TuneParams":
        for name in ("eta", "rho_max", "rho_min", "strength"):
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


def _per_kind(name: str, doc: str, entry: Callable[[Kind], Any]) -> Any:
    """A section with one entry per kind of data, each of the type that its kind says; absent where no data set needs it."""
    entries: dict[str, Any] = {kind: (entry(kind_of(kind)) | None, None) for kind in kind_names()}
    return create_model(name, __base__=Settings, __doc__=doc, **entries)


def _gate_of(kind: Kind) -> Any:
    def check(gate: dict[str, Rule]) -> dict[str, Rule]:
        for metric in gate:
            try:
                measure = measure_of(metric, kind.measures)
            except LevyError as error:
                raise ValueError(f"retrain.gate.{kind.name}: {error}") from None
            if not measure.held_out:
                held_out = ", ".join(sorted(m.name for m in kind.measures if m.held_out))
                raise ValueError(
                    f"retrain.gate.{kind.name}: {metric!r} is no measure of held-out data, on which models are judged: "
                    f"choose one of {held_out}"
                )
        if "better" not in gate.values():
            raise ValueError(
                f"retrain.gate.{kind.name} has no metric that must be better: equal models would be promoted"
            )
        return gate

    return Annotated[dict[str, Rule], AfterValidator(check)]


if TYPE_CHECKING:  # made when this module is imported
    EvaluateParams: TypeAlias = Any
    CompareParams: TypeAlias = Any
    GateParams: TypeAlias = Any
else:
    EvaluateParams = _per_kind("EvaluateParams", "How samples are measured.", lambda kind: kind.evaluation)
    CompareParams = _per_kind("CompareParams", "What makes a winner.", lambda kind: Literal[kind.ranks])
    GateParams = _per_kind("GateParams", "What a challenger must be: metric -> rule. All rules must hold.", _gate_of)


class RetrainParams(Settings):
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


class ComputeParams(Settings):
    """Threads, device and processes."""

    threads: int = Field(ge=1)
    device: Literal["auto", "cpu", "cuda"]
    processes: int = Field(default=1, ge=1)


class Params(Settings):
    """The whole of params.yaml."""

    datasets: list[Name] = Field(min_length=1)
    designs: list[Name] = Field(min_length=1)
    data: dict[Name, DataSettings]
    models: dict[Name, dict[str, Any]]
    net: NetParams
    train: TrainParams
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
                pairs = " and ".join(
                    f"the data set {dataset!r} with the design {design!r}" for dataset, design in (other, pair)
                )
                longer = max(other[1], pair[1], key=len)
                raise ValueError(
                    f"{pairs} would both be the stage {'-'.join(pair)!r}, of which DVC keeps one: "
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
                design_of(settings)
            except (LevyError, TypeError) as error:
                raise ValueError(f"models.{name} is {settings}: {error}") from None
        for dataset in self.datasets:
            self._check_kind(dataset)
        return self

    def _check_kind(self, dataset: str) -> None:
        """Every section has what the data set's kind needs."""
        kind = self.kind(dataset)
        for section, entries in (("compare", self.compare), ("retrain.gate", self.retrain.gate)):
            if getattr(entries, kind.name) is None:
                raise ValueError(
                    f"{section}.{kind.name} is missing, which {dataset} needs: it is of the kind {kind.name}"
                )
        try:
            self.evaluation(dataset)
        except ValidationError as error:
            missing = ", ".join(str(fault["loc"][0]) for fault in error.errors())
            raise ValueError(
                f"evaluate.{kind.name} must have {missing}: {dataset} is of the kind {kind.name}"
            ) from None
        if not kind.has_tail_index:
            for name in self.designs:
                if takes_tail_index(self.models[name]):
                    raise ValueError(
                        f"models.{name} is {self.models[name]}: {dataset} is of the kind {kind.name}, which has no tail index "
                        "to take; give the number"
                    )

    def only(self, datasets: list[str]) -> "Params":
        """For some of the data sets; for all where none is named.

        Raises:
            LevyError: one is not in ``datasets``.
        """
        for dataset in datasets:
            choose("data set", dataset, dict.fromkeys(self.datasets))
        return self.model_copy(update={"datasets": list(dict.fromkeys(datasets))}) if datasets else self

    def kind(self, dataset: str) -> Kind:
        """The kind of a data set."""
        return kind_of(self.data[dataset].kind)

    def evaluation(self, dataset: str) -> Any:
        """How samples of a data set are measured."""
        kind = self.kind(dataset)
        return getattr(self.evaluate, kind.name) or kind.evaluation()

    def metric(self, dataset: str) -> str:
        """What the samplers of a data set are compared by."""
        return str(getattr(self.compare, self.data[dataset].kind))

    def gate(self, dataset: str) -> dict[str, Rule]:
        """The rules that a new model of a data set must pass."""
        return dict(getattr(self.retrain.gate, self.data[dataset].kind))


def _refuse_twins(key: str, names: Sequence[str]) -> None:
    """Names that are equal, or would be where case does not count: on some file systems and in some registries."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise ValueError(f"{key} names {other!r} and {name!r}, which differ only in case: rename one of them")
        if names.count(name) > 1:
            raise ValueError(f"{key} names {name!r} more than once: name it once")


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
    where = fault["loc"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")
    message = fault["msg"].removeprefix("Value error, ")
    if fault["loc"][-1:] == ("[key]",):
        return f"{'.'.join(map(str, fault['loc'][:-2]))} has the name {fault['input']!r}: {message}"
    if fault["type"] == "extra_forbidden":
        return f"unknown key {key} (value {fault['input']!r}): check its spelling against the shipped params.yaml"
    if fault["type"] == "missing":
        return f"the key {key} is missing"
    if isinstance(fault["input"], dict) and where[:1] == ("data",):  # a kind of data knows no names of data sets
        return f"{key}: {message}"
    if not key or isinstance(fault["input"], dict):  # checks of any other whole section name the key themselves
        return message
    return f"{key} is {fault['input']!r}: {message[0].lower() + message[1:]}"
