"""The cases of an experiment that the report shows."""

import numpy as np
import torch

from levy_core.observations.views import show
from tasks.cells.observed import Shown
from tasks.observing.cases import Cases
from tasks.observing.ways import Way

USUAL, MEMBERS = 3, 4  # usual cases, and members of a case


def show_cases(members: np.ndarray, cases: Cases, way: Way, extreme: bool) -> list[Shown]:
    """Usual cases spread evenly, or the first of the most extreme ones, of members [T, M, C, H, W] in units."""
    chosen = [0] if extreme else np.unique(np.linspace(0, len(cases) - 1, USUAL).round().astype(int)).tolist()
    observed = show(cases.operator, torch.from_numpy(cases.seen)).numpy()
    return [
        Shown(
            cases.held_out.name(int(cases.rows[k])),
            way.label,
            extreme,
            observed[k],
            cases.truth[k],
            members[k].mean(0),
            members[k].std(0, ddof=1),
            members[k, :MEMBERS],
        )
        for k in chosen
    ]
