"""The one sampling loop."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from levy_core.base.conditions import Condition, check_one_per_sample, move
from levy_core.base.errors import LevyError, NotFiniteError
from levy_core.base.philox import streams_of
from levy_core.process.noise import Noise, RandomStreams
from levy_core.process.parametrisation import broadcast, check_shape
from levy_core.sampling.guidance import EpsHat
from levy_core.sampling.limits import LIMITS
from levy_core.sampling.solver import StepTable

Watch = Callable[[int, Tensor], None]
Select = Callable[[int, Tensor], Tensor | None]


def sample(
    predictor: EpsHat,
    table: StepTable,
    noise: Noise,
    seed: int | Sequence[int],
    indices: Sequence[int],
    shape: Sequence[int],
    cond: Condition,
    device: str | torch.device = "cpu",
    watch: Watch | None = None,
) -> Tensor:
    """One batch of samples, float32 [B, *shape] on the CPU.

    Sample i is a function of (seed, indices[i], its condition, table, noise, predictor) alone, whatever the batch holds,
    and of the kind of device: a GPU draws noise of its own (``base.philox``). A predictor with a true ``needs_gradient`` may ask for gradients (``torch.enable_grad``), for example of a guide.
    Memory does not grow with the steps, but for the posterior family with one mixing variable per coordinate.

    Args:
        predictor: eps_hat(y [B, *shape], rho [B], cond). For Student-t noise and a table that injects noise it also
            has ``mixing`` (``param.Predictor``), E[A | y]: fresh noise is Gaussian with that variance. Then the SDE
            keeps the flow's marginals p(y), because ``grad(E[A | y] p) = -eps_hat p / rho``; a constant variance would
            change the law (the state-dependent diffusion of arXiv 2606.01645).
        seed: of all samples, or one for each.
        cond: one row per sample in every entry, as the predictor understands them.
        watch: is shown the step and x0_hat [B, *shape] of each evaluation.

    Raises:
        LevyError: a condition that does not match; noise that the table cannot inject; a network that returns another shape.
        NotFiniteError: it returns a value that is not finite (names the step, rho and the samples).
    """
    check_one_per_sample(cond, len(indices))
    seeds = seed if isinstance(seed, Sequence) else [seed] * len(indices)
    streams = streams_of([(s, "sample", int(i)) for s, i in zip(seeds, indices, strict=True)], device)
    with gradients_of(predictor):
        y, draw = begin(table, noise, streams, shape, device)
        return solve(predictor, table, noise, streams, y, move(cond, device), indices, draw, watch).cpu()


def gradients_of(predictor: EpsHat) -> torch.inference_mode | torch.no_grad:
    """The context in which a predictor samples; one with a true ``needs_gradient`` may ask for gradients inside."""
    return torch.no_grad() if getattr(predictor, "needs_gradient", False) else torch.inference_mode()


def evaluations(table: StepTable, noise: Noise) -> int:
    """Network evaluations per sample: one per row, two where noise of a whole path's law comes back."""
    again = table.noise > 0 if noise.refresh == "path" else torch.zeros(0)
    return table.nfe + int(again.sum())


def begin(
    table: StepTable, noise: Noise, streams: RandomStreams, shape: Sequence[int], device: str | torch.device = "cpu"
) -> tuple[Tensor, "AncestralPath | None"]:
    """Where a table starts: y [B, *shape], and the coefficients of the posterior family, drawn with it.

    Raises:
        LevyError: the posterior family with noise whose mixing variable belongs to the whole path.
    """
    if table.jumps is None:
        return (float(table.rho[0]) * table.boost * noise.sample(shape, streams)).to(device), None
    if noise.refresh == "path":
        raise LevyError(f"{noise} has one mixing variable per path, so it has no posterior form: choose ode or sde-e")
    draw = AncestralPath(table.jumps, noise, streams, shape, device)
    return (table.boost * draw.start(streams.normal(shape))).to(device), draw


def solve(
    predictor: EpsHat,
    table: StepTable,
    noise: Noise,
    streams: RandomStreams,
    y: Tensor,
    cond: Condition,
    indices: Sequence[int],
    draw: "AncestralPath | None" = None,
    watch: Watch | None = None,
    select: Select | None = None,
) -> Tensor:
    """Follows the table from y [B, *S] of any floating type on any device. Arguments and errors: ``sample``.

    Args:
        select: is shown the step and x0_hat [B, *S] of each evaluation, and may say which B rows go on, int64 [B]; each takes the noise of
            the place that it comes to. Not for the posterior family, whose coefficients belong to the places.
    """
    limit, shape = LIMITS[table.limit], y.shape[1:]
    largest, holds = float(table.weights.abs().max()), torch.finfo(y.dtype).max
    if not largest <= holds:  # torch refuses such a factor, rather than returning infinity
        raise NotFiniteError(f"a step multiplies by {largest:.3g}, and {y.dtype} holds {holds:.3g} at most: lower eta")
    newest: deque[Tensor] = deque(maxlen=table.weights.shape[1])
    for k in range(table.nfe):
        level = float(table.rho[k])
        rho = torch.full((len(y),), level, device=y.device, dtype=y.dtype)
        eps_hat = predictor(y, rho, cond)
        check_output(eps_hat, y, k, table, indices)
        if limit is not None or watch is not None or select is not None or table.predicts == "data":
            x0 = y - level * eps_hat
            if limit is not None:
                x0 = limit(x0)
                eps_hat = (y - x0) / level
        if watch is not None:
            watch(k, x0)
        newest.appendleft(eps_hat if table.predicts == "noise" else x0)
        if select is not None and (rows := select(k, x0)) is not None:
            y, eps_hat, cond = y[rows], eps_hat[rows], {name: values[rows] for name, values in cond.items()}
            newest = deque((h[rows] for h in newest), maxlen=newest.maxlen)
        if draw is not None:
            y = draw.advance(k, y, level * eps_hat, streams.normal(shape))
            continue
        strength = float(table.noise[k])
        fresh = _draw_noise(predictor, noise, streams, y, rho, cond, eps_hat) * strength if strength > 0 else None
        y = apply_row(table, k, y, newest)
        y = y if fresh is None else y.add_(fresh)
    bad = not_finite(y)
    if bad:
        raise NotFiniteError(
            f"{len(bad)} of {len(indices)} samples are NaN or infinite after the last step, the first with index "
            f"{indices[bad[0]]}: start at a smaller rho_max, or give a limit"
        )
    return y


def apply_row(table: StepTable, k: int, y: Tensor, newest: Iterable[Tensor]) -> Tensor:
    """y after row k, without its fresh noise, from the newest predictions, newest first."""
    y = y * float(table.keep[k])
    for weight, prediction in zip(table.weights[k].tolist(), newest, strict=False):
        y = y.add_(prediction, alpha=weight) if weight else y
    return y


def _draw_noise(
    predictor: EpsHat, noise: Noise, streams: RandomStreams, y: Tensor, rho: Tensor, cond: Condition, eps_hat: Tensor
) -> Tensor:
    shape = y.shape[1:]
    if noise.refresh == "step":
        return noise.sample(shape, streams).to(y)
    mixing = getattr(predictor, "mixing", None)
    if mixing is None:
        raise LevyError(
            f"noise of {noise} comes back with the variance E[A | y], which this predictor does not give: sample with ode, "
            "or give the predictor a method `mixing`"
        )
    probe = torch.sign(streams.normal(shape)).to(y)
    return broadcast(mixing(y, rho, cond, eps_hat, probe), y).sqrt() * streams.normal(shape).to(y)


def not_finite(eps_hat: Tensor) -> list[int]:
    """Rows of [B, *S] with a NaN or an infinity: one pass; only a sum that is not finite is looked into."""
    if torch.isfinite(eps_hat.sum()):
        return []
    return torch.nonzero(~torch.isfinite(eps_hat).flatten(1).all(1)).flatten().tolist()


class LevelTable(Protocol):
    """A table, as far as messages about its rows go."""

    @property
    def rho(self) -> Tensor: ...

    @property
    def nfe(self) -> int: ...


def check_output(eps_hat: Tensor, y: Tensor, k: int, table: LevelTable, indices: Sequence[int]) -> None:
    """Refuses what a network returned at row k, if its shape is another or its values are not finite."""
    check_shape(eps_hat, y)
    bad = not_finite(eps_hat)
    if bad:
        raise NotFiniteError(
            f"the network returned NaN or infinity at step {k + 1} of {table.nfe} (rho = {float(table.rho[k]):.4g}) for "
            f"{len(bad)} of {len(indices)} samples, the first with index {indices[bad[0]]}: look at the training loss"
        )


class AncestralPath:
    """Coefficients of the posterior family, from the mixing variables of the whole path.

    With V_k the variance of y_k given x_0 and the mixing variables, V' the next one and ``Gamma = 1 - V' / V``:
    ``y' = y - Gamma rho eps_hat + sqrt(Gamma V') z``. Source: Shariatian et al. (arXiv 2407.18609), DLPM; DDPM at p = 2.
    """

    def __init__(
        self, jumps: Tensor, noise: Noise, streams: RandomStreams, shape: Sequence[int], device: str | torch.device
    ) -> None:
        terms = torch.stack([jump * noise.mixing(shape, streams) for jump in jumps])
        self._variance = terms.flip(0).cumsum(0).flip(0).to(device)  # from the small end: no cancellation

    def start(self, z: Tensor) -> Tensor:
        """y_0 given the mixing variables."""
        return z * self._variance[0].sqrt().to(z)

    def advance(self, k: int, y: Tensor, rho_eps: Tensor, z: Tensor) -> Tensor:
        """The posterior of the next level, with x_0 in the place of y - rho eps_hat."""
        now, after = self._variance[k], self._variance[k + 1]
        gamma = 1 - after / now
        return y - gamma.to(y) * rho_eps + (gamma * after).sqrt().to(y) * z.to(y)
