"""What the compare stage found, on disk: the winner, and the best sampler of each design at each number of evaluations."""

import math
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, RootModel, model_validator

from levy_core.base.artifacts import STRICT, Artifact, parse, read_artifact
from levy_core.base.errors import LevyError
from levy_core.sampling.solver import Solver
from tasks.cells.selection import solver_of

STAGE = "compare"
PUBLISHED = {
    "published",
    "difference",
    "error",
}  # of a budget: all, or none where the paper's samplers are not in the grid


def _check_value(value: Any) -> Any:
    if not isinstance(value, int | float | str | None) or (
        isinstance(value, int | float) and not abs(value) < math.inf
    ):
        raise ValueError("a finite number, text or null was expected")
    return value


def _check_sampler(fields: dict[str, Any]) -> dict[str, Any]:
    try:
        _ = Solver(**fields).label
    except (LevyError, TypeError, OverflowError) as error:
        raise ValueError(f"it is no sampler ({error})") from error
    return fields


Whole = Annotated[int, Field(ge=1, lt=2**63)]
Sampler = Annotated[dict[str, Any], AfterValidator(_check_sampler)]


class _Winner(Artifact):
    """A row of the grid, and the metric by which it was chosen."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Annotated[Any, AfterValidator(_check_value)]]
    design: str
    metric: str
    nfe: Whole
    seeds: Whole

    @model_validator(mode="after")
    def _check(self) -> "_Winner":
        row = self.model_dump()
        mean, spread = (row.get(name, "missing") for name in (self.metric, f"{self.metric}_std"))
        if not (_is_number(mean) and (spread is None or _is_number(spread))):  # no spread of one seed
            raise ValueError(f"{self.metric} is {mean!r:.60} with the spread {spread!r:.60}: numbers were expected")
        try:
            _ = solver_of(row).label
        except (LevyError, TypeError, OverflowError) as error:
            raise ValueError(f"it names no sampler ({error})") from error
        return self


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class _Published(Artifact):
    sampler: Sampler
    mean: float
    std: float | None


class _Budget(Artifact):
    sampler: Sampler
    tuned: bool
    mean: float
    std: float | None
    seeds: Whole
    samples: Whole
    published: _Published | None = None
    difference: float | None = None
    error: float | None = None

    @model_validator(mode="after")
    def _check(self) -> "_Budget":
        if (found := PUBLISHED & self.model_fields_set) not in (set(), PUBLISHED):
            raise ValueError(
                f"{', '.join(sorted(PUBLISHED))} belong together, but it has {', '.join(sorted(found))} alone"
            )
        if found and (self.published is None or self.difference is None):
            raise ValueError("published and difference may not be null")
        return self


class _Budgets(Artifact):
    metric: str
    default: int
    budgets: dict[Annotated[str, Field(pattern="^[1-9][0-9]{0,9}$")], _Budget]

    @model_validator(mode="after")
    def _check(self) -> "_Budgets":
        if str(self.default) not in self.budgets:
            raise ValueError(
                f"default is {self.default:.60g}, but one of the budgets was expected: {', '.join(self.budgets)}"
            )
        return self


class _Eta(RootModel[dict[str, _Budgets]]):
    model_config = STRICT


def parse_winner(text: bytes) -> dict[str, Any]:
    """The winner's row of the grid: what names its sampler, its metrics, and ``metric``, by which it was chosen.

    Raises:
        ValueError: it is damaged.
    """
    return parse(text, _Winner).model_dump()


def read_winner(path: Path, metric: str | None = None) -> dict[str, Any]:
    """As ``parse_winner``.

    Args:
        metric: by which it has to be chosen; None: whichever.

    Raises:
        LevyError: the file is missing or damaged, or of another metric.
    """
    winner = read_artifact(path, _Winner, STAGE).model_dump()
    if metric not in (None, winner["metric"]):
        raise LevyError(
            f"{path} was chosen by {winner['metric']}, but {metric} was expected: run the {STAGE} stage again"
        )
    return winner


def read_eta(path: Path, winner: dict[str, Any], designs: Collection[str]) -> dict[str, Any]:
    """By design ``metric``, ``default``, the evaluations of its default sampler, and ``budgets``, its best sampler by evaluations.

    Args:
        winner: as ``read_winner`` gives it. designs: those that were compared.

    Raises:
        LevyError: the file is missing or damaged, or is not of the same comparison.
    """
    eta = read_artifact(path, _Eta, STAGE).model_dump(exclude_unset=True)
    metrics = {entry["metric"] for entry in eta.values()}
    if not {winner["design"]} <= set(eta) <= set(designs) or metrics != {winner["metric"]}:
        raise LevyError(
            f"{path} is of {', '.join(eta) or 'no design'} by {', '.join(sorted(metrics)) or 'no metric'}, but of "
            f"{', '.join(designs)} {winner['design']} has won by {winner['metric']}: run the {STAGE} stage again"
        )
    return eta
