"""What becomes of `models` in params.yaml: designs, with what they take from the data."""

from typing import Any

from levy_core.base.errors import LevyError
from levy_core.process.design import Design

FROM_DATA = "data"  # a design's nu or alpha: the data's tail index
# From where noise has the moments that losses need, to where it is as good as Gaussian (alpha: to where it is).
TAIL_RANGES = {"nu": (2.1, 50.0), "alpha": (1.1, 2.0)}


def takes_tail_index(settings: dict[str, Any]) -> bool:
    """Whether a design takes something from the data's tail index."""
    return any(settings.get(key) == FROM_DATA for key in TAIL_RANGES)


def design_of(settings: dict[str, Any], tail_index: float | None = None, sigma_data: float | None = None) -> Design:
    """A design of ``models``; what it takes from the data comes from their tail index, at its lowest where that is unknown.

    Args:
        sigma_data: standard deviation of the data where it is known, unless the design says it; of coefficients of EOFs it is 1.

    Raises:
        LevyError: an unknown name or a number out of range.
    """
    tails = {
        key: float(f"{min(max(tail_index or 0.0, low), high):.3g}")
        for key, (low, high) in TAIL_RANGES.items()
        if settings.get(key) == FROM_DATA
    }
    of_samples = sigma_data if settings.get("eofs") is None else 1.0
    known = {} if of_samples is None else {"sigma_data": of_samples}
    return Design.from_mapping(known | settings | tails)


def check_tail_index(name: str, settings: dict[str, Any], tail_index: float | None) -> None:
    """Refuses a design that takes something from data without a tail index.

    Raises:
        LevyError: names the design.
    """
    if tail_index is None and takes_tail_index(settings):
        raise LevyError(f"models.{name} is {settings}: these data have no tail index to take; give the number")
