"""Step tables fitted to a model: few evaluations without another training.

A row of a table is linear in y and in the predictions so far, so its weights follow by least squares from a fine solution of the same
starts; row after row, so that later rows see the errors that the table itself has made. The levels are those that leave the least
error at the end. Nothing is asked of the noise but draws of it, so every law goes.

Kin, which train with gradients: S4S (arXiv 2502.17423), LD3 (2405.15506). A row that weighs all predictions contains mixed orders
(USF, 2312.07243), old predictions (DualFast, 2506.13058) and correctors (UniC, 2302.04867).
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from levy_core.base.conditions import Condition, move, rows_of
from levy_core.base.errors import LevyError, NotFiniteError
from levy_core.base.seeds import Streams
from levy_core.process.noise import Noise
from levy_core.process.parametrisation import check_shape
from levy_core.process.schedule import Schedule
from levy_core.sampling.grids import extent
from levy_core.sampling.guidance import GUIDES, EpsHat
from levy_core.sampling.limits import LIMITS
from levy_core.sampling.loop import apply_row, gradients_of, not_finite
from levy_core.sampling.solver import MOST_FITTED, ROUNDING, Solver, format_rows, guide_evaluations, tabulate

FINE = 40  # evaluations of the fine solution
BEGIN = (0, 0.125, 0.25, 0.5)  # its first levels, in its later steps: the first of a multistep method are of low order
LAST = 0.1  # the last level from which a search begins beside that of the solver
COORDINATES = 1024  # of a sample that are fitted to, at most: of 512 starts more would take gigabytes
LEAST_TRIALS = 3  # of a search that is asked for
MOVE = 0.4  # first move of the search for levels, in log(rho / rho' - 1)
TINY = 1e-12  # the least spread of data
REFUSED = 2.0  # the error, at most 1, of levels that cost too much or leave the schedule


@dataclass(frozen=True)
class Fit:
    """A solver with a fitted table, what it leaves, and what it took.

    Attributes:
        error: mean over the starts of ``min(1, |x - x_fine| / scale)**2``, scale being the median distance of a sample from the mean.
        evaluations: of the network, each for one sample; those of the fine solution, which all ends share, stand at the first.
    """

    solver: Solver
    error: float
    evaluations: int


def fit_evaluations(solver: Solver, starts: int, ends: int, trials: int) -> int:
    """What ``fit`` takes at most: evaluations of the network, each for one sample."""
    each = GUIDES[solver.guide].evaluations(solver.strength)
    return starts * each * (FINE + ends * (max(trials, LEAST_TRIALS) + 1) * solver.steps)


def check_fits(solver: Solver) -> None:
    """Refuses a solver without a fitted form.

    Raises:
        LevyError: says what it would need.
    """
    if not solver.has_fitted_form:
        raise LevyError(
            f"{solver.label} in {solver.steps} steps has no fitted table: that takes the ode, without boost, in {MOST_FITTED} steps at most of one "
            "evaluation each"
        )


def fit(
    predictor: EpsHat,
    solver: Solver,
    schedule: Schedule,
    noise: Noise,
    seed: int,
    shape: Sequence[int],
    cond: Condition,
    ends: Sequence[float],
    trials: int,
    batch: int = 500,
    device: str | torch.device = "cpu",
    fitted_to: str | None = None,
) -> list[Fit]:
    """Tables with the start, guide, limit and steps of a solver, and at most its evaluations. Equal arguments give equal tables.

    Args:
        predictor: eps_hat(y [B, *shape], rho [B], cond), with the guide of the solver.
        seed: of the noise of the starts. cond: one row per start in every entry, of which there is at least one.
        ends: where the fine solution takes x0_hat for the sample, one table for each. Of an exact predictor the lowest is right; a network's
            last details may be worse than none.
        trials: tables that each search for levels may try. batch: rows that the network sees at a time.
        fitted_to: hash of the model, which the solver then carries.

    Raises:
        LevyError: as ``check_fits``; a condition without rows; an end, or a level of the solver, that the schedule does not reach; a network that returns another shape.
        NotFiniteError: it returns NaN or infinity.
    """
    check_fits(solver)
    first, (high, low) = tabulate(solver, schedule).rho[: solver.steps].tolist(), extent(schedule)
    low /= ROUNDING
    for end in ends:
        if not low <= end < first[0]:
            raise LevyError(
                f"a fine solution from rho {first[0]:.4g} cannot end at {end:.4g}: the schedule goes from {high:.4g} to {low:.4g}"
            )
    if first[-1] < low:
        raise LevyError(
            f"{solver.label} asks the network at rho {first[-1]:.4g}, but the schedule goes from {high:.4g} to {low:.4g}: raise rho_min"
        )
    rows = len(next(iter(cond.values()), ()))
    if not rows:
        raise LevyError("the condition has no rows: give one entry at least, with one row for each start")
    y = first[0] * noise.sample(shape, Streams.of_samples(seed, "fit", range(rows))).to(device)
    with gradients_of(predictor):
        starts = _Starts(predictor, solver, y, move(cond, device), batch)
        fine, found, before = _Fine(starts, schedule, first[0], min(ends)), [], 0
        for end in ends:
            table, left = _fit(starts, fine, fine.target(end), first, trials, low)
            fitted = Solver(
                "ode", "fitted", "fitted", solver.steps, rho_min=end, limit=solver.limit, guide=solver.guide, strength=solver.strength,
                guide_rho_max=solver.guide_rho_max, guide_rho_min=solver.guide_rho_min, rows=format_rows(table), fitted_to=fitted_to,
            )  # fmt: skip
            found.append(Fit(fitted, left, starts.evaluations - before))
            before = starts.evaluations
    return found


@dataclass
class _Starts:
    """Samples y [n, *S] at their first level, and how the network sees them; counts what it is asked."""

    predictor: EpsHat
    solver: Solver
    y: Tensor
    cond: Condition
    batch: int
    evaluations: int = 0

    def cost(self, levels: Sequence[float]) -> int:
        """Evaluations of one prediction at each of the levels."""
        return len(levels) + guide_evaluations(self.solver, torch.tensor(levels))

    def predict(self, y: Tensor, rho: float) -> Tensor:
        """x0_hat [n, *S], limited."""
        parts, limit = [], LIMITS[self.solver.limit]
        for start in range(0, len(y), self.batch):
            rows = slice(start, start + self.batch)
            level = torch.full((len(y[rows]),), rho, device=y.device, dtype=y.dtype)
            eps_hat = self.predictor(y[rows], level, rows_of(self.cond, rows))
            check_shape(eps_hat, y[rows])
            if not_finite(eps_hat):
                raise NotFiniteError(
                    f"the network returned NaN or infinity at rho = {rho:.4g}: look at the training loss"
                )
            x0 = y[rows] - rho * eps_hat
            parts.append(x0 if limit is None else limit(x0))
        self.evaluations += self.cost([rho]) * len(y)
        return torch.cat(parts)

    def seen(self, x: Tensor) -> Tensor:
        """The coordinates that are fitted to, float64 [n, c]: evenly spaced by an odd number, which in rows of 64 or 128 values leaves none out."""
        flat = x.flatten(1)
        return flat[:, :: -(-flat.shape[1] // COORDINATES) | 1].cpu().double()


class _Fine:
    """A fine solution of the flow, known at any level by Hermite's cubic in log rho; ``first`` is x0_hat [n, *S] at the starts."""

    def __init__(self, starts: _Starts, schedule: Schedule, high: float, low: float):
        places = [*BEGIN, *range(1, FINE - len(BEGIN) + 1)]
        grid = tuple(high * (low / high) ** (place / places[-1]) for place in places)
        path = Solver("ode", "3m-data", (*grid, 0.0), FINE)
        table, y, newest = tabulate(path, schedule), starts.y, deque[Tensor](maxlen=3)
        self._rho, self._states, self._slopes = table.rho[:-1].tolist(), [], []
        for k, rho in enumerate(self._rho):
            newest.appendleft(starts.predict(y, rho))
            if k == 0:
                self.first = newest[0]
            self._states.append(starts.seen(y))
            self._slopes.append(self._states[-1] - starts.seen(newest[0]))  # dy / d log rho
            y = apply_row(table, k, y, newest)

    def target(self, end: float) -> Tensor:
        """x0_hat [n, c] at the level that is nearest to ``end``."""
        k = min(range(len(self._rho)), key=lambda k: abs(log(self._rho[k] / end)))
        return self._states[k] - self._slopes[k]

    def at(self, rho: float) -> Tensor:
        """y [n, c] at a level."""
        after = min(max(sum(level >= rho for level in self._rho), 1), len(self._rho) - 1)
        i, h = after - 1, log(self._rho[after] / self._rho[after - 1])
        s = min(log(rho / self._rho[i]) / h, 1.0)
        return (
            (1 + 2 * s) * (1 - s) ** 2 * self._states[i]
            + s * (1 - s) ** 2 * h * self._slopes[i]
            + s**2 * (3 - 2 * s) * self._states[i + 1]
            + s**2 * (s - 1) * h * self._slopes[i + 1]
        )


Fitted = tuple[list[list[float]], float]  # rows of a table, each level, keep and weights; and the error that it leaves


def _fit(starts: _Starts, fine: _Fine, target: Tensor, first: list[float], trials: int, low: float) -> Fitted:
    """The best table of those that a search for levels from ``first`` on tries: above ``low``, and for no more evaluations."""
    most, tried = starts.cost(first), dict[tuple[float, ...], Fitted]()

    def error(levels: list[float]) -> float:
        if (key := tuple(levels)) not in tried:
            allowed = starts.cost(levels) <= most and levels[-1] >= low
            tried[key] = _follow(starts, fine, target, levels) if allowed else ([], REFUSED)
        return tried[key][1]

    best = _search(error, first, trials) if trials else first
    error(best)
    return tried[tuple(best)]


def _follow(starts: _Starts, fine: _Fine, target: Tensor, levels: list[float]) -> Fitted:
    """A table on levels, the first of which is that of the starts: each row level, keep and the weights of the predictions, newest first.

    Weighted least squares, ``1 / (rho' / scale + 1 + |y| / rho)``, which stay finite for every law: far out in a heavy tail a step
    can only be right relative to y.
    """
    scale = max(float((target - target.mean(0)).square().mean(1).sqrt().median()), TINY)
    y, table, predictions, seen = starts.y, list[list[float]](), deque[Tensor](), deque[Tensor]()
    for rho, after in zip(levels, [*levels[1:], 0.0], strict=True):
        predictions.appendleft(starts.predict(y, rho) if table else fine.first)
        seen.appendleft(starts.seen(predictions[0]))
        columns = torch.stack([starts.seen(y), *seen], -1)
        size = columns[..., 0].square().mean(1, keepdim=True).sqrt()
        weight = 1 / (after / scale + 1 + size / rho)
        wanted = fine.at(after) if after else target
        weighted = (columns * weight[..., None]).flatten(0, 1)
        row = np.linalg.lstsq(weighted.numpy(), (wanted * weight).flatten().numpy(), rcond=1e-9)[0].tolist()
        table.append([rho, *row])
        y = y * row[0]
        for factor, prediction in zip(row[1:], predictions, strict=True):
            y = y.add_(prediction, alpha=factor)
    away = (starts.seen(y) - target).square().mean(1) / scale**2
    return table, float(away.clamp(max=1).mean())


def _search(error: Callable[[list[float]], float], first: list[float], trials: int) -> list[float]:
    """Levels with the same start that leave the least error, by Nelder and Mead's simplex in log(rho / rho' - 1)."""
    if len(first) == 1:
        return first

    def levels(x: np.ndarray) -> list[float]:
        found = [first[0]]
        for gap in np.exp(x.clip(-8, 12)):
            found.append(found[-1] / (1 + float(gap)))
        return found

    begin = np.array([log(a / b - 1) for a, b in pairwise(first)])
    even = np.full(len(begin), log((first[0] / LAST) ** (1 / len(begin)) - 1)) if first[0] > LAST else begin
    x = min((begin, even), key=lambda x: error(levels(x)))
    simplex = np.vstack([x, x + MOVE * np.eye(len(x))])
    options = {"maxfev": max(LEAST_TRIALS, trials) - 2, "initial_simplex": simplex, "xatol": 1e-3, "fatol": 1e-7}
    return levels(minimize(lambda x: error(levels(x)), x, method="Nelder-Mead", options=options).x)
