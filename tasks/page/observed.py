"""The report's section on what was observed of held-out data: a table for each experiment, as texts."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from tasks.cells.observed import EXTREME


def tabulate_observed(
    scores: Mapping[str, pd.DataFrame], experiment: str, variables: Sequence[str], units: Sequence[str]
) -> list[dict[str, str]]:
    """One row per way and variable of an experiment: rivals first, of no design where all have the same, then each design's.

    Args:
        scores: by design. units: of the variables; of samples that are judged as a whole those of their values.
    """
    own = [(d, row) for d, table in scores.items() for _, row in table[table.experiment == experiment].iterrows()]
    names = list(zip(variables or ("",), units, strict=True))
    rivals = [_format(row, *name) for _, row in own if pd.notna(row["rival"]) for name in names]
    of_design = [d for d, row in own if pd.notna(row["rival"]) for _ in names]
    rows: list[dict[str, str]] = []
    for made, design in zip(rivals, of_design, strict=True):
        same = all(
            other == made for other in rivals if (other["way"], other["variable"]) == (made["way"], made["variable"])
        )
        if not same or {"design": "", **made} not in rows:
            rows.append({"design": "" if same else design, **made})
    return rows + [{"design": d, **_format(row, *name)} for d, row in own if pd.isna(row["rival"]) for name in names]


def describe_numbers(scores: pd.DataFrame, experiment: str) -> str:
    """How many cases there are, usual and extreme."""
    row = scores[scores.experiment == experiment].iloc[0]
    share = 100 * row["extreme_share"]
    return (
        f"{int(row['cases'])} held-out cases, spread evenly, and the {int(row['extreme_cases'])} with the most extreme observations "
        f"({share:.2g} % of all are as extreme)"
    )


def _format(row: pd.Series, variable: str, unit: str) -> dict[str, str]:
    value = lambda name, prefix="": row.get(f"{prefix}{name}" + f"/{variable}" * bool(variable))
    rival = row["rival"] if pd.notna(row["rival"]) else ""
    failed = row["failed"] if pd.notna(row["failed"]) else ""
    return {
        "way": rival or f"{row['guide']}, {int(row['steps'])} steps",
        "variable": f"{variable} [{unit}]" if variable else "",
        "nfe": f"{int(row['nfe'])}" if pd.notna(row["nfe"]) else "",
        "crps": "failed" if failed else _number(value("crps")),
        **{
            f"{prefix}{name}": text
            for prefix in ("", EXTREME)
            for name, text in (
                ("skill", _skill(value("skill", prefix), value("skill_error", prefix), value("verdict", prefix))),
                ("spread_error", _number(value("spread_error", prefix))),
            )
        },
        "ranks": f"{value('rank_width'):.2f} ({value('rank_p'):.0e})" if pd.notna(value("rank_p")) else "",
        "misfit": _number(value("misfit")),
        "psnr": f"{value('psnr'):.1f} / {value('psnr_mean'):.1f}" if pd.notna(value("psnr")) else "",
    }


def _number(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:.3g}"


def _skill(skill: Any, error: Any, verdict: Any) -> str:
    return "" if pd.isna(skill) else f"{skill:+.3f} ± {error:.3f} ({verdict})"
