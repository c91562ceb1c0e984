"""Nights of retraining, simulated with the noise of 400 digits: what the gate makes of challengers whose quality is known."""

from collections.abc import Mapping

import numpy as np

from levy_core.metrics.common.paired import Rows, Rule
from levy_core.metrics.common.sequential import Looks
from tasks.kinds.kind import kind_of
from tasks.registry import challenge
from tasks.registry.promotions import ANCHOR, CHALLENGER, CHAMPION

# Mean and standard deviation over 60 seeds of the error of 400 samples of the shipped run's champion.
FID, FID_STD, COVERAGE, COVERAGE_STD = 2.32, 0.142, 0.127, 0.0316
MARGIN = 0.05
GATE: dict[str, Rule] = {"fid_classes/x": "better", "coverage/x": MARGIN}
MEASURES = kind_of("images").measures
SHIPPED = Looks(12, 48, 1e-4)


def measured(rng: np.random.Generator, looks: Looks, fid: float = FID, loss: float = 0.0, noise: float = 1.0) -> Rows:
    """What a model of such a mean FID, and of a coverage that is smaller by ``loss``, measures at all seeds; ``noise``: times that of FID."""
    fids = fid + noise * FID_STD * rng.standard_normal(looks.most)
    coverages = 1 - COVERAGE - loss + COVERAGE_STD * rng.standard_normal(looks.most)
    return [{"fid_classes/x": a, "coverage/x": b} for a, b in zip(fids, coverages, strict=True)]


def judge(looks: Looks, challenger: Rows, champion: Rows, anchor: Rows | None = None, gate: Mapping[str, Rule] = GATE):
    """Whether a challenger is promoted, and the seeds that were drawn."""
    sides = {CHALLENGER: challenger, CHAMPION: champion} | ({ANCHOR: anchor} if anchor else {})
    for look, seeds in enumerate(looks.seeds):
        lines = challenge.judge(looks, gate, MEASURES, {name: rows[:seeds] for name, rows in sides.items()}, look)
        if looks.is_over(lines):
            break
    return not any(line.holds_back for line in lines), seeds


def lost_in_a_year(
    rng: np.random.Generator, anchored: bool, nights: int = 365, gain: float = 0.15, loss: float = 0.02
) -> float:
    """Coverage that is lost when every night brings a FID better by ``gain`` and a coverage worse by ``loss`` than the champion's."""
    fid, lost = FID, 0.0
    anchor = measured(rng, SHIPPED) if anchored else None
    for _ in range(nights):
        new = fid * (1 - gain), lost + loss
        if judge(SHIPPED, measured(rng, SHIPPED, *new), measured(rng, SHIPPED, fid, lost), anchor)[0]:
            fid, lost = new
    return lost
