"""params.yaml as typed values: its sections together, and what must fit between them. Every fault names the key and what is allowed."""

from itertools import product
from typing import Annotated, Any

from pydantic import Field, PlainValidator, ValidationError, model_validator

from levy_core.base.conditions import LABEL
from levy_core.base.errors import LevyError, choose
from levy_core.base.settings import Settings
from levy_core.metrics.common.paired import Rule
from levy_core.sampling.guidance import GUIDES
from tasks.kinds.kind import Kind, kind_of
from tasks.params.experiments import Experiment
from tasks.params.names import Name, refuse_twins
from tasks.params.resolution import design_of, takes_tail_index
from tasks.params.sections import (
    CompareParams,
    ComputeParams,
    EvaluateParams,
    ObserveParams,
    RetrainParams,
    SampleParams,
    TuneParams,
)
from tasks.params.training import NetParams, TrainParams

DEFAULT_KIND = "images"
REAL = "real"  # what reports call the real data, beside the designs


def _data_settings(values: Any) -> Settings:
    """The settings of a data set, by its kind."""
    if not isinstance(values, dict):
        raise ValueError("the settings of a data set are expected here, each with its key, such as `kind: images`")
    try:
        return kind_of(str(values.get("kind", DEFAULT_KIND))).settings.model_validate(values)
    except LevyError as error:
        raise ValueError(str(error)) from None


DataSettings = Annotated[Any, PlainValidator(_data_settings)]


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
    observe: ObserveParams
    evaluate: EvaluateParams
    compare: CompareParams
    retrain: RetrainParams
    compute: ComputeParams

    @model_validator(mode="after")
    def _names_stay_apart(self) -> "Params":
        for key, names in (("datasets", self.datasets), ("designs", self.designs)):
            refuse_twins(key, names)
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
    def _classes_are_learned(self) -> "Params":
        """What is drawn must have been trained: guides need the class and its absence."""
        dropout = self.train.label_dropout
        if dropout == 0 and self.sample.classes == "none":
            raise ValueError(
                "sample.classes is none, but train.label_dropout is 0, so that no network is trained without a class: raise it"
            )
        guides = {
            "tune.guides": self.tune.guides,
            **{f"sample.grid.{n}.guides": b.guides for n, b in self.sample.grid.items()},
        }
        for key, names in guides.items():
            for name in names:
                if GUIDES[name].follows == LABEL and dropout in (0, 1):
                    untold = "the class of every sample, and none without" if dropout == 0 else "no class"
                    raise ValueError(
                        f"{key} has {name}, but train.label_dropout is {dropout:g}, so that networks learn {untold}: give a number "
                        f"between 0 and 1, or set {key} to [none]"
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

    @model_validator(mode="after")
    def _the_network_fills_patches(self) -> "Params":
        tokens = self.net.settings.get("patch", 1)
        for name in self.designs:
            patches = design_of(self.models[name]).patches
            if patches and any(side % tokens for side in patches.side):
                raise ValueError(
                    f"models.{name}.patches.side is {list(patches.side)}, but the network {self.net.name} cuts what it sees into parts of "
                    f"{tokens} x {tokens} cells (net.patch), which must divide both sides: take {' and '.join(str(-(-s // tokens) * tokens) for s in patches.side)}"
                )
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
        for key, why in (
            ("eofs", kind.why_no_eofs(self.data[dataset])),
            ("patches", kind.why_no_patches(self.data[dataset])),
        ):
            for name in self.designs if why else ():
                if (value := self.models[name].get(key)) is not None:
                    raise ValueError(f"models.{name}.{key} is {value}: {dataset} {why}")
        for name, experiment in self.experiments(dataset).items():
            assert kind.observing is not None  # or there would be no experiment
            try:
                kind.observing.check(self.data[dataset], experiment.see, experiment.std, experiment.guides)
                experiment.check_designs({name: self.models[name] for name in self.designs})
            except LevyError as error:
                raise ValueError(f"observe.{kind.name}.{name} on {dataset}: {error}") from None
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

    def experiments(self, dataset: str) -> dict[str, Experiment]:
        """What is observed of the held-out data of a data set, by name; {} for nothing."""
        return getattr(self.observe, self.kind(dataset).name, None) or {}

    def metric(self, dataset: str) -> str:
        """What the samplers of a data set are compared by."""
        return str(getattr(self.compare, self.data[dataset].kind))

    def drift(self, dataset: str) -> Any:
        """When new data of a data set are unlike those before; None for a kind without a measure of it."""
        kind = self.kind(dataset)
        return kind.drift and (getattr(self.retrain.drift, kind.name) or kind.drift.settings())

    def gate(self, dataset: str) -> dict[str, Rule]:
        """The rules that a new model of a data set must pass."""
        return dict(getattr(self.retrain.gate, self.data[dataset].kind))
