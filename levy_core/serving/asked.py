"""What is drawn for one request."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from levy_core.base.errors import choose
from levy_core.base.event import Given
from levy_core.base.observed import Observed
from levy_core.observations.covariance import Covariance
from levy_core.observations.guides import OBSERVATION_GUIDES
from levy_core.observations.observation import Observation, check_rows
from levy_core.sampling.solver import Solver
from levy_core.serving.draw import cost
from levy_core.serving.given import observation_of
from levy_core.serving.memory import Footprint, Need, rows_of_batch

if TYPE_CHECKING:
    from levy_core.training.checkpoint import Model

GUIDE = "interpolation"


@dataclass(frozen=True, eq=False)
class Towards:
    """What samples of a model have to agree with.

    Attributes:
        observed: as the kind of the samples read it.
        guide: towards it, a row of ``OBSERVATION_GUIDES``. covariance: of the training data, where the guide needs it.

    Raises:
        LevyError: an unknown guide, or too many values.
    """

    model: "Model"
    observed: Observed
    guide: str
    covariance: Covariance | None

    def __post_init__(self) -> None:
        choose("guide towards observations", self.guide, OBSERVATION_GUIDES)
        check_rows(len(self.observed.values))

    @cached_property
    def observation(self) -> Observation:
        """What was observed, as the network's samples have it; it takes matrices of the values.

        Raises:
            LevyError: exact values that contradict each other.
        """
        return observation_of(self.model, self.observed, self.guide)


@dataclass(frozen=True, eq=False)
class Asked:
    """Samples with labels [n] that a solver draws with a seed; ``towards`` observations, if there are any."""

    labels: np.ndarray
    solver: Solver
    seed: int
    towards: Towards | None = None

    def prepare(self) -> None:
        """What can be found wrong before anything is drawn, and takes memory.

        Raises:
            LevyError: as ``Towards.observation``.
        """
        if self.towards is not None:
            _ = self.towards.observation

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def given(self) -> Given | None:
        """What the samples agree with, for their files."""
        if self.towards is None:
            return None
        observed = self.towards.observed
        return Given(observed.text, None if observed.time is None else np.full(len(self), observed.time))


def cost_of(model: "Model", asked: Asked) -> int:
    """Network evaluations per sample, at most."""
    towards = asked.towards
    return cost(model, asked.solver) * (1 if towards is None else OBSERVATION_GUIDES[towards.guide].most)


def need_of(footprint: Footprint, asked: Asked) -> Need:
    """What drawing them takes of memory."""
    towards, once = asked.towards, 0
    each = footprint.each(asked.solver, None if towards is None else towards.guide)
    if towards is not None:
        levels = asked.solver.steps * OBSERVATION_GUIDES[towards.guide].keeps_levels
        once = footprint.once(len(towards.observed.values), levels, towards.covariance)
    return Need(len(asked), footprint.kept, min(len(asked), rows_of_batch(each)), each, once)
