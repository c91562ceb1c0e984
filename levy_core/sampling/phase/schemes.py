"""The parts of a step that the integrators of phase space are made of: each scheme asks the network, and fills rows of a table.

Reverse time: a step goes from tau to tau - h. With s the score at the newest evaluation, and c = 1 for the flow, 2 for the SDE,

    A: x += h/2 (c gamma x - w p + c gamma s_x)          B: p += h/2 (w x + c nu p + c nu s_p)
    O: x = exp(-h gamma / 2) x + (1 - exp(-h spread gamma))**0.5 e,   p = exp(-h nu / 2) p + (1 - exp(-h nu))**0.5 e'

Sources: Zhang et al., gDDIM (arXiv 2206.05564) for the root; Dockhorn et al. (2022) and the published code of arXiv 2303.01748 for SSCS and
Euler-Maruyama; Pandey et al. (arXiv 2310.07894, 2402.07211) for splitting and conjugate integrators, which are reconstructed here from
their definitions, without the papers' update rules (docs/phase-space.md says which).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from levy_core.sampling.phase.process import NODE_WEIGHTS, NODES, PhasePath
from levy_core.sampling.phase.tables import DATA, IDENTITY, Rows

POSITION, MOMENTUM = torch.diag(DATA), IDENTITY - torch.diag(DATA)  # which half a part of a splitting moves


@dataclass(frozen=True)
class Step:
    """What a scheme works on: the rows that it fills, the times visited and the place in them, B of the conjugate maps, spread of an O step."""

    rows: Rows
    tau: Tensor
    k: int
    bends: Tensor
    spread: float

    @property
    def path(self) -> PhasePath:
        return self.rows.path

    @property
    def now(self) -> Tensor:
        return self.tau[self.k]

    @property
    def after(self) -> Tensor:
        return self.tau[self.k + 1]

    @property
    def h(self) -> Tensor:
        return self.now - self.after

    @property
    def generator(self) -> Tensor:
        """``B - F / 2``, of the conjugate map."""
        return self.bends - self.path.drift / 2

    def part(self, half: Tensor, h: Tensor, c: int) -> None:
        """A (half POSITION) or B (MOMENTUM) for h."""
        path = self.path
        linear = c * path.diffusion + torch.tensor([[0, -path.coupling], [path.coupling, 0]], dtype=torch.float64)
        self.rows.move(IDENTITY + h / 2 * half @ linear, h / 2 * c * half @ path.diffusion)

    def refresh(self) -> None:
        """O for h."""
        friction = torch.tensor([self.path.gamma, self.path.nu], dtype=torch.float64)
        spread = friction * torch.tensor([self.spread, 1.0], dtype=torch.float64)
        self.rows.move(torch.diag(torch.exp(-self.h * friction / 2)), spread=torch.diag(-torch.expm1(-self.h * spread)))


def cholesky(path: PhasePath, base: Tensor, tau: Tensor) -> Tensor:
    """The lower factor of the covariance of z, in which the authors' networks predict."""
    return torch.linalg.cholesky(path.covariance(tau))


def gddim_root(path: PhasePath, base: Tensor, tau: Tensor) -> Tensor:
    """gDDIM's root of the covariance of z, with the angle 0 at ``base``."""
    return path.flow(tau) @ path.root(tau, path.turn(base.expand_as(tau), tau))


def multistep(order: int) -> Callable[[Step], None]:
    """gDDIM's root with x0_hat a polynomial in -log rho_eff through the last ``order`` evaluations; order 1 is DDIM.

    In y, ``y' = keep y + sum_j w_j x0_hat[j]``, ``keep = R' R**-1`` and ``w_j = R' int l_j d(R**-1) e_1``: exact where x0_hat is constant.
    """

    def fill(step: Step) -> None:
        path, now, after, k = step.path, step.now, step.after, step.k
        step.rows.evaluate(now)
        half = (after.log() - now.log()) / 2
        at = (now.log() + half * (NODES + 1)).exp()
        # (R**-1)' e_1 = -R**-1 P' P**-1 e_1 / 2 at the nodes, with R's angle 0 at now
        inverse = torch.linalg.inv(path.root(at, path.turn(now.expand_as(at), at)))
        speed = -(inverse @ path.rate(at) @ torch.linalg.inv(path.noise(at)) @ DATA) / 2
        mass = speed * (half * at * NODE_WEIGHTS)[:, None]
        end = gddim_root(path, now, after)
        place = -path.ratio(torch.cat([step.tau[max(0, k - order + 1) : k + 1].flip(0), at])).log()
        seen, moving = place[: -len(at)], place[-len(at) :]
        gains = []
        for j in range(len(seen)):
            others = torch.cat([seen[:j], seen[j + 1 :]])
            basis = ((moving[:, None] - others) / (seen[j] - others)).prod(1)
            gains.append(end @ (basis @ mass))
        step.rows.step(end @ torch.linalg.inv(gddim_root(path, now, now)), torch.stack(gains))

    return fill


def euler(c: int) -> Callable[[Step], None]:
    """Euler of the flow (c = 1), Euler-Maruyama of the reverse SDE (c = 2)."""

    def fill(step: Step) -> None:
        step.rows.evaluate(step.now)
        diffusion = step.path.diffusion
        noise = step.h * diffusion if c == 2 else None
        step.rows.move(IDENTITY - step.h / 2 * step.path.drift, step.h / 2 * c * diffusion, noise)

    return fill


def sscs(step: Step) -> None:
    """Symmetric splitting: the exact half of ``dz = F^T z d tau / 2 + G dW``, an Euler step of ``G G^T (z + s)``, the half again.

    As in the published code, the score is that of the time before the step at the state after the first half.
    """
    exact = step.path.flow(step.h / 2).mT
    spread = IDENTITY - exact @ exact.mT
    step.rows.move(exact, spread=spread)
    step.rows.evaluate(step.now)
    step.rows.move(IDENTITY + step.h * step.path.diffusion, step.h * step.path.diffusion)
    step.rows.move(exact, spread=spread)


def splitting(letters: str, c: int, scores: str) -> Callable[[Step], None]:
    """A, B and O in the order of ``letters``, where a part that comes twice has half of the step each time.

    Args:
        scores: per A or B, what the network is asked before it: "0" with the time before the step, "1" with that after it, "-" nothing, so
            that the part shares the newest score.
    """

    def fill(step: Step) -> None:
        asked = iter(scores)
        for letter in letters:
            if letter == "O":
                step.refresh()
                continue
            ask = next(asked)
            if ask != "-":
                step.rows.evaluate(step.now if ask == "0" else step.after)
            step.part(POSITION if letter == "A" else MOMENTUM, step.h / letters.count(letter), c)

    return fill


Factor = Callable[[PhasePath, Tensor, Tensor], Tensor]


def _pushes(step: Step, factor: Factor, start: Tensor, end: Tensor) -> Tensor:
    """``int A G G^T L**-T ds / 2`` from start to end, with ``A = exp((B - F / 2) s)`` and s from the time before the step."""
    path, half = step.path, (end.log() - start.log()) / 2
    at = (start.log() + half * (NODES + 1)).exp()
    mapped = torch.linalg.matrix_exp(step.generator * (at - step.now)[:, None, None])
    inner = torch.linalg.inv(factor(path, step.now, at)).mT
    return half * ((mapped @ path.diffusion @ inner) * (at * NODE_WEIGHTS / 2)[:, None, None]).sum(0)


def conjugate(factor: Factor) -> Callable[[Step], None]:
    """Euler of the flow in ``z^ = A z``, ``A = exp((B - F / 2) tau)``, where eps = -L^T s is frozen and its factor integrated exactly.

    From ``dz^ = A B A**-1 z^ d tau + A G G^T L**-T eps d tau / 2``. With L the root and B = 0 it is DDIM; the authors' networks predict in L
    the Cholesky factor.
    """

    def fill(step: Step) -> None:
        now, after, h = step.now, step.after, step.h
        back = torch.linalg.matrix_exp(step.generator * h)
        step.rows.evaluate(now)
        push = _pushes(step, factor, now, after) @ factor(step.path, now, now).mT
        step.rows.move(back @ (IDENTITY - h * step.bends), -back @ push)

    return fill


def conjugate_verlet(step: Step) -> None:
    """Reduced velocity Verlet (B for half a step, A, B at the new score) on the state of ``conjugate``, L the Cholesky factor."""
    path, now, after, bends, h = step.path, step.now, step.after, step.bends, step.h
    middle = (now + after) / 2
    back = torch.linalg.matrix_exp(step.generator * h)
    to_eps = [cholesky(path, now, tau).mT for tau in (now, after)]
    first, second = _pushes(step, cholesky, now, middle), _pushes(step, cholesky, middle, after)
    step.rows.evaluate(now)
    step.rows.move(IDENTITY - h / 2 * MOMENTUM @ bends, -MOMENTUM @ first @ to_eps[0])
    step.rows.move(IDENTITY - h * POSITION @ bends, -POSITION @ (first + second) @ to_eps[0])
    step.rows.move(back)
    step.rows.evaluate(after)
    there = torch.linalg.inv(back)
    step.rows.move(IDENTITY - h / 2 * back @ MOMENTUM @ there @ bends, -back @ MOMENTUM @ second @ to_eps[1])
