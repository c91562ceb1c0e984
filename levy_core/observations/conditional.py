"""Samples given observations, and the scale step for extreme ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import torch
from torch import Tensor

from levy_core.base.conditions import Condition
from levy_core.base.errors import LevyError
from levy_core.observations.covariance import Covariance, check_size
from levy_core.observations.guides import DIRECTIONS, observe
from levy_core.observations.observation import Observation, inverse_of
from levy_core.process.noise import Noise
from levy_core.sampling.guidance import EpsHat
from levy_core.sampling.loop import Watch, sample
from levy_core.sampling.solver import StepTable


@dataclass(frozen=True)
class Tails:
    """What the scale step has to be told of the data.

    Args:
        degrees: of freedom of their tails (nu of a multivariate Student-t law).
        bounded: values have an end, as rain has at 0. skewed: large and small values are unlike.

    Raises:
        LevyError: degrees of freedom that are no positive, finite number.
    """

    degrees: float
    bounded: bool
    skewed: bool

    def __post_init__(self) -> None:
        if not 0 < self.degrees < inf:
            raise LevyError(
                f"the tails have {self.degrees} degrees of freedom, but must have a positive, finite number"
            )


def rescale(observation: Observation, covariance: Covariance, tails: Tails) -> tuple[Observation, Tensor]:
    """An observation of usual size, and the factor c [1] or [N] by which samples of it, less the mean, are multiplied.

    An extreme observation says that the field's own scale is large, which no guide can tell x0_hat.
    ``c^2 = (nu + q) / (nu + m)``, q the squared size of the m observed values about the mean. For Student-t data the mean stays
    exact and the width becomes too large by at most the root of ``1 + nu / (nu + m)``.

    Raises:
        LevyError: bounded or skewed data, for which multiples of a sample are no samples; several sets of values with error.
    """
    if tails.bounded or tails.skewed:
        raise LevyError(
            f"samples cannot be rescaled where the data are {'bounded' if tails.bounded else 'skewed'}: multiples of a "
            "sample are none; leave rescaling out"
        )
    if observation.values.dim() == 2 and not observation.exact.all():
        raise LevyError(
            "several sets of values with a std above 0 cannot be rescaled together, as each has its own factor: "
            "draw for one set, [rows], at a time"
        )
    check_size(covariance, observation.operator)
    expected = observation.operator.apply(covariance.mean.view(1, *observation.operator.shape))
    offset = torch.atleast_2d(observation.values) - expected
    inverse = inverse_of(covariance.observed(observation.operator) + observation.variance.diag())
    size = ((offset @ inverse) * offset).sum(1)
    c = ((tails.degrees + size) / (tails.degrees + observation.operator.rows)).sqrt()
    values = expected + offset / c[:, None]
    usual = values[0] if observation.values.dim() == 1 else values
    return replace(observation, values=usual, std=torch.as_tensor(observation.std) / c[0]), c


def sample_observed(
    predictor: EpsHat,
    table: StepTable,
    noise: Noise,
    observation: Observation,
    seed: int | Sequence[int],
    indices: Sequence[int],
    cond: Condition,
    guide: str = "interpolation",
    covariance: Covariance | None = None,
    directions: int = DIRECTIONS,
    tails: Tails | None = None,
    device: str | torch.device = "cpu",
    watch: Watch | None = None,
) -> Tensor:
    """One batch of samples that agree with an observation, float32 [B, *S] on the CPU; as ``sample`` otherwise.

    Exact values are met where the table ends at rho = 0.

    Args:
        guide, covariance, directions: see ``observe``.
        tails: of the data; given, samples are drawn by ``rescale``, which needs the covariance.

    Raises:
        LevyError: as ``observe``, ``rescale`` and ``sample``; values for another number of samples.
    """
    shape = observation.operator.shape
    if observation.values.dim() == 2 and len(observation.values) != len(indices):
        raise LevyError(
            f"values were observed for {len(observation.values)} samples, but {len(indices)} are drawn: give one row per sample"
        )
    if tails is None:
        guided = observe(predictor, observation, noise, guide, covariance, directions)
        return sample(guided, table, noise, seed, indices, shape, cond, device, watch)
    if covariance is None:
        raise LevyError(
            "rescaling needs the data's covariance, about whose mean it multiplies: give one by fit_covariance"
        )
    usual, c = rescale(observation, covariance, tails)
    guided = observe(predictor, usual, noise, guide, covariance, directions)
    drawn = sample(guided, table, noise, seed, indices, shape, cond, device, watch)
    mean = covariance.mean.view(shape)
    return (mean + c.view(-1, *[1] * len(shape)) * (drawn - mean)).float()
