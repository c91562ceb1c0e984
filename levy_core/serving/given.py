"""Drawing samples that agree with observations, and what kriging draws in their place."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from levy_core.base.conditions import Condition
from levy_core.base.observed import Observed
from levy_core.base.seeds import Streams
from levy_core.observations.coefficients import ObservedFields
from levy_core.observations.conditional import sample_observed
from levy_core.observations.covariance import Covariance
from levy_core.observations.observation import Observation
from levy_core.observations.operators import CellMeans
from levy_core.observations.rivals import krige
from levy_core.sampling.loop import Watch
from levy_core.sampling.solver import Solver
from levy_core.serving.draw import (
    check_guide,
    convert_samples,
    decode_samples,
    draw_in_batches,
    guide_predictor,
    step_table,
)  # fmt: skip

if TYPE_CHECKING:
    from levy_core.training.checkpoint import Model


def observation_of(model: "Model", observed: Observed) -> Observation:
    """What was observed, as the network's samples have it.

    Raises:
        LevyError: too many values, or exact ones that contradict each other.
    """
    seen = CellMeans(model.shape, torch.from_numpy(observed.cells), torch.from_numpy(observed.weights))
    return Observation(seen, torch.from_numpy(observed.values), torch.from_numpy(observed.std))


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
) -> np.ndarray:
    """As ``draw_samples``, of samples that agree with an observation.

    Args:
        guide: towards the observation, a row of ``OBSERVATION_GUIDES``. covariance: of the training data, for interpolation.

    Raises:
        LevyError: as ``draw_samples``, and a guide that lacks something.
    """
    check_guide(model, solver, labels)
    table, predictor, noise = step_table(solver, model.design), guide_predictor(model, solver), model.design.noise
    complete = None
    if model.latent:
        observation, covariance, complete = _observe_coefficients(model, observation)

    def draw(indices: Sequence[int], cond: Condition) -> torch.Tensor:
        drawn = sample_observed(
            predictor, table, noise, observation, seed, indices, cond, guide, covariance, device=device, watch=watch
        )
        return complete(drawn, seed, indices) if complete else drawn

    return draw_in_batches(model, draw, labels, batch)


def krige_given(
    model: "Model", seed: int, n: int, observation: Observation, covariance: Covariance | None
) -> np.ndarray:
    """What kriging with the model's covariance draws in the place of ``draw_given``, [n, C, H, W].

    Args:
        covariance: of the training data; not needed of a model of coefficients.
    """
    if model.latent:
        observation, covariance, complete = _observe_coefficients(model, observation)
        drawn = complete(krige(covariance, observation, seed, n).float(), seed, range(n))
    else:
        assert covariance is not None, "kriging is of a covariance"
        drawn = krige(covariance, observation, seed, n).float()
    return convert_samples(model, drawn.numpy())


def _observe_coefficients(
    model: "Model", observation: Observation
) -> tuple[Observation, Covariance, Callable[[torch.Tensor, int, Sequence[int]], torch.Tensor]]:
    """An observation of fields as one of coefficients, their covariance, and what makes fields of them (of a seed and indices) that agree
    with it."""
    latent, rows = model.latent, len(observation.values)
    assert latent is not None, "fields are made of coefficients"
    flat = {name: getattr(latent, name).double() for name in ("mean", "rest", "white")}
    rest = Covariance(flat["mean"].flatten(), flat["rest"].flatten(1).T, flat["white"].flatten() ** 2)
    through = ObservedFields(observation, latent.patterns, rest)

    def complete(drawn: torch.Tensor, seed: int, indices: Sequence[int]) -> torch.Tensor:
        fields = decode_samples(model, drawn, [(seed, i) for i in indices])
        return through.complete(fields, Streams.of_samples(seed, "errors", indices).normal((rows,)))

    return through.of_coefficients, _unit_covariance(model.net.shape), complete


def _unit_covariance(shape: tuple[int, ...]) -> Covariance:
    """Of whitened coefficients [K]."""
    zeros = torch.zeros(shape, dtype=torch.float64)
    return Covariance(zeros, zeros[:, None][:, :0], zeros + 1)
