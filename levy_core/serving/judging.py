"""Samples given observations, judged on true values that were withheld from them: one case, in the units of people."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from levy_core.base.errors import LevyError
from levy_core.base.files import write_json
from levy_core.base.observed import Observed
from levy_core.metrics.common.withheld import Skill, judge, misfit, psnr, skill_of, ssim
from levy_core.observations.covariance import Covariance
from levy_core.serving.asked import Asked
from levy_core.serving.given import krige_given

if TYPE_CHECKING:
    from levy_core.training.checkpoint import Model

FILE = "judged.json"
ONE_CASE = (
    "One case: its values depend on each other, so that no skill of it is decidable; judge more of them, and pair them "
    "(docs/observations.md)."
)


@dataclass(frozen=True)
class Score:
    """Of one variable; None where it is not defined.

    Attributes:
        withheld: how many true values were not observed. crps: mean over them, in ``units``.
        kriging_crps: of as many samples by kriging with the covariance of the training data. skill: 1 - crps / kriging_crps.
        spread_error: the ensemble's spread over the error of its mean; 1 for a reliable ensemble.
        misfit: root mean square of what samples miss of observed values, over their std. largest_miss: of values without error, in ``units``.
        psnr: of the ensemble's mean on what was withheld, in dB; None of the truth itself. ssim: of it, there; of whole true images.
    """

    variable: str
    units: str
    withheld: int
    crps: float
    kriging_crps: float | None
    skill: float | None
    spread_error: float | None
    misfit: float | None
    largest_miss: float | None
    psnr: float | None
    ssim: float | None


@dataclass(frozen=True)
class Judgement:
    """Scores by variable of samples given ``observed``, against the file ``truth``."""

    observed: str
    truth: str
    scores: tuple[Score, ...]

    def __str__(self) -> str:
        table = pd.DataFrame([asdict(score) for score in self.scores]).dropna(axis=1, how="all")
        return f"{table.to_string(index=False, float_format=lambda value: f'{value:.4g}')}\n{ONE_CASE}"

    def write(self, folder: Path) -> None:
        """``judged.json``."""
        write_json(folder / FILE, asdict(self))


def check_truth(observed: Observed, truth: Observed, where: str) -> np.ndarray:
    """Which true values were withheld from the observation, bool [rows of the truth].

    Raises:
        LevyError: none; ``where`` the truth is from.
    """
    seen = set(observed.places)
    withheld = np.array([place not in seen for place in truth.places])
    if not withheld.any():
        raise LevyError(f"{where} has nothing to judge by: each of its {len(withheld)} values was observed")
    return withheld


def judge_asked(
    model: "Model", asked: Asked, samples: np.ndarray, covariance: Covariance | None, truth: Observed, where: str
) -> Judgement:
    """Judges what was drawn, samples [N, C, H, W] as the core draws them, beside as many by kriging where a covariance is known.

    Args:
        covariance: of the training data; a model of coefficients has its own.

    Raises:
        LevyError: as ``check_truth``.
    """
    towards = asked.towards
    assert towards is not None, "what was observed was asked for"
    kriged = None
    if model.latent or covariance is not None:
        kriged = krige_given(model, asked.seed, len(asked), towards.observation, covariance)
    return judge_samples(samples, kriged, towards.observed, truth, where)


def judge_samples(
    samples: np.ndarray, kriged: np.ndarray | None, observed: Observed, truth: Observed, where: str
) -> Judgement:
    """Judges samples [N, C, H, W] as the core draws them, and a rival's, by what was withheld.

    Args:
        where: the truth is from.

    Raises:
        LevyError: as ``check_truth``.
    """
    withheld, known = check_truth(observed, truth, where), truth.reported
    own = known.decode(samples)
    members, seen = truth.look(own), observed.look(own)
    rival = None if kriged is None else truth.look(known.decode(kriged))
    scores = []
    for number, (name, units) in enumerate(known.names):
        rows, given = withheld & (known.variable == number), observed.reported.variable == number
        if not rows.any():
            continue
        true = known.values[None, rows]
        score = judge(members[None][:, :, rows], true)
        rival_crps = None if rival is None else float(judge(rival[None][:, :, rows], true).crps[0])
        crps = float(score.crps[0])
        weighed, missed = misfit(
            seen[None][:, :, given], observed.reported.values[None, given], observed.reported.std[given]
        )
        mean = members[:, rows].mean(0)[None]
        scores.append(
            Score(
                name, units, int(rows.sum()), crps, rival_crps, _or_none(1 - crps / rival_crps) if rival_crps else None,
                _or_none(score.spread_error), _or_none(weighed), _or_none(missed),
                None if known.reach is None else _or_none(float(psnr(mean, true, known.reach)[0])),
                None if known.reach is None else _or_none(_ssim(own.mean(0), truth, withheld, known.reach)),
            )
        )  # fmt: skip
    return Judgement(observed.text, where, tuple(scores))


def _ssim(mean: np.ndarray, truth: Observed, withheld: np.ndarray, reach: float) -> float:
    """Of a mean [C, H, W] of samples where it was withheld; NaN where not all of the image is true."""
    if len(withheld) != mean.size:
        return nan
    true, hidden = np.zeros(mean.size), np.zeros(mean.size, dtype=bool)
    true[truth.cells[:, 0]], hidden[truth.cells[:, 0]] = truth.reported.values, withheld
    return float(ssim(mean[None], true.reshape(1, *mean.shape), reach, hidden.reshape(1, *mean.shape))[0])


def _or_none(value: float) -> float | None:
    return value if isfinite(value) else None  # JSON has neither NaN nor infinity


def pool(files: Sequence[Path]) -> Mapping[str, Skill]:
    """By variable the skill over kriging of several cases, each of a ``judged.json``.

    Raises:
        LevyError: fewer than two cases of a variable.
    """
    crps: dict[str, list[tuple[float, float]]] = {}
    for file in files:
        for score in json.loads(file.read_text())["scores"]:
            if score["kriging_crps"] is not None:
                crps.setdefault(score["variable"], []).append((score["crps"], score["kriging_crps"]))
    return {name: skill_of(*np.array(pairs).T) for name, pairs in crps.items()}
