"""Scores of ways to fill in, on what was withheld: a row of the table for each."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch

from levy_core.metrics.common.withheld import Withheld, flatness, judge, misfit, psnr, skill
from tasks.observing.cases import Cases

VALUES = 10_000_000  # of members that are judged at a time, at most


@dataclass(frozen=True, eq=False)
class Judged:
    """A way on cases: scores of each variable, and what else its row says of each.

    Attributes:
        scores: by variable, ``""`` where a sample is judged as a whole. numbers: further columns by variable.
    """

    scores: dict[str, Withheld]
    numbers: dict[str, dict[str, float]]

    def row(self, prefix: str, kriged: "Judged | None") -> dict[str, Any]:
        """Columns, each with the prefix, and ``/VARIABLE`` where variables are judged apart.

        Args:
            kriged: the rival against which skill is measured, on the same cases; None for the rival itself.
        """
        found: dict[str, Any] = {}
        for variable, own in self.scores.items():
            numbers: dict[str, Any] = {"crps": float(own.crps.mean())}
            if kriged is not None:
                gain = skill(own, kriged.scores[variable])
                numbers |= {"skill": gain.skill, "skill_error": gain.error, "verdict": gain.verdict}
            numbers["spread_error"] = own.spread_error
            if own.ranks.shape[1] > 2:
                flat = flatness(own.ranks)
                numbers |= {"rank_bias": flat.bias, "rank_width": flat.width, "rank_p": flat.p}
            numbers |= self.numbers[variable]
            found |= {f"{prefix}{name}" + f"/{variable}" * bool(variable): value for name, value in numbers.items()}
        return found


def judge_members(members: np.ndarray, cases: Cases) -> Judged:
    """Members [T, M, C, H, W] in units, judged where values were withheld."""
    held_out, operator = cases.held_out, cases.operator
    # Where the truth has no value, a member's may have none, too; there nothing is seen of it.
    whole = torch.from_numpy(np.nan_to_num(members))
    seen = operator.apply(whole.flatten(0, 1)).view(*members.shape[:2], -1).numpy()
    channels = channels_of(cases)
    scores, numbers = {}, {}
    for c, variable in enumerate(held_out.variables or ("",)):
        part = slice(c, c + 1) if held_out.variables else slice(None)
        rows = np.isin(channels, np.arange(cases.truth.shape[1])[part])
        scores[variable] = _judge_in_parts(members[:, :, part], cases.hidden[:, part])
        weighed, missed = misfit(seen[..., rows], cases.seen[:, rows], cases.error[rows])
        numbers[variable] = {"misfit": weighed if (cases.error[rows] > 0).any() else missed}
        if held_out.reach is not None:
            kept = ~np.isnan(cases.hidden).any(0)
            truth, drawn = cases.truth[:, kept], members[:, :, kept]
            single = [psnr(member, truth, held_out.reach) for member in drawn.swapaxes(0, 1)]
            of_mean = psnr(drawn.mean(1), truth, held_out.reach)
            numbers[variable] |= {"psnr": float(np.mean(single)), "psnr_mean": float(of_mean.mean())}
    return Judged(scores, numbers)


def _judge_in_parts(members: np.ndarray, truth: np.ndarray) -> Withheld:
    """``judge`` of a few cases at a time, as it takes seven times the memory of the members."""
    together = max(1, VALUES // members[0].size)
    starts = range(0, len(truth), together)
    parts = [judge(members[i : i + together], truth[i : i + together]) for i in starts]
    return Withheld(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Withheld)))


def channels_of(cases: Cases) -> np.ndarray:
    """The channel of each observed value, int64 [R]."""
    shape = cases.operator.shape
    unit = torch.zeros(shape[0], *shape, dtype=torch.float64)
    for c in range(shape[0]):
        unit[c, c] = 1.0
    return cases.operator.apply(unit).argmax(0).numpy()
