"""The section `observe` of params.yaml: experiments on held-out data, each with a name."""

from math import inf
from typing import Annotated, Any

from pydantic import AfterValidator, Field, PlainValidator

from levy_core.base.errors import LevyError, choose
from levy_core.base.settings import Settings
from levy_core.observations.guides import OBSERVATION_GUIDES
from levy_core.observations.operators import Operator
from levy_core.observations.views import VIEWS, Scene
from tasks.kinds.kind import Kind
from tasks.params.names import Name
from tasks.params.resolution import design_of

FEWEST = 4  # cases: of fewer nothing can be said of ranks


def _read_std(value: Any) -> float | dict[str, float]:
    numbers = list(value.values()) if isinstance(value, dict) else [value]
    if not numbers or not all(type(number) in (int, float) and 0 <= number < inf for number in numbers):
        raise ValueError("a number of at least 0 is expected, or one for each variable, such as {t2m: 0.5, tp: 0}")
    return {str(name): float(number) for name, number in value.items()} if isinstance(value, dict) else float(value)


Std = Annotated[Any, PlainValidator(_read_std)]


class Experiment(Settings):
    """What is observed of held-out samples, by which guides the rest is drawn, and how often.

    Attributes:
        see: a row of ``VIEWS``. share, block, width: the number that it takes.
        std: of the errors, in the units of the data, one number or one per variable. steps: of the sampler.
        cases: held-out samples, or as many as there are, and as many of the most extreme ones. members: samples per case.
    """

    see: str
    share: float | None = Field(default=None, gt=0, lt=1)
    block: int | None = Field(default=None, ge=2)
    width: float | None = Field(default=None, gt=0)
    std: Std = 0.0
    guides: list[str] = Field(default=["interpolation"], min_length=1)
    steps: list[Annotated[int, Field(ge=1, le=100_000)]] = Field(default=[10], min_length=1)
    cases: int = Field(default=16, ge=FEWEST, le=100_000)
    members: int = Field(default=16, ge=2, le=100_000)
    seed: int = Field(default=0, ge=0)

    def check(self, kind: Kind) -> None:
        """Refuses a view, numbers of a view or guides that there are not.

        Raises:
            LevyError: names what is unknown, missing or too much.
        """
        assert kind.observing is not None
        view = choose(f"view of {kind.name}", self.see, {name: VIEWS[name] for name in kind.observing.views})
        for option in ("share", "block", "width"):
            value = getattr(self, option)
            if value is None and option == view.option:
                raise LevyError(f"{self.see} needs {option}, which is missing")
            if value is not None and option != view.option:
                raise LevyError(
                    f"{option} is {value:g}, but {self.see} takes {view.option or 'no number'}: take it out"
                )
        for guide in self.guides:
            choose("guide towards observations", guide, OBSERVATION_GUIDES)
        for key in ("guides", "steps"):
            values = getattr(self, key)
            if len(set(values)) < len(values):
                raise LevyError(f"{key} is {values}: name each once")

    def check_designs(self, designs: dict[str, dict[str, Any]]) -> None:
        """Refuses the guide jacobian where a design's noise has no A for all coordinates.

        Raises:
            LevyError: names the design.
        """
        for name, settings in designs.items():
            noise = design_of(settings).noise
            if "jacobian" in self.guides and not getattr(noise, "isotropic", True):
                raise LevyError(
                    f"the guide jacobian needs one A for all coordinates, which {noise} of the design {name} does not have: choose "
                    "interpolation"
                )

    @property
    def text(self) -> str:
        """What is observed, for people."""
        of = self.std if isinstance(self.std, dict) else {"": self.std}
        errors = " and ".join(f"{value:g} {name}".strip() for name, value in of.items())
        known = f"with errors of standard deviation {errors}" if any(of.values()) else "without error"
        return f"{VIEWS[self.see].text.format(self._number)}, {known}"

    @property
    def _number(self) -> float:
        option = VIEWS[self.see].option
        return getattr(self, option) if option else 0.0

    def operator(self, scene: Scene) -> Operator:
        """What is seen of such samples.

        Raises:
            LevyError: the view does not suit them.
        """
        return VIEWS[self.see].make(scene, self._number)


def experiments_of(kind: Kind) -> Any:
    """The type of a kind's experiments by name; None of a kind of which nothing is observed."""
    if kind.observing is None:
        return None

    def check(experiments: dict[str, Experiment]) -> dict[str, Experiment]:
        for name, experiment in experiments.items():
            try:
                experiment.check(kind)
            except LevyError as error:
                raise ValueError(f"observe.{kind.name}.{name}: {error}") from None
        return experiments

    return Annotated[dict[Name, Experiment], AfterValidator(check)]
