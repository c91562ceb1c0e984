"""What conditional samples of a model have to beat: kriging with the same covariance, analogues from the training data, interpolation."""

from math import inf

import numpy as np
import torch
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
from scipy.spatial import QhullError
from torch import Tensor

from levy_core.base.errors import LevyError
from levy_core.base.seeds import BatchStream, generator
from levy_core.observations.covariance import Covariance, check_size
from levy_core.observations.nonlinear import Nonlinear
from levy_core.observations.observation import Observation, inverse_of
from levy_core.observations.operators import CellMeans
from levy_core.process.noise import StudentT


def krige(covariance: Covariance, observation: Observation, seed: int, count: int, degrees: float = inf) -> Tensor:
    """Samples of Gaussian data given an observation, float64 [count, *S]: the exact posterior where data are Gaussian.

    A sample of the data is moved by what its own noisy observation misses of the values (Matheron's rule; Doucet, 2010, A note on
    efficient conditional simulation of Gaussian distributions), so only a matrix [rows, rows] is inverted. Values [N, rows] are for N
    samples.

    Args:
        degrees: of freedom, above 2, of Student-t data: deviations from the same mean are multiplied by the root of
            ``(degrees - 2 + q) / chi2``, q the squared size of the values in units of the covariance, chi2 of degrees + rows degrees of
            freedom. Exact for values without error.

    Of observations that are not linear it is randomised maximum likelihood (Oliver, He and Reynolds, 1996), and no longer exact.

    Raises:
        LevyError: a covariance of another size, values for another number of samples, degrees without a covariance, or of observations
            that are not linear.
    """
    operator = observation.operator
    check_size(covariance, operator)
    if isinstance(operator, Nonlinear) and degrees < inf:
        raise LevyError("Student-t kriging needs observations that are linear, which means behind a transform are not")
    if not degrees > 2:
        raise LevyError(f"Student-t data of {degrees} degrees of freedom have no covariance: more than 2 are expected")
    g = generator(seed, "kriging")
    normal = lambda columns: torch.randn(count, columns, generator=g, dtype=torch.float64)
    drawn = normal(covariance.patterns.shape[1]) @ covariance.patterns.T
    deviation = (drawn + normal(len(covariance.mean)) * covariance.diagonal.sqrt()).view(count, *operator.shape)
    error = normal(operator.rows) * observation.variance.sqrt()
    if isinstance(operator, Nonlinear):
        x0 = covariance.mean.view(1, *operator.shape) + deviation
        return x0 + covariance.apply(
            operator.fit(observation.values - error, observation.variance, x0, covariance.unseen)
        )
    inverse = inverse_of(covariance.observed(operator) + observation.variance.diag())
    project = lambda v: covariance.apply(operator.adjoint(v @ inverse))
    deviation = deviation - project(operator.apply(deviation) + error)
    mean = covariance.mean.view(1, *operator.shape).expand_as(deviation)
    offset = observation.residual(mean)
    if degrees < inf:
        size = ((offset @ inverse) * offset).sum(1)
        whole = degrees + operator.rows
        mixing = StudentT(whole).mixing((1,), BatchStream(count, seed, "kriging"))[:, 0]
        factor = ((degrees - 2 + size) / whole * mixing).sqrt()
        deviation = deviation * factor.view(-1, *[1] * len(operator.shape))
    return mean + project(offset) + deviation


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


def interpolate(operator: CellMeans, values: Tensor, wraps: bool) -> Tensor:
    """Linear between observed cells or centres of blocks, the nearest beyond them; [N, rows] -> [N, C, H, W].

    Args:
        wraps: whether the last column touches the first.

    Raises:
        LevyError: a channel of which nothing was observed.
    """
    channels, height, width = operator.shape
    of = operator.cells[:, 0] // (height * width)
    places = operator.cells % (height * width)
    centre = torch.stack([((part * operator.weights).sum(1)) for part in (places // width, places % width)], 1)
    return torch.stack(
        [_interpolate_one(centre[of == c], values[:, of == c], (height, width), wraps) for c in range(channels)], 1
    )


def _interpolate_one(centre: Tensor, values: Tensor, side: tuple[int, int], wraps: bool) -> Tensor:
    if not len(centre):
        raise LevyError(
            "nothing was observed of a channel, so that there is nothing to interpolate: observe more cells"
        )
    at, seen = centre.numpy(), values.T.numpy()
    if wraps:
        at = np.concatenate([at + np.array([0, turn]) for turn in (-side[1], 0, side[1])])
        seen = np.tile(seen, (3, 1))
    cells = np.stack(np.meshgrid(np.arange(side[0]), np.arange(side[1]), indexing="ij"), -1).reshape(-1, 2)
    filled = NearestNDInterpolator(at, seen)(cells)
    try:
        linear = LinearNDInterpolator(at, seen)(cells)
    except (QhullError, ValueError):  # values in one line, or fewer than three
        linear = np.full_like(filled, np.nan)
    filled = np.where(np.isnan(linear), filled, linear)
    return torch.from_numpy(filled.T.copy()).view(len(values), *side)
