"""The report's answer to whether extremes are right: sentences on the winner, and a table of what the data can decide."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from levy_core.metrics.fields.decidable import FEWEST, RESTS_ON, format_count

Cell = Mapping[Any, Any] | pd.Series  # a row of the grid
Estimates = Mapping[str, Any]  # of a variable of the held-out period
HIGH = "0.999"
BIASED = 1.5  # a bias of cells of more times the training period's is told,
LEAST = 0.1  # where it is more of a standard deviation
FAR = 0.1  # an area mean that reaches a tenth more or less than the real one is told


def answer(
    cell: Cell,
    sampler: str,
    units: Mapping[str, str],
    real: Mapping[str, Estimates],
    ceiling: Mapping[str, float | None],
    mapped: Sequence[str] = (),
) -> list[str]:
    """Sentences on the winner: the highest values of each variable, its wet days, what single cells lack, the means over the area, at what cost.

    Args:
        cell: the winner's row of the grid. sampler: its name for people.
        units: of each variable. real: of the held-out period. ceiling: what the training period itself scores against it.
        mapped: variables whose values are mapped to quantiles of the training period.
    """
    sentences = [_describe_highest(cell, v, unit, real[v], ceiling.get(f"q999/test/{v}")) for v, unit in units.items()]
    for v in units:
        wet, of_wet = (cell.get(f"{name}/test/{v}") for name in ("wet_ratio", "wet_mean_ratio"))
        if pd.notna(wet) and pd.notna(of_wet):
            sentences.append(
                f"{v}: {wet:.2f} times as many wet cells and days as in the held-out period, with {of_wet:.2f} times as much each (1 is right)."
            )
    if mapped:
        sentences.append(
            f"Single values of {' and '.join(mapped)}, over all cells together, have the quantiles of the training period by a mapping: they say nothing of the network, "
            "what cells do together does, and what each has of its own."
        )
    for v, unit in units.items():
        sentences += _describe_bias(cell, v, unit, ceiling.get(f"cell_bias/test/{v}"))
    means = {v: cell[f"mean95_ratio/test/{v}"] for v in units}
    known = {v: ratio for v, ratio in means.items() if pd.notna(ratio)}
    if known:
        sentences.append(_describe_means(known))
    sentences.append(f"This is {cell['design']} with {sampler}, the winner.")
    return sentences


def _describe_bias(cell: Cell, variable: str, unit: str, of_training: float | None) -> list[str]:
    """Nothing where the means of single cells are as right as the training period's."""
    bias, share = (cell.get(f"{name}/test/{variable}") for name in ("cell_bias", "cell_bias_share"))
    if bias is None or share is None or of_training is None or pd.isna(bias) or pd.isna(share):
        return []
    if bias <= BIASED * of_training or share <= LEAST:
        return []
    return [
        f"{variable}: single cells have a wrong mean, by {bias:.2g} {unit} (root mean square over cells; {share:.2g} of a cell's standard deviation), "
        f"where the training period's differ by {of_training:.2g} from the held-out ones."
    ]


def _describe_means(ratios: Mapping[str, float]) -> str:
    """Of variables whose means were measured: those that are wrong, or all where none is."""
    off = {v: ratio for v, ratio in ratios.items() if abs(ratio - 1) > FAR}
    far = {v: "too far" if ratio > 1 else "not far enough" for v, ratio in off.items()}
    lead = "" if off else " as far as they should"
    listed = ", ".join(f"{v}{f' {far[v]}' if off else ''}, {ratio:.2f}" for v, ratio in (off or ratios).items())
    return f"Means over the whole area swing{lead}: {listed} times as far from their median as the real ones (95 % quantile; 1 is right)."


def _describe_highest(cell: Cell, variable: str, unit: str, real: Estimates, of_training: float | None) -> str:
    value, low, high = (real["quantiles"][HIGH][key] for key in ("value", "low", "high"))
    drawn, count = cell[f"q999/test/{variable}"], real["exceedances"][HIGH]
    held_out = "not known" if value is None else f"{value:.3g}"
    if low is not None and high is not None:
        held_out += f" (90 % interval {low:.3g} to {high:.3g})"
    training = "" if of_training is None else f", {of_training:.3g} in the training period"
    if pd.isna(drawn) and value is None:
        return f"{variable}: too few values, real and drawn, to see one that is exceeded once in 1,000."
    if pd.isna(drawn):
        return f"{variable}: too few samples to see a value that is exceeded once in 1,000; it is {held_out} {unit} in the held-out period."
    found = f"one value in 1,000 exceeds {drawn:.3g} {unit} in the samples, {held_out} in the held-out period{training}"
    if count is None or count < FEWEST or low is None or high is None:
        return (
            f"{variable}: not decidable with these data, whose held-out period has {format_count(count)} independent exceedances where "
            f"{FEWEST} are needed: {found}."
        )
    verdict = "too low" if drawn < low else "too high" if drawn > high else "right as far as these data can tell"
    return f"{variable}: the highest values are {verdict}: {found}."


def tabulate_decidable(
    variables: Sequence[str],
    units: Mapping[str, str],
    real: Mapping[str, Estimates],
    ceiling: Mapping[str, float | None],
) -> list[dict[str, str]]:
    """One row per variable and level: independent exceedances, the verdict, and what the training period itself scores there."""
    shown = [
        ("q999_ratio", "distance from the median, 99.9 % quantile"),
        ("tail_error", "the same, quantiles from 95 to 99.9 %"),
        ("return_error", "return levels"),
    ]
    rows = []
    for v in variables:
        for measure, name in shown:
            kind, level, of_what = RESTS_ON[measure]
            count, score = real[v][kind][level], ceiling.get(f"{measure}/test/{v}")
            rows.append(
                {
                    "variable": f"{v} [{units[v]}]",
                    "measure": name,
                    "count": format_count(count),
                    "of_what": of_what,
                    "verdict": "decidable"
                    if count is not None and count >= FEWEST
                    else "not decidable with these data",
                    "training": "too few fields" if score is None else f"{score:.3g}",
                    "perfect": "1" if measure.endswith("ratio") else "0",
                }
            )
    return rows
