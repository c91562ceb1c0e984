"""A sampler setting, and the table that it stands for on a schedule."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from math import inf, isfinite

import torch
from torch import Tensor

from levy_core.base.errors import LevyError, choose
from levy_core.process.schedule import Schedule
from levy_core.sampling.grids import GRIDS, Levels, custom, extent
from levy_core.sampling.guidance import GUIDES, Interval
from levy_core.sampling.limits import LIMITS
from levy_core.sampling.steps import DISCRETISATIONS, FAMILIES, Process, Weights, discretisations_of, fits

# name -> eta of each of n steps, as shares of the largest; float64 [n]
ETA_SCHEDULES: dict[str, Callable[[int], Tensor]] = {
    "constant": lambda n: torch.ones(n, dtype=torch.float64),
    # noise added on the last step is never removed
    "quiet-end": lambda n: torch.cat([torch.ones(n - 1), torch.zeros(1)]).double(),
    "falling": lambda n: torch.linspace(1, 0, n, dtype=torch.float64) if n > 1 else torch.zeros(1).double(),
}


ROUNDING = 1 + 1e-6  # of levels in text
MOST_FITTED = 8  # rows of a fitted table: with more, multistep weights are as good


@dataclass(frozen=True)
class Solver:
    """Family x discretisation x grid x steps x eta. Its ``label`` is how tables and plots name it; with ``steps`` it is unique.

    Args:
        grid: a name, or levels of one's own (rho, falling, the last 0 or above): these have their ends already.
        steps: network evaluations per sample. Heun spends two per step, but one on a step to rho = 0; where the number does not
            come out even, the last step above rho = 0 is an Euler step with one.
        eta: strength of the noise that comes back; ignored by families without it.
        eta_schedule: how eta changes along the path.
        rho_max, rho_min: where the grid starts and ends; None: the schedule's own ends. A fitted table has no rho_max, and as rho_min the level
            at which the solution ended that it was fitted to.
        denoise: a last step from the grid's end to rho = 0, counted in ``steps``; it is the flow's, without noise.
        limit: of x0_hat (``limits``).
        guide: of the predictor (``guidance``). strength: of the guide; ignored by the guide none.
        guide_rho_max, guide_rho_min: the guide acts where ``guide_rho_min < rho <= guide_rho_max``; None: no end. Ignored
            by the guide none and at strength 1, which is the predictor's own.
        rows: of a table that was fitted to a model, as ``format_rows`` writes them; it brings its levels, ends at rho = 0 and has ``fitted`` as
            discretisation and grid. fitted_to: hash of the model that it was fitted to.
        boost: factor of the noise where sampling starts. Other than 1 it changes the law that is sampled: a heuristic for rare
            things in data without labels (Boost-and-Skip, arXiv 2502.06516), together with a lower rho_max.

    Raises:
        LevyError: an unknown name, two that do not fit, a number out of range, or a grid that does not fall.
    """

    family: str
    discretisation: str
    grid: str | tuple[float, ...]
    steps: int
    eta: float = 0.0
    eta_schedule: str = "constant"
    rho_max: float | None = None
    rho_min: float | None = None
    denoise: bool = False
    limit: str = "none"
    guide: str = "none"
    strength: float = 0.0
    guide_rho_max: float | None = None
    guide_rho_min: float | None = None
    boost: float = 1.0
    rows: str | None = None
    fitted_to: str | None = None

    def __post_init__(self) -> None:
        family = choose("solver", self.family, FAMILIES)
        choose("discretisation", self.discretisation, DISCRETISATIONS)
        choose("eta schedule", self.eta_schedule, ETA_SCHEDULES)
        choose("limit", self.limit, LIMITS)
        choose("guide", self.guide, GUIDES)
        if not 0 <= self.strength <= torch.finfo(torch.float32).max:
            raise LevyError(
                f"strength is {self.strength}, but a guide's must be a finite number of at least 0 (of float32)"
            )
        if not 0 < self.boost < inf:
            raise LevyError(
                f"boost is {self.boost}, but the factor of the starting noise must be a positive, finite number"
            )
        if self.guide == "none":  # so that equal samplers compare and hash equal
            object.__setattr__(self, "strength", 0.0)
        if self.guide == "none" or self.strength == 1:
            object.__setattr__(self, "guide_rho_max", None)
            object.__setattr__(self, "guide_rho_min", None)
        if not fits(self.family, self.discretisation):
            raise LevyError(
                f"{self.family} has no {self.discretisation} form: choose {' or '.join(discretisations_of(self.family))}"
            )
        if "fitted" in (self.grid, self.discretisation) or self.rows is not None:
            self._check_rows()
        elif isinstance(self.grid, str):
            choose("grid", self.grid, GRIDS)
        elif self.denoise or self.rho_max is not None or self.rho_min is not None:
            raise LevyError(
                f"the grid is levels of your own, {self.grid}, beside "
                f"{'denoise' if self.denoise else 'rho_max' if self.rho_max is not None else 'rho_min'}: give its first and "
                "last level in the grid itself, with 0 as the last for a step to clean data, and leave these three out"
            )
        for name, end in (("rho_max", self.rho_max), ("rho_min", self.rho_min)):
            if end is not None and not 0 < end < inf:
                raise LevyError(
                    f"{name} is {end}, but must be a positive, finite rho, or None for the schedule's own; "
                    "for a last step to rho = 0 set denoise"
                )
        for name, end in (("guide_rho_max", self.guide_rho_max), ("guide_rho_min", self.guide_rho_min)):
            if end is not None and not 0 < end < inf:
                raise LevyError(f"{name} is {end}, but must be a positive, finite rho, or None for no end")
        if not self.guided.low < self.guided.high:
            raise LevyError(
                f"the guide would act from guide_rho_max {self.guide_rho_max} to guide_rho_min {self.guide_rho_min}: "
                "give guide_rho_min < guide_rho_max"
            )
        if self.steps < 1 + self.denoise:
            raise LevyError(
                f"steps is {self.steps}, but a sampler{' with denoise' * self.denoise} takes at least {1 + self.denoise} step"
            )
        most = family.most_eta
        if not 0 <= self.eta < inf or (most is not None and self.eta > most):
            limit = "a finite number of at least 0" if most in (None, inf) else f"between 0 and {most:g}"
            raise LevyError(f"eta is {self.eta}, but for {self.family} must be {limit}")
        if most is None or self.eta == 0:  # so that equal samplers compare and hash equal
            object.__setattr__(self, "eta", 0.0)
            object.__setattr__(self, "eta_schedule", "constant")

    def _check_rows(self) -> None:
        if self.rows is None or (self.discretisation, self.grid) != ("fitted", "fitted"):
            raise LevyError(
                "fitted is the discretisation and the grid of a table that was fitted to one model, and comes with its rows: the stage "
                "tune makes it where tune.discretisations names it, or levy_core.sampling.fitting"
            )
        if self.denoise or self.rho_max is not None:
            raise LevyError("a fitted table has its levels and ends at rho = 0: leave out rho_max and denoise")
        if not isinstance(self.rows, str):
            raise LevyError(
                f"the rows of a fitted table are text, as format_rows writes it, but here a {type(self.rows).__name__}"
            )
        rows = parse_rows(self.rows)
        if self.rho_min is not None and not self.rho_min < rows[0][0]:
            raise LevyError(
                f"rho_min is {self.rho_min:g}, but the fitted table starts at {rows[0][0]:g}: what it was fitted to ended below, run tune again"
            )
        if len(rows) != self.steps:
            raise LevyError(
                f"the fitted table has {len(rows)} rows, but steps is {self.steps}: leave steps as the table has them"
            )

    @property
    def fitted_rows(self) -> tuple[tuple[float, ...], ...]:
        """Of a fitted table: level, keep and weights of each row; else none."""
        return parse_rows(self.rows) if self.rows else ()

    def unfitted(self) -> "Solver":
        """The solver itself; of a fitted table the multistep one of the same start, limit, guide and steps, which goes with any model.

        It ends where the solution ended that the table was fitted to (``rho_min``): the table's own last level is often too high for other weights.
        """
        rows = self.fitted_rows
        if not rows:
            return self
        return replace(
            self, discretisation="2m-data", grid="uniform-log-rho", rows=None, fitted_to=None, rho_max=rows[0][0],
            rho_min=self.rho_min or (rows[-1][0] if len(rows) > 1 else None), denoise=len(rows) > 1,
        )  # fmt: skip

    @property
    def has_fitted_form(self) -> bool:
        """Whether a table can be fitted in its place: of the ode, without boost, of ``MOST_FITTED`` steps at most of one evaluation each."""
        one = DISCRETISATIONS[self.discretisation].evaluations == 1
        return self.family == "ode" and self.boost == 1 and one and self.steps <= MOST_FITTED

    @property
    def uses_eta(self) -> bool:
        """Whether eta changes this solver."""
        return FAMILIES[self.family].most_eta is not None

    @property
    def guided(self) -> Interval:
        """Where the guide acts."""
        return Interval(self.guide_rho_max or inf, self.guide_rho_min or 0.0)

    @property
    def form(self) -> str:
        """What happens in a step, for example ``SDE-E(0.5, falling) ei-noise``."""
        changing = f", {self.eta_schedule}" if self.eta_schedule != "constant" else ""
        family = self.family.upper() + (f"({self.eta:.4g}{changing})" if self.uses_eta else "")
        return f"{family} {self.discretisation}"

    @property
    def path(self) -> str:
        """Which levels the steps visit, what is done to x0_hat, the guide and the boost, for example ``karras, rho from 20 to 0.03, last to 0, clamp``."""
        own = [row[0] for row in self.fitted_rows] or ([] if isinstance(self.grid, str) else self.grid)
        grid = "levels " + " ".join(f"{rho:.4g}" for rho in own) if own else self.grid
        rho = _range(", rho", self.rho_max, self.rho_min)
        acts = _range(" at rho", self.guide_rho_max, self.guide_rho_min)
        guide = f", {self.guide} {self.strength:.4g}{acts}" if self.guide != "none" else ""
        boost = f", boost {self.boost:.4g}" if self.boost != 1 else ""
        return f"{grid}{rho}{', last to 0' * self.denoise}{f', {self.limit}' * (self.limit != 'none')}{guide}{boost}"

    @property
    def label(self) -> str:
        """For example ``SDE-E(0.5) ei-noise, uniform-t``."""
        return f"{self.form}, {self.path}"

    @property
    def ends_at_0(self) -> bool:
        """Whether the last step goes to clean data."""
        return self.denoise or self.rows is not None or (not isinstance(self.grid, str) and self.grid[-1:] == (0,))

    def levels(self, schedule: Schedule) -> Levels:
        """The grid on a schedule.

        Raises:
            LevyError: levels that do not fall, another number of them than ``steps`` evaluations visit, or a fitted table beyond the schedule.
        """
        if self.rows is not None:
            own, (high, low) = [row[0] for row in self.fitted_rows], extent(schedule)
            if own[0] > high * ROUNDING or own[-1] * ROUNDING < low:
                raise LevyError(
                    f"the fitted table goes from rho {own[0]:.4g} to {own[-1]:.4g}, but the schedule from {high:.4g} to {low:.4g}: it was fitted to "
                    "a model with another schedule"
                )
            return custom(schedule, (*own, 0.0))
        evaluations = DISCRETISATIONS[self.discretisation].evaluations
        intervals = self.steps if evaluations == 1 else (self.steps + 1 + self.ends_at_0) // 2
        if not isinstance(self.grid, str):
            if len(self.grid) != intervals + 1:
                raise LevyError(
                    f"the grid has {len(self.grid)} levels, but {self.steps} evaluations of {self.discretisation} "
                    f"visit {intervals + 1}"
                )
            return custom(schedule, self.grid)
        high, low = extent(schedule)
        start = high if self.rho_max is None else self.rho_max
        end = low if self.rho_min is None else self.rho_min
        if not end < start:
            raise LevyError(f"the grid would rise from rho_max {start:g} to rho_min {end:g}: give rho_min < rho_max")
        if not self.denoise:
            return GRIDS[self.grid](schedule, start, end, intervals)
        inner, zero = GRIDS[self.grid](schedule, start, end, intervals - 1), torch.zeros(1, dtype=torch.float64)
        return Levels(torch.cat([inner.t, schedule.time(zero)]), torch.cat([inner.rho, zero]))


def format_rows(rows: Sequence[Sequence[float]]) -> str:
    """Rows of a fitted table as text, which a cell of any table holds: nine digits, more than float32 has."""
    return json.dumps([[float(f"{value:.9g}") for value in row] for row in rows], separators=(",", ":"))


@lru_cache(maxsize=256)
def parse_rows(text: str) -> tuple[tuple[float, ...], ...]:
    """What ``format_rows`` wrote: of each row its level, keep, and one weight for every prediction so far at most, newest first.

    Raises:
        LevyError: it is something else, with a number that is not finite, or levels that do not fall.
    """
    try:
        rows = tuple(tuple(float(value) for value in row) for row in json.loads(text))
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise LevyError(f"the rows of a fitted table cannot be read ({error}), {text!r:.60}: run tune again") from error
    sound = all(3 <= len(row) <= k + 3 and all(map(isfinite, row)) for k, row in enumerate(rows))
    falling = all(a[0] > b[0] for a, b in pairwise(rows))
    if not (rows and sound and falling and rows[-1][0] > 0):
        raise LevyError(
            f"the rows of a fitted table are {text!r:.60}, but level, keep and weights are expected in each, finite, and levels that fall "
            "and stay above 0: run tune again"
        )
    return rows


def _range(name: str, start: float | None, end: float | None) -> str:
    ends = ["" if rho is None else f" {word} {rho:.4g}" for word, rho in (("from", start), ("to", end))]
    return f"{name}{''.join(ends)}" if any(ends) else ""


@dataclass(frozen=True)
class StepTable:
    """What a solver does, one row per network evaluation; float64.

    Attributes:
        rho: level that each row evaluates, and the level where sampling ends, [n + 1].
        keep: factor of y, [n]. weights: of the newest predictions, newest first, [n, m].
        noise: scale of the fresh noise, [n].
        predicts: whether the weights are those of eps_hat ("noise") or of x0_hat ("data").
        limit: of x0_hat. boost: factor of the starting noise.
        jumps: ``(rho_k**p - rho_{k+1}**p)**(2/p)`` [n + 1] (the last to rho = 0) for the posterior family, whose
            coefficients follow from the path's mixing variables; keep, weights and noise are then not used.
    """

    rho: Tensor
    keep: Tensor
    weights: Tensor
    noise: Tensor
    predicts: str = "noise"
    limit: str = "none"
    jumps: Tensor | None = None
    boost: float = 1.0

    @property
    def nfe(self) -> int:
        """Network evaluations per sample."""
        return len(self.keep)

    def rows(self) -> list[dict[str, float]]:
        """The table as plain numbers, for printing."""
        if self.jumps is not None:
            return [{"rho": float(r), "jump": float(j)} for r, j in zip(self.rho, self.jumps, strict=True)]
        columns = {"rho": self.rho[:-1], "keep": self.keep}
        columns |= {f"{self.predicts}[{j}]": self.weights[:, j] for j in range(self.weights.shape[1])}
        columns |= {"noise": self.noise}
        return [{name: float(values[k]) for name, values in columns.items()} for k in range(self.nfe)]


def guide_evaluations(solver: Solver, rho: Tensor) -> int:
    """Network evaluations per sample that a solver's guide adds to those at levels rho [n], one each."""
    more = GUIDES[solver.guide].evaluations(solver.strength) - 1
    return more * int(solver.guided.holds(rho).sum())


def tabulate(solver: Solver, schedule: Schedule) -> StepTable:
    """The table of a solver on a schedule.

    Raises:
        LevyError: a grid that does not fall.
    """
    levels, family, p = solver.levels(schedule), FAMILIES[solver.family], schedule.exponent
    now, after = levels.rho[:-1], levels.rho[1:]
    eta = solver.eta * ETA_SCHEDULES[solver.eta_schedule](len(now))
    eta = torch.where(after > 0, eta, 0.0)  # a step to rho = 0 is the flow's: noise added there is never removed
    kappa = torch.where(after > 0, family.kappa(p, eta), 1.0)
    strength = torch.where(after > 0, family.strength(eta), 0.0)
    process = Process(levels, schedule, kappa, strength, solver.fitted_rows)
    if family.update:
        drift, noise = family.update(now, after, p, eta)
        weights = Weights(levels.rho, torch.ones_like(now), drift[:, None], noise)
    else:
        weights = DISCRETISATIONS[solver.discretisation].weights(process)
    jumps = None
    if family.ancestral:
        power = torch.cat([levels.rho, torch.zeros(1, dtype=torch.float64)]) ** p
        jumps = (power[:-1] - power[1:]).clamp(min=0) ** (2 / p)
    rows = list(range(len(weights.keep)))
    if len(rows) > solver.steps:  # Heun's evaluations do not come out even: the last step above rho = 0 is Euler's
        del rows[-1 - solver.ends_at_0]
    return StepTable(
        rho=torch.cat([weights.rho[:-1][rows], levels.rho[-1:]]),
        keep=weights.keep[rows],
        weights=weights.weights[rows],
        noise=weights.noise[rows],
        predicts=DISCRETISATIONS[solver.discretisation].predicts,
        limit=solver.limit,
        jumps=jumps,
        boost=solver.boost,
    )
