"""What held-out fields can decide about extremes: as much as the independent events allow that they rest on."""

from collections.abc import Mapping
from typing import Any

FEWEST = 20  # independent exceedances: their number is then known to about a fifth
# measure: (which exceedances, of which level, its name for people)
RESTS_ON = {
    "tail_error": ("exceedances", "0.99", "the 99 % quantile"),
    "q999_ratio": ("exceedances", "0.999", "the 99.9 % quantile"),
    "hill_ratio": ("exceedances", "0.99", "the 99 % quantile"),
    "exceed99_ratio": ("exceedances", "0.99", "the 99 % quantile"),
    "exceed999_ratio": ("exceedances", "0.999", "the 99.9 % quantile"),
    "return_error": ("return_exceedances", "100", "the level that a field exceeds once in 100"),
}


def explain_undecidable(estimates: Mapping[str, Any]) -> dict[str, str]:
    """Measures of a variable that its real fields cannot decide, and why.

    Args:
        estimates: of the variable (``FieldsReference.estimates``).
    """
    reasons = {}
    for measure, (kind, level, name) in RESTS_ON.items():
        count = estimates[kind][level]
        if count is None or count < FEWEST:
            reasons[measure] = f"{format_count(count)} independent exceedances of {name}, {FEWEST} are needed"
    return reasons


def format_count(count: float | None) -> str:
    """A number of independent exceedances; None stands for less than two blocks of times."""
    if count is None:
        return "too few fields to count"
    return f"{count:.0f}" if count >= 10 else f"{count:.1f}"
