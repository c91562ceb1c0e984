"""What becomes of `models` in params.yaml: designs, with what they take from the data."""

from collections.abc import Collection, Mapping
from typing import Any

import yaml

from levy_core.base.errors import LevyError
from levy_core.process.design import Design, gaussian_twin, twin_of

FROM_DATA = "data"  # a design's nu or alpha: the data's tail index
# From where noise has the moments that losses need, to where it is as good as Gaussian (alpha: to where it is).
TAIL_RANGES = {"nu": (2.1, 50.0), "alpha": (1.1, 2.0)}


def takes_tail_index(settings: dict[str, Any]) -> bool:
    """Whether a design takes something from the data's tail index."""
    return any(settings.get(key) == FROM_DATA for key in TAIL_RANGES)


def design_of(settings: dict[str, Any], tail_index: float | None = None, sigma_data: float | None = None) -> Design:
    """A design of ``models``; what it takes from the data comes from their tail index, at its lowest where that is unknown.

    Args:
        sigma_data: standard deviation of the data where it is known, unless the design says it.

    Raises:
        LevyError: an unknown name or a number out of range.
    """
    tails = {
        key: float(f"{min(max(tail_index or 0.0, low), high):.3g}")
        for key, (low, high) in TAIL_RANGES.items()
        if settings.get(key) == FROM_DATA
    }
    known = {} if sigma_data is None else {"sigma_data": sigma_data}
    return Design.from_mapping(known | settings | tails)


def check_tail_index(name: str, settings: dict[str, Any], tail_index: float | None) -> None:
    """Refuses a design that takes something from data without a tail index.

    Raises:
        LevyError: names the design.
    """
    if tail_index is None and takes_tail_index(settings):
        raise LevyError(f"models.{name} is {settings}: these data have no tail index to take; give the number")


def describe_missing_twin(name: str, models: Mapping[str, dict[str, Any]], designs: Collection[str]) -> str:
    """For people: which design to add, so that the heavy-tailed one of this name has a Gaussian twin among ``designs``.

    Empty where it has one, or is Gaussian itself.
    """
    made = {key: design_of(models[key]) for key in designs}
    if made[name].is_gaussian or twin_of(name, made):
        return ""
    twin = yaml.safe_dump(
        {f"{name}-gaussian": gaussian_twin(models[name], made[name])},
        default_flow_style=True,
        sort_keys=False,
        width=1000,
    )
    return (
        f"{name} has no Gaussian twin among the designs, so that nothing shows what its heavy tails bring: "
        f"add `{twin.strip()[1:-1]}` under models and {name}-gaussian to designs in params.yaml"
    )
