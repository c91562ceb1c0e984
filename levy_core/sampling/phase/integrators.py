"""Integrators of phase space by name, their grids and options, and the tables that they stand for."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Literal

import torch
from torch import Tensor

from levy_core.base.errors import LevyError, choose
from levy_core.process.schedule import Exploding
from levy_core.sampling.grids import karras, uniform_log_rho
from levy_core.sampling.phase.process import PhasePath
from levy_core.sampling.phase.schemes import (
    Step,
    cholesky,
    conjugate,
    conjugate_verlet,
    euler,
    gddim_root,
    multistep,
    splitting,
    sscs,
)
from levy_core.sampling.phase.tables import IDENTITY, BlockTable, Rows, check_stable

DIRECTIONS = {"identity": IDENTITY, "ones": torch.ones(2, 2, dtype=torch.float64)}


def _quadratic(path: PhasePath, rho_max: float, rho_min: float, steps: int) -> Tensor:
    """tau whose root falls linearly: the striding of PSLD's published sampler."""
    first, last = path.time(torch.tensor([rho_max, rho_min], dtype=torch.float64)).tolist()
    return torch.linspace(first**0.5, last**0.5, steps + 1, dtype=torch.float64) ** 2


# u = x_0 + rho_eff e is an exploding path, so its grids are that path's.
GRIDS: dict[str, Callable[[PhasePath, float, float, int], Tensor]] = {
    "karras": lambda path, high, low, n: path.time(karras(Exploding(2.0), high, low, n).rho),
    "uniform-log-rho": lambda path, high, low, n: path.time(uniform_log_rho(Exploding(2.0), high, low, n).rho),
    "quadratic": _quadratic,
}


@dataclass(frozen=True)
class Integrator:
    """How phase space is crossed. The last evaluation returns x0_hat at rho_min.

    Args:
        name: a key of ``INTEGRATORS``. grid: of the levels; the published splitting integrators use quadratic.
        rho_max, rho_min: where the grid starts and ends, in rho_eff; rho_max None: the path's own end.
        bend, direction: B = bend times the identity or the matrix of ones, of the conjugate maps alone.
        spread: factor of the position's noise in an O step, of the OBA integrators alone; the authors tune it.

    Raises:
        LevyError: an unknown name, or a number out of range.
    """

    name: str
    grid: str = "karras"
    rho_max: float | None = 20.0
    rho_min: float = 0.02
    bend: float = 0.0
    direction: str = "identity"
    spread: float = 1.0

    def __post_init__(self) -> None:
        choose("phase integrator", self.name, INTEGRATORS)
        choose("phase grid", self.grid, GRIDS)
        choose("direction of the conjugate map", self.direction, DIRECTIONS)
        if not 0 < self.rho_min < (self.rho_max or inf) or self.rho_max == inf:
            raise LevyError(
                f"rho_min is {self.rho_min} and rho_max {self.rho_max}, but 0 < rho_min < rho_max must hold"
            )
        if not abs(self.bend) < inf or not 0 <= self.spread < inf:
            raise LevyError(
                f"bend is {self.bend} and spread {self.spread}, but both must be finite, and spread at least 0"
            )


@dataclass(frozen=True)
class Scheme:
    """How an integrator fills the rows of a step.

    Args:
        evaluations: rows per step. order: of convergence, of the flow's end point, or of the SDE's covariance.
        source: what is known of the authors' own rule (docs/phase-space.md).
    """

    fill: Callable[[Step], None]
    evaluations: int
    order: int
    source: Literal["published", "derived", "reconstructed"]


INTEGRATORS = {
    "ddim": Scheme(multistep(1), 1, order=1, source="published"),
    "2m": Scheme(multistep(2), 1, order=2, source="derived"),
    "3m": Scheme(multistep(3), 1, order=3, source="derived"),
    "euler": Scheme(euler(1), 1, order=1, source="published"),
    "naive-se": Scheme(splitting("BA", 1, "00"), 2, order=1, source="reconstructed"),
    "reduced-se": Scheme(splitting("BA", 1, "0-"), 1, order=1, source="reconstructed"),
    "naive-vv": Scheme(splitting("BAB", 1, "000"), 3, order=1, source="reconstructed"),
    "reduced-vv": Scheme(splitting("BAB", 1, "0-1"), 2, order=1, source="reconstructed"),
    "conjugate": Scheme(conjugate(cholesky), 1, order=1, source="reconstructed"),
    "conjugate-root": Scheme(conjugate(gddim_root), 1, order=1, source="reconstructed"),
    "conjugate-vv": Scheme(conjugate_verlet, 2, order=1, source="reconstructed"),
    "euler-maruyama": Scheme(euler(2), 1, order=1, source="published"),
    "sscs": Scheme(sscs, 1, order=1, source="published"),
    "naive-oba": Scheme(splitting("OBA", 2, "00"), 2, order=1, source="reconstructed"),
    "reduced-oba": Scheme(splitting("OBA", 2, "1-"), 1, order=1, source="reconstructed"),
    "reduced-oba-early": Scheme(splitting("OBA", 2, "0-"), 1, order=1, source="reconstructed"),
}


def tabulate_phase(path: PhasePath, integrator: Integrator, steps: int) -> BlockTable:
    """The table of an integrator with at most ``steps`` network evaluations, the last of which returns x0_hat.

    Integrators of two or three evaluations per step leave out what does not make a whole step: the table's ``nfe`` counts.

    Raises:
        LevyError: too few evaluations for one step, or levels that the path does not have.
        NotFiniteError: a table that blows up (``check_stable``): a method that takes more steps than it is given.
    """
    scheme = INTEGRATORS[integrator.name]
    intervals = (steps - 1) // scheme.evaluations
    if intervals < 1:
        raise LevyError(
            f"steps is {steps}, but {integrator.name} takes {scheme.evaluations} evaluations per step and one at the end: "
            f"give at least {scheme.evaluations + 1}"
        )
    high = float(path.ratio(torch.tensor(path.beta).double())) if integrator.rho_max is None else integrator.rho_max
    tau = GRIDS[integrator.grid](path, high, integrator.rho_min, intervals)
    rows, bends = Rows(path, tau[0]), integrator.bend * DIRECTIONS[integrator.direction]
    for k in range(intervals):
        scheme.fill(Step(rows, tau, k, bends, integrator.spread))
    table = rows.finish(tau[-1])
    check_stable(table, integrator.name)
    return table
