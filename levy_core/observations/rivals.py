"""What conditional samples of a model have to beat: kriging with the same covariance, and analogues from the training data."""

import torch
from torch import Tensor

from levy_core.base.errors import LevyError
from levy_core.base.seeds import generator
from levy_core.observations.covariance import Covariance, check_size
from levy_core.observations.observation import Observation, inverse_of


def krige(covariance: Covariance, observation: Observation, seed: int, count: int) -> Tensor:
    """Samples of Gaussian data given an observation, float64 [count, *S]: the exact posterior where data are Gaussian.

    A sample of the data is moved by what its own noisy observation misses of the values (Matheron's rule; Doucet, 2010, A note on
    efficient conditional simulation of Gaussian distributions), so only a matrix [rows, rows] is inverted. Values [N, rows] are for N
    samples.

    Raises:
        LevyError: a covariance of another size, or values for another number of samples.
    """
    operator = observation.operator
    check_size(covariance, operator)
    g = generator(seed, "kriging")
    normal = lambda columns: torch.randn(count, columns, generator=g, dtype=torch.float64)
    drawn = normal(covariance.patterns.shape[1]) @ covariance.patterns.T
    drawn = covariance.mean + drawn + normal(len(covariance.mean)) * covariance.diagonal.sqrt()
    x = drawn.view(count, *operator.shape)
    error = normal(operator.rows) * observation.variance.sqrt()
    inverse = inverse_of(covariance.observed(operator) + observation.variance.diag())
    weights = (observation.residual(x) - error) @ inverse
    return x + covariance.apply(operator.adjoint(weights))


def find_analogues(fields: Tensor, observation: Observation, count: int) -> Tensor:
    """The training fields [N, *S] whose observed values are nearest to one set of values, in units of their spread: [count, *S].

    Source: Lorenz (1969), Atmospheric predictability as revealed by naturally occurring analogues.

    Raises:
        LevyError: fewer fields than asked for, or several sets of values.
    """
    if count > len(fields) or observation.values.dim() != 1:
        raise LevyError(
            f"{count} analogues of values {list(observation.values.shape)} among {len(fields)} fields: one set of values, [rows], and "
            "no more analogues than fields are expected"
        )
    seen = observation.operator.apply(fields.double())
    unit = seen.std(0)
    distance = (((seen - observation.values) / torch.where(unit > 0, unit, 1.0)) ** 2).sum(1)
    return fields[distance.topk(count, largest=False).indices]
