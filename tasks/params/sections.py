"""The sections of params.yaml that every data set shares, but for those of networks: tune, sample, observe, evaluate, compare, retrain, compute."""

from collections.abc import Callable
from dataclasses import fields
from itertools import product
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, Field, create_model, model_validator

from levy_core.base.errors import LevyError, choose
from levy_core.base.measure import measure_of
from levy_core.base.samples import Classes
from levy_core.base.settings import Settings
from levy_core.metrics.common.paired import LARGEST, Rule
from levy_core.metrics.common.sequential import Looks
from levy_core.sampling.grids import GRIDS
from levy_core.sampling.guidance import GUIDES
from levy_core.sampling.limits import LIMITS
from levy_core.sampling.search import rungs
from levy_core.sampling.solver import ETA_SCHEDULES, Solver
from levy_core.sampling.space import Space
from levy_core.sampling.steps import DISCRETISATIONS, FAMILIES, discretisations_of, fits
from tasks.kinds.kind import Kind, kind_names, kind_of
from tasks.params.experiments import experiments_of
from tasks.params.names import Name


def one_of(kind: str, table: dict) -> AfterValidator:
    """Accepts the names of a table."""

    def check(name: str) -> str:
        try:
            choose(kind, name, table)
        except LevyError as error:
            raise ValueError(str(error)) from None
        return name

    return AfterValidator(check)


Count = Annotated[int, Field(ge=1, le=2**31 - 1)]  # more would be a slip, and no library counts further
Evaluations = Annotated[int, Field(ge=1, le=100_000)]  # of the network per sample


Family = Annotated[str, one_of("solver", FAMILIES)]
Discretisation = Annotated[str, one_of("discretisation", DISCRETISATIONS)]
GridName = Annotated[str, one_of("grid", GRIDS)]
EtaSchedule = Annotated[str, one_of("eta schedule", ETA_SCHEDULES)]
Limit = Annotated[str, one_of("limit", LIMITS)]
GuideName = Annotated[str, one_of("guide", GUIDES)]
Positive = Annotated[float, Field(gt=0)]


class Block(Settings):
    """A part of the grid: every combination of its lists that exists."""

    solvers: list[Family] = Field(min_length=1)
    discretisations: list[Discretisation] = Field(min_length=1)
    grids: list[GridName] = Field(min_length=1)
    steps: list[Evaluations] = Field(min_length=1)
    etas: list[Annotated[float, Field(ge=0)]] = Field(default=[0.0], min_length=1)
    eta_schedules: list[EtaSchedule] = Field(default=["constant"], min_length=1)
    rho_max: list[Positive | None] = Field(default=[None], min_length=1)
    rho_min: list[Positive | None] = Field(default=[None], min_length=1)
    denoise: list[bool] = Field(default=[False], min_length=1)
    limits: list[Limit] = Field(default=["none"], min_length=1)
    guides: list[GuideName] = Field(default=["none"], min_length=1)
    strengths: list[Annotated[float, Field(ge=0)]] = Field(default=[1.0], min_length=1)
    guide_rho_max: list[Positive | None] = Field(default=[None], min_length=1)
    guide_rho_min: list[Positive | None] = Field(default=[None], min_length=1)
    boosts: list[Positive] = Field(default=[1.0], min_length=1)

    def cells(self) -> list[Solver]:
        """Its solvers, without repeats: one that ignores eta stands once, and forms that a solver lacks are left out.

        Raises:
            LevyError: a solver with none of the discretisations_of, or a number out of range.
        """
        for family in self.solvers:
            if not set(discretisations_of(family)) & set(self.discretisations):
                raise LevyError(
                    f"{family} has none of its forms in discretisations: {', '.join(discretisations_of(family))}"
                )
        pairs = [(f, d) for f in self.solvers for d in self.discretisations if fits(f, d)]
        rest = product(
            self.grids, self.steps, self.etas, self.eta_schedules, self.rho_max, self.rho_min, self.denoise, self.limits,
            self.guides, self.strengths, self.guide_rho_max, self.guide_rho_min, self.boosts,
        )  # fmt: skip
        names = (
            "grid", "steps", "eta", "eta_schedule", "rho_max", "rho_min", "denoise", "limit", "guide", "strength",
            "guide_rho_max", "guide_rho_min", "boost",
        )  # fmt: skip
        settings: list[dict[str, Any]] = [dict(zip(names, values, strict=True)) for values in rest]
        return list(dict.fromkeys(Solver(*pair, **setting) for setting in settings for pair in pairs))


class SampleParams(Settings):
    """The grid, and how often each cell is drawn."""

    grid: dict[Name, Block]
    seeds: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    n: int = Field(ge=8, le=2**31 - 1)
    batch: Count
    classes: Classes = "balanced"
    hours: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _every_seed_stands_once(self) -> "SampleParams":
        if repeated := sorted({seed for seed in self.seeds if self.seeds.count(seed) > 1}):
            raise ValueError(
                f"sample.seeds names {', '.join(map(str, repeated))} more than once: the same samples would count twice in means, and make "
                "spreads too small; name each seed once"
            )
        return self

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

    steps: list[Evaluations]
    samples: int = Field(ge=8, le=2**31 - 1)
    first: int = Field(ge=8, le=2**31 - 1)
    factor: int = Field(ge=2)
    last: int = Field(ge=8, le=2**31 - 1)
    seed: int = Field(ge=0)
    solvers: list[Family] = Field(min_length=1)
    discretisations: list[Discretisation] = Field(min_length=1)
    grids: list[GridName] = Field(min_length=1)
    eta_schedules: list[EtaSchedule] = Field(min_length=1)
    limits: list[Limit] = Field(min_length=1)
    guides: list[GuideName] = Field(default=["none"], min_length=1)
    strength: tuple[Positive, Positive] = (1.0, 2.5)
    guide_rho_max: tuple[Positive, Positive] = (1.0, 200.0)
    guide_rho_min: tuple[Positive, Positive] = (0.005, 1.0)
    eta: tuple[Positive, Positive]
    rho_max: tuple[Positive, Positive]
    rho_min: tuple[Positive, Positive]

    @model_validator(mode="after")
    def _it_can_be_searched(self) -> "TuneParams":
        for name in ("eta", "rho_max", "rho_min", "strength", "guide_rho_max", "guide_rho_min"):
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
    """A section with one entry per kind of data, each of the type that its kind says; absent where no data set needs it.

    A kind that gives None has no entry.
    """
    types = {kind: entry(kind_of(kind)) for kind in kind_names()}
    entries: dict[str, Any] = {kind: (of_kind | None, None) for kind, of_kind in types.items() if of_kind is not None}
    return create_model(name, __base__=Settings, __doc__=doc, **entries)


def _gate_of(kind: Kind) -> Any:
    def check(gate: dict[str, Any]) -> dict[str, Rule]:
        for metric, rule in gate.items():
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
            if rule != "better" and not (type(rule) in (int, float) and 0 < rule < LARGEST):
                raise ValueError(
                    f"retrain.gate.{kind.name}.{metric} is {rule!r}: give `better`, or a margin, which is a number above 0: how "
                    f"much larger than the champion's and the anchor's the error may be (docs/retraining.md)"
                )
        if "better" not in gate.values():
            raise ValueError(
                f"retrain.gate.{kind.name} has no metric that must be better: equal models would be promoted"
            )
        return gate

    return Annotated[dict[str, Any], AfterValidator(check)]


if TYPE_CHECKING:  # made when this module is imported
    ObserveParams: TypeAlias = Any
    EvaluateParams: TypeAlias = Any
    CompareParams: TypeAlias = Any
    GateParams: TypeAlias = Any
    DriftParams: TypeAlias = Any
else:
    ObserveParams = _per_kind("ObserveParams", "Experiments on held-out data, by name.", experiments_of)
    EvaluateParams = _per_kind("EvaluateParams", "How samples are measured.", lambda kind: kind.evaluation)
    CompareParams = _per_kind("CompareParams", "What makes a winner.", lambda kind: Literal[kind.ranks])
    GateParams = _per_kind("GateParams", "What a challenger must be: metric -> rule. All rules must hold.", _gate_of)
    DriftParams = _per_kind(
        "DriftParams", "When new data are unlike those before.", lambda kind: kind.drift and kind.drift.settings
    )


class SeedCounts(Settings):
    """How many seeds a model is judged at: ``first``, then twice as many while undecided, up to ``most``."""

    first: int = Field(ge=2)
    most: int = Field(ge=2, le=10_000)


class RetrainParams(Settings):
    """How a new model is judged against the champion and the anchor, and new data against those before."""

    seeds: SeedCounts
    n: int = Field(ge=50, le=2**31 - 1)
    false_promotion: float = Field(ge=1e-6, lt=0.5)
    gate: GateParams
    drift: DriftParams = Field(default_factory=lambda: DriftParams())

    @model_validator(mode="after")
    def _can_promote(self) -> "RetrainParams":
        try:
            _ = self.looks
        except LevyError as error:
            raise ValueError(f"retrain.seeds: {error}") from None
        return self

    @property
    def looks(self) -> Looks:
        """The group-sequential plan."""
        return Looks(self.seeds.first, self.seeds.most, self.false_promotion)


class ComputeParams(Settings):
    """Threads, device and processes, and whether trainings are compiled."""

    threads: int = Field(ge=1, le=10_000)
    device: Literal["auto", "cpu", "cuda"]
    processes: int = Field(default=1, ge=1, le=10_000)
    compile: Literal["auto", True, False] = "auto"
