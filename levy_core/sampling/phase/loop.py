"""Follows a table whose rows are d x d."""

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from levy_core.base.conditions import Condition, check_one_per_sample, move
from levy_core.base.errors import LevyError, NotFiniteError
from levy_core.base.philox import streams_of_samples
from levy_core.process.noise import Gaussian, Noise, RandomStreams
from levy_core.sampling.guidance import EpsHat
from levy_core.sampling.loop import check_output, gradients_of, not_finite
from levy_core.sampling.phase.integrators import Integrator, tabulate_phase
from levy_core.sampling.phase.process import PhasePath
from levy_core.sampling.phase.tables import BlockTable


def sample_phase(
    predictor: EpsHat,
    path: PhasePath,
    integrator: Integrator,
    steps: int,
    noise: Noise,
    seed: int,
    indices: Sequence[int],
    shape: Sequence[int],
    cond: Condition,
    device: str | torch.device = "cpu",
) -> Tensor:
    """One batch of samples of a trained Gaussian model by way of phase space, float32 [B, *shape] on the CPU.

    Sample i is a function of (seed, indices[i], its condition, path, integrator, steps, predictor) alone, whatever the batch holds.

    Args:
        predictor: eps_hat(u [B, *shape], rho_eff [B], cond), as for ``loop.sample``: no other network is needed.
        steps: network evaluations per sample, at most. noise: the law that the predictor was trained with.
        cond: one row per sample in every entry.

    Raises:
        LevyError: noise other than Gaussian, a condition that does not match, a network that returns another shape, too few steps.
        NotFiniteError: an integrator that blows up in so few steps, or a network that returns a value that is not finite.
    """
    if not isinstance(noise, Gaussian):
        raise LevyError(
            f"a phase path was asked of a model with noise {noise}, but needs gaussian: position and momentum mix, and only of Gaussian "
            "noise is what comes out again noise of the law that the model was trained with; sample this model by its own path"
        )
    check_one_per_sample(cond, len(indices))
    table = tabulate_phase(path, integrator, steps)
    streams = streams_of_samples(seed, "sample", indices, device)
    with gradients_of(predictor):
        return follow(predictor, table, noise, streams, shape, move(cond, device), indices, device).cpu()


def follow(
    predictor: EpsHat,
    table: BlockTable,
    noise: Noise,
    streams: RandomStreams,
    shape: Sequence[int],
    cond: Condition,
    indices: Sequence[int],
    device: str | torch.device = "cpu",
) -> Tensor:
    """Samples [B, *shape] of a table on d components. An ordinary table (``of_step_table``) gives those of ``loop.sample`` bit for bit.

    Raises:
        LevyError, NotFiniteError: as ``sample_phase``.
    """
    d = len(table.start)
    drawn = [noise.sample(shape, streams).to(device) for _ in range(d)]
    z = [_combine(row, drawn) for row in table.start.tolist()]
    newest: deque[Tensor] = deque(maxlen=table.weights.shape[1])
    for k in range(table.nfe):
        level, u = float(table.rho[k]), _combine(table.read[k].tolist(), z)
        eps_hat = predictor(u, torch.full((len(u),), level, device=u.device, dtype=u.dtype), cond)
        check_output(eps_hat, u, k, table, indices)
        newest.appendleft(eps_hat if table.predicts == "noise" else u - level * eps_hat)
        fresh = [noise.sample(shape, streams).to(u) for _ in range(d)] if bool(table.noise[k].any()) else []
        weights = table.weights[k].T.tolist()
        z = [_combine([*keep, *row], [*z, *newest]) for keep, row in zip(table.keep[k].tolist(), weights, strict=True)]
        if fresh:
            z = [y + _combine(row, fresh) for y, row in zip(z, table.noise[k].tolist(), strict=True)]
    if bad := not_finite(z[0]):
        raise NotFiniteError(
            f"{len(bad)} of {len(indices)} samples are NaN or infinite after the last step, the first with index {indices[bad[0]]}: "
            "take more steps"
        )
    return z[0]


def _combine(factors: Sequence[float], parts: Sequence[Tensor]) -> Tensor:
    """``sum_i factors[i] parts[i]``, in order, without parts of factor 0 (which may not be finite); newer predictions may lack."""
    total = parts[0] * factors[0]
    for factor, part in zip(factors[1:], parts[1:], strict=False):
        total = total.add_(part, alpha=factor) if factor else total
    return total
