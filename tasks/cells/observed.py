"""Experiments on held-out data on disk: a table of scores, and the cases that the report shows."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from levy_core.base.errors import LevyError
from levy_core.base.tensors import read_tensors, write_tensors
from tasks.cells.tables import write_rows

SCORES, CASES, TENSORS = "scores.csv", "cases.json", "cases.safetensors"
WAY = ("experiment", "rival", "guide", "steps")  # columns that say what a row is of
TEXTS = ("experiment", "rival", "guide", "failed")
EXTREME = "extreme_"  # before the name of a score of the most extreme cases
PARTS = ("observed", "truth", "mean", "spread", "members")


@dataclass(frozen=True, eq=False)
class Shown:
    """A case in the units of the data, NaN where there is no value; float32.

    Attributes:
        name: of the case. way: guide and steps. extreme: whether it is among the most extreme cases.
        observed, truth, mean, spread: [C, H, W]; spread is the standard deviation of all members.
        members: some, [n, C, H, W].
    """

    name: str
    way: str
    extreme: bool
    observed: np.ndarray
    truth: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    members: np.ndarray


def write_observed(folder: Path, scores: pd.DataFrame, shown: Mapping[str, Sequence[Shown]]) -> None:
    """Writes the files of a design into an empty folder; ``shown``: cases by experiment."""
    write_rows(folder / SCORES, scores, digits=6, exact=WAY)
    about, tensors = {}, {}
    for experiment, cases in shown.items():
        about[experiment] = [{"name": case.name, "way": case.way, "extreme": case.extreme} for case in cases]
        for k, case in enumerate(cases):
            for part in PARTS:
                with np.errstate(over="ignore"):  # infinite in a picture
                    values = np.ascontiguousarray(getattr(case, part), dtype=np.float32)
                tensors[f"{experiment}/{k}/{part}"] = torch.from_numpy(values)
    (folder / CASES).write_text(json.dumps(about, indent=1) + "\n")
    write_tensors(folder / TENSORS, tensors)


def read_scores(folder: Path) -> pd.DataFrame:
    """One row per experiment and way; none where nothing was observed.

    Raises:
        LevyError: the table is missing or damaged.
    """
    try:
        table = pd.read_csv(
            folder / SCORES,
            dtype=dict.fromkeys(TEXTS, str),
            keep_default_na=False,
            na_values=[""],
            float_precision="round_trip",
        )
        if missing := set(WAY) - set(table):
            raise ValueError(f"it has no column {', '.join(sorted(missing))}")
    except (OSError, ValueError) as error:
        raise _unreadable(folder, error) from error
    return table


def read_shown(folder: Path) -> dict[str, list[Shown]]:
    """Cases by experiment.

    Raises:
        LevyError: a file is missing or damaged.
    """
    try:
        about, tensors = json.loads((folder / CASES).read_text()), read_tensors(folder / TENSORS)
        parts = lambda experiment, k: {part: tensors[f"{experiment}/{k}/{part}"].numpy() for part in PARTS}
        return {
            experiment: [Shown(**case | parts(experiment, k)) for k, case in enumerate(cases)]
            for experiment, cases in about.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError, LevyError) as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path, error: Exception) -> LevyError:
    return LevyError(f"{folder} holds no complete experiments ({error}): run the observe stage again")
