"""The sampling loop one step at a time, for callers that own the loop and ask the network themselves."""

from collections import deque
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from levy_core.base.errors import LevyError, choose
from levy_core.process.noise import Noise, RandomStreams
from levy_core.process.schedule import Exploding
from levy_core.sampling.discrete import RHO_OF_NO_SIGNAL
from levy_core.sampling.loop import AncestralPath, apply_row
from levy_core.sampling.solver import Solver, StepTable, parse_rows, tabulate
from levy_core.sampling.steps import DISCRETISATIONS, FAMILIES, fits

# Those that levels alone decide: the others follow a schedule between the levels, or ask the network twice per step.
ON_LEVELS = {
    name: DISCRETISATIONS[name] for name in ("ei-noise", "ei-data", "2m-noise", "2m-data", "3m-data", "fitted")
}


def method_of(family: str, discretisation: str, eta: float, rows: str | None = None) -> Solver:
    """A solver that ``Stepwise`` can follow; its levels come step by step, or are those of the rows of a fitted table.

    Raises:
        LevyError: an unknown name, two that do not fit, an eta out of its range, rows that are none.
    """
    choose("solver", family, FAMILIES)
    choose("discretisation", discretisation, ON_LEVELS)
    if not fits(family, discretisation):
        fitting = [name for name in FAMILIES if fits(name, discretisation)]
        raise LevyError(f"{discretisation} does not go with solver {family}: choose solver {' or '.join(fitting)}")
    grid, steps = ("fitted", len(parse_rows(rows))) if rows else ("uniform-t", 1)
    return Solver(family, discretisation, grid, steps, eta, rows=rows)


def _follow(method: Solver, exponent: float) -> StepTable:
    rows = method.fitted_rows  # at whatever levels: those of the betas are the network's
    return tabulate(method, Exploding(exponent, rows[-1][0] / 2, rows[0][0] * 2))


class Stepwise:
    """A solver in y = x / a that remembers what ``loop.solve`` would: the newest predictions, or the path's mixing variables.

    A step that does not begin at the level where the last one ended, or with another batch, begins anew, at first order.

    Args:
        method: as ``method_of``. The rows of a fitted table are followed from its first level on; any other step is what the table began as, 2m-data (``Solver.unfitted``).
    """

    def __init__(self, method: Solver, noise: Noise):
        self._noise, self.family = noise, FAMILIES[method.family]
        self._solver, self._discretisation = method.family, method.unfitted().discretisation
        self._order = DISCRETISATIONS[self._discretisation].order or 1
        self._fitted = _follow(method, noise.exponent) if method.rows else None
        self.levels: list[float] = self._fitted.rho.tolist() if self._fitted else []  # of a fitted table, the last 0
        self.restart()

    def restart(self) -> None:
        """Forgets the loop so far."""
        self._reached: float | None = None
        self._newest: deque[tuple[float, Tensor]] = deque(maxlen=self._fitted.nfe if self._fitted else self._order)
        self._draw: tuple[Sequence[float], torch.Size, AncestralPath] | None = None

    def begin(self, rho: Sequence[float], z: Tensor, streams: RandomStreams) -> Tensor:
        """A start at rho[0] from Gaussian z [B, *S]; the posterior solver draws the mixing variables of all levels, [n + 1], with it."""
        shape = z.shape[1:]
        if not self.family.ancestral:
            return rho[0] * self._noise.mixing(shape, streams).sqrt().to(z) * z
        jumps = self._table(rho, 0.0).jumps
        assert jumps is not None
        path = AncestralPath(jumps, self._noise, streams, shape, z.device)
        self._draw = rho, z.shape, path
        return path.start(z)

    def advance(
        self,
        now: float,
        after: float,
        y: Tensor,
        eps: Tensor,
        x0: Tensor,
        eta: float,
        fresh: Tensor | None,
        streams: RandomStreams,
    ) -> Tensor:
        """y [B, *S] at rho ``after`` from y at rho ``now``.

        Args:
            eps, x0: eps_hat and x0_hat there, ``y = x0 + now eps``.
            fresh: noise that comes back, of the law, or Gaussian for the posterior solver; None if the solver adds none.
            streams: at alpha 2 posterior's mixing variables, which are 1, are drawn from nothing.

        Raises:
            LevyError: posterior below alpha 2 without ``begin`` for this batch and these levels; noise without a bound where
                there is no signal; a step that does not fall.
        """
        if now == after:  # diffusers' last step from timestep 0, without set_alpha_to_one
            return y
        if self.family.ancestral:
            path, k = self._path(now, after, y, streams)
            return path.advance(k, y, now * eps, torch.zeros_like(y) if fresh is None else fresh)
        if now != self._reached or (self._newest and self._newest[0][1].shape != y.shape):
            self._newest.clear()
        table, k = self._row(now, after, eta)
        if now == RHO_OF_NO_SIGNAL and table.predicts == "noise" and self.family.update is None and table.noise[k] > 0:
            raise LevyError(
                f"{self._solver} {self._discretisation} adds noise without bound on a step from zero terminal SNR: choose "
                "discretisation 2m-data, solver split-ddim or eta 0"
            )
        self._newest.appendleft((now, eps if table.predicts == "noise" else x0))
        self._reached = after
        y = apply_row(table, k, y, [prediction for _, prediction in self._newest])
        return y if fresh is None else y.add_(fresh, alpha=float(table.noise[k]))

    def _row(self, now: float, after: float, eta: float) -> tuple[StepTable, int]:
        k = len(self._newest)
        if self._fitted and self.levels[k : k + 2] == [now, after]:
            return self._fitted, k
        past = [rho for rho, _ in self._newest][: self._order - 1]
        table = self._table([*reversed(past), now, after], eta)
        return table, table.nfe - 1

    def _table(self, rho: Sequence[float], eta: float) -> StepTable:
        # in y coordinates every schedule is the exploding one
        solver = Solver(self._solver, self._discretisation, tuple(rho), len(rho) - 1, eta)
        return tabulate(solver, Exploding(self._noise.exponent))

    def _path(self, now: float, after: float, y: Tensor, streams: RandomStreams) -> tuple[AncestralPath, int]:
        if self._draw is None and self._noise.exponent == 2:  # mixing variables are 1: every step is a path of its own
            jumps = self._table((now, after), 0.0).jumps
            assert jumps is not None
            return AncestralPath(jumps, self._noise, streams, y.shape[1:], y.device), 0
        rho, shape, path = self._draw or ((), None, None)
        if path is None or shape != y.shape or (now, after) not in pairwise(rho):
            known = f"{self._solver} draws the mixing variables of a path with its start"
            raise LevyError(f"{known}: begin at timesteps[0] with the whole batch, or choose split-ddim or sde-e")
        return path, list(rho).index(now)
