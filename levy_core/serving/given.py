"""Drawing samples that agree with observations, and what kriging draws in their place."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from levy_core.base.conditions import Condition
from levy_core.base.errors import LevyError
from levy_core.base.observed import Observed
from levy_core.base.seeds import Streams
from levy_core.observations.coefficients import ObservedFields
from levy_core.observations.conditional import sample_observed
from levy_core.observations.covariance import Covariance
from levy_core.observations.guides import DIRECTIONS, OBSERVATION_GUIDES
from levy_core.observations.kept import read_covariance
from levy_core.observations.nonlinear import Through
from levy_core.observations.observation import Observation
from levy_core.observations.operators import CellMeans
from levy_core.observations.rivals import krige
from levy_core.sampling.loop import Watch
from levy_core.sampling.solver import Solver
from levy_core.serving.draw import (
    check_guide,
    convert_samples,
    cost,
    decode_samples,
    draw_in_batches,
    guide_predictor,
    step_table,
)  # fmt: skip

if TYPE_CHECKING:
    from levy_core.training.checkpoint import Model


MOST_BEHIND = 1000  # values, where some lie behind a transform: each sample solves for them anew


def observation_of(model: "Model", observed: Observed, guide: str) -> Observation:
    """What was observed, as the network's samples have it.

    Points between cells of variables with a transform are the nearest cell where the guide takes in nothing else, or values are many.

    Raises:
        LevyError: exact values that contradict each other, or too many means of transformed variables.
    """
    behind, many = observed.behind, len(observed.values) > MOST_BEHIND
    if behind is not None and behind.points and (many or not OBSERVATION_GUIDES[guide].takes_nonlinear):
        observed, behind = observed.nearest(), None
    cells = CellMeans(model.shape, torch.from_numpy(observed.cells), torch.from_numpy(observed.weights))
    values, std = torch.from_numpy(observed.values), torch.from_numpy(observed.std)
    if behind is None:
        return Observation(cells, values, std)
    if many:
        raise LevyError(
            f"{len(values):,} values with means of a variable with a transform are observed, and at most {MOST_BEHIND:,} can be taken in, as each sample "
            "solves for them anew: give coarser means"
        )
    return Observation(Through(cells, behind.inside, behind.outside), values, std)


def draw_given(
    model: "Model",
    solver: Solver,
    seed: int,
    labels: np.ndarray,
    batch: int,
    device: torch.device,
    observation: Observation,
    guide: str,
    covariance: Covariance | None,
    watch: Watch | None = None,
    first: int = 0,
) -> np.ndarray:
    """As ``draw_samples``, of samples that agree with an observation; its values [N, rows] are one row per sample.

    Args:
        guide: towards the observation, a row of ``OBSERVATION_GUIDES``. covariance: of the training data, for interpolation.

    Raises:
        LevyError: as ``draw_samples``, and a guide that lacks something.
    """
    check_guide(model, solver, labels)
    table, predictor, noise = step_table(solver, model.design), guide_predictor(model, solver), model.design.noise
    once = None if observation.values.dim() == 2 else _observe(model, observation, covariance)

    def draw(indices: Sequence[int], cond: Condition) -> torch.Tensor:
        part = observation if once else replace(observation, values=observation.values[[i - first for i in indices]])
        through = once or _observe(model, part, covariance)
        drawn = sample_observed(
            predictor, table, noise, through.seen, seed, indices, cond, guide, through.covariance, device=device, watch=watch
        )  # fmt: skip
        return through.complete(drawn, seed, indices)

    return draw_in_batches(model, draw, labels, batch, first)


def krige_given(
    model: "Model", seed: int, n: int, observation: Observation, covariance: Covariance | None
) -> np.ndarray:
    """What kriging with the model's covariance draws in the place of ``draw_given``, [n, C, H, W].

    Args:
        covariance: of the training data; not needed of a model of coefficients.
    """
    through = _observe(model, observation, covariance)
    assert through.covariance is not None, "kriging is of a covariance"
    drawn = through.complete(krige(through.covariance, through.seen, seed, n).float(), seed, range(n))
    return convert_samples(model, drawn.numpy())


def guided_cost(
    model: "Model", solver: Solver, observation: Observation, guide: str, covariance: Covariance | None
) -> int:
    """Network evaluations per sample that agrees with an observation; a backward pass counts as two.

    Raises:
        LevyError: as ``observe``.
    """
    through = _observe(model, observation, covariance)
    built = OBSERVATION_GUIDES[guide].build(through.seen, model.design.noise, through.covariance, DIRECTIONS)
    return built.evaluations * cost(model, solver)


def data_covariance(model: "Model", folder: Path) -> Covariance:
    """Of a model's training data, float64: of one on EOFs what these and its Gaussian rest say of the fields.

    Raises:
        LevyError: as ``read_covariance``.
    """
    if not model.latent:
        return read_covariance(folder)
    parts = [getattr(model.latent, name).double().flatten(1) for name in ("patterns", "rest")]
    white = model.latent.white.double().flatten() ** 2
    return Covariance(model.latent.mean.double().flatten(), torch.cat(parts).T.contiguous(), white)


@dataclass(frozen=True)
class _Through:
    """An observation and a covariance of what the network makes, and what makes samples of that (of a seed and indices) that agree with it."""

    seen: Observation
    covariance: Covariance | None
    complete: Callable[[torch.Tensor, int, Sequence[int]], torch.Tensor]


def _observe(model: "Model", observation: Observation, covariance: Covariance | None) -> _Through:
    """Of coefficients for a model of those, else as they are."""
    latent, rows = model.latent, observation.operator.rows
    if latent is None:
        return _Through(observation, covariance, lambda drawn, seed, indices: drawn)
    flat = {name: getattr(latent, name).double() for name in ("mean", "rest", "white")}
    rest = Covariance(flat["mean"].flatten(), flat["rest"].flatten(1).T, flat["white"].flatten() ** 2)
    through = ObservedFields(observation, latent.patterns, rest)

    def complete(drawn: torch.Tensor, seed: int, indices: Sequence[int]) -> torch.Tensor:
        fields = decode_samples(model, drawn, [(seed, i) for i in indices])
        return through.complete(fields, Streams.of_samples(seed, "errors", indices).normal((rows,)))

    return _Through(through.of_coefficients, _unit_covariance(model.net.shape), complete)


def _unit_covariance(shape: tuple[int, ...]) -> Covariance:
    """Of whitened coefficients [K]."""
    zeros = torch.zeros(shape, dtype=torch.float64)
    return Covariance(zeros, zeros[:, None][:, :0], zeros + 1)
