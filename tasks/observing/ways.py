"""Ways to fill in what was withheld: members of a model under a guide, and its rivals."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from levy_core.base.errors import NotFiniteError
from levy_core.base.rows import read_rows, thin_rows
from levy_core.base.seeds import seed_of
from levy_core.observations.covariance import Covariance
from levy_core.observations.kept import FEWEST, SAMPLES, VALUES
from levy_core.observations.operators import CellMeans
from levy_core.observations.rivals import find_analogues, interpolate, krige
from levy_core.observations.views import VIEWS
from levy_core.sampling.solver import Solver
from levy_core.serving.given import data_covariance, draw_given, guided_cost
from levy_core.serving.memory import Footprint, rows_of_batch
from levy_core.training.checkpoint import Model
from tasks.kinds.held_out import HeldOut
from tasks.kinds.kind import TrainingData
from tasks.observing.cases import Cases
from tasks.params.experiments import Experiment

KRIGING = "kriging"


@dataclass(frozen=True)
class Way:
    """What fills in: a rival, or the guide of a model in so many steps."""

    rival: str | None = None
    guide: str | None = None
    steps: int | None = None

    @property
    def label(self) -> str:
        return self.rival or f"{self.guide}, {self.steps} steps"


@dataclass(frozen=True, eq=False)
class Filler:
    """A model with its training data, and experiments to fill in.

    Attributes:
        folder: of the model. levels: the sampler of a number of steps, whose levels are taken.
        held_out: as the model sees them; None: as they are.
    """

    model: Model
    folder: Path
    training: TrainingData
    levels: Callable[[int], Solver]
    device: torch.device
    held_out: HeldOut | None = None

    @cached_property
    def covariance(self) -> Covariance:
        """Of the training data: the guide's and kriging's."""
        return data_covariance(self.model, self.folder)

    @cached_property
    def _fields(self) -> Tensor:
        """The training samples that the covariance is fitted to, as analogues."""
        data, size = self.training.data, int(np.prod(self.model.shape))
        return torch.nan_to_num(read_rows(data, thin_rows(len(data), min(SAMPLES, max(FEWEST, VALUES // size)), 1)))

    @cached_property
    def _footprint(self) -> Footprint:
        return Footprint(self.model, self.device)

    def rivals(self, experiment: Experiment) -> list[Way]:
        """Kriging first, against which skill is measured."""
        smooth = VIEWS[experiment.see].interpolates and min(self.model.shape[-2:]) > 1
        return [Way(KRIGING), Way("analogues"), *[Way("bilinear")] * smooth]

    def ways(self, experiment: Experiment) -> list[Way]:
        """Of the model."""
        return [Way(None, guide, steps) for guide in experiment.guides for steps in experiment.steps]

    def cost(self, way: Way, cases: Cases) -> int | None:
        """Network evaluations per sample, a backward pass as two; None of rivals."""
        if way.guide is None or way.steps is None:
            return None
        _, observation = next(self._seen(cases.take(np.array([0]))).parts(1))
        return guided_cost(self.model, self.levels(way.steps), observation, way.guide, self._guiding(way))

    def fill(self, way: Way, cases: Cases, experiment: Experiment, seed: int) -> np.ndarray:
        """Members in the units of the data, float64 [T, M, C, H, W].

        Raises:
            NotFiniteError: the sampler left the finite numbers, also in units.
        """
        cases = cases if way.rival else self._seen(cases)
        make = {KRIGING: self._krige, "analogues": self._find_analogues, "bilinear": self._interpolate}
        members = (
            make[way.rival](cases, experiment.members, seed) if way.rival else self._draw(way, cases, experiment, seed)
        )
        rows = np.repeat(cases.rows, members.shape[1])
        units = cases.held_out.to_units(members.reshape(-1, *members.shape[2:]), rows)
        if not np.isfinite(units[:, cases.held_out.valid.numpy()]).all():
            raise NotFiniteError(f"{way.label} gives values that are infinite in the units of the data")
        return units.reshape(members.shape)

    def _seen(self, cases: Cases) -> Cases:
        """As the model sees them."""
        return cases if self.held_out is None else cases.as_seen_by(self.held_out)

    def _draw(self, way: Way, cases: Cases, experiment: Experiment, seed: int) -> np.ndarray:
        assert way.guide is not None
        assert way.steps is not None
        solver, members, drawn = self.levels(way.steps), experiment.members, []
        batch = rows_of_batch(self._footprint.each(solver, way.guide))
        samples = self.model.samples
        label = cases.held_out.labels[cases.rows] if samples.knows_classes else np.full(len(cases), samples.no_class)
        for part, observation in cases.parts(members):
            labels = np.repeat(label[part], members)
            drawn.append(
                draw_given(
                    self.model, solver, seed, labels, batch, self.device, observation, way.guide, self._guiding(way),
                    first=part.start * members,
                )
            )  # fmt: skip
        return np.concatenate(drawn).reshape(len(cases), members, *self.model.shape)

    def _guiding(self, way: Way) -> Covariance | None:
        return self.covariance if way.guide == "interpolation" and not self.model.latent else None

    def _krige(self, cases: Cases, members: int, seed: int) -> np.ndarray:
        drawn = [
            krige(self.covariance, observation, seed_of(seed, part.start), len(observation.values))
            for part, observation in cases.parts(members)
        ]
        return torch.cat(drawn).view(len(cases), members, *self.model.shape).numpy()

    def _find_analogues(self, cases: Cases, members: int, seed: int) -> np.ndarray:
        count = min(members, len(self._fields))
        return np.stack(
            [
                find_analogues(self._fields, replace(each, values=values), count).numpy()
                for _, each in cases.parts(1)
                for values in each.values
            ]
        )

    def _interpolate(self, cases: Cases, members: int, seed: int) -> np.ndarray:
        assert isinstance(cases.operator, CellMeans)
        return interpolate(cases.operator, torch.from_numpy(cases.values), cases.held_out.wraps).numpy()[:, None]
