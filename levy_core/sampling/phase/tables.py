"""Tables whose coefficients are d x d per row: what an integrator of phase space does, d = 2, and the ordinary tables, d = 1.

    h[0] = x0_hat(read_k . z, rho_k),   z <- keep_k z + sum_j weights_kj h[j] + noise_k e,   sample: first component of z after the last row

The score in phase space is affine in the state and x0_hat, ``-Sigma**-1 (z - Phi e_1 x0_hat)``, so every integrator whose parts are
affine is such a table: ``Rows`` collects the parts, and closes a row where the network is asked anew.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from levy_core.base.errors import LevyError, NotFiniteError
from levy_core.sampling.phase.process import PhasePath
from levy_core.sampling.solver import StepTable

IDENTITY = torch.eye(2, dtype=torch.float64)
DATA = torch.tensor([1.0, 0.0], dtype=torch.float64)  # e_1: where x_0 stands in (x_0, 0)
MODE, MOST_TIMES = 0.2, 20.0  # on nine modes, what comes out wider than this has lost them (docs/phase-space.md)


@dataclass(frozen=True)
class BlockTable:
    """One row per network evaluation; float64, n rows of m predictions on d components.

    Attributes:
        start: factor of the noise that sampling starts from, [d, d].
        rho: level that each row evaluates, [n]. read: what makes the network's input of z, [n, d].
        keep: [n, d, d]. weights: of the newest predictions, newest first, [n, m, d]. noise: factor of the fresh noise, [n, d, d].
        predicts: whether the weights are those of eps_hat ("noise") or of x0_hat ("data").
    """

    start: Tensor
    rho: Tensor
    read: Tensor
    keep: Tensor
    weights: Tensor
    noise: Tensor
    predicts: str = "data"

    @property
    def nfe(self) -> int:
        """Network evaluations per sample."""
        return len(self.rho)


def of_step_table(table: StepTable) -> BlockTable:
    """An ordinary table as the 1 x 1 case, with the same samples bit for bit.

    Raises:
        LevyError: coefficients that are drawn, or a limit on x0_hat.
    """
    if table.jumps is not None or table.limit != "none":
        raise LevyError("the posterior family and limits on x0_hat have no block form: sample them with loop.sample")
    return BlockTable(
        start=(table.rho[:1] * table.boost)[:, None],
        rho=table.rho[:-1],
        read=torch.ones(table.nfe, 1, dtype=torch.float64),
        keep=table.keep[:, None, None],
        weights=table.weights[:, :, None],
        noise=table.noise[:, None, None],
        predicts=table.predicts,
    )


class Rows:
    """A table under construction: affine parts of a path, in order, between evaluations.

    Between evaluations the state is ``keep z + gain x0_hat + noise`` of the z and x0_hat at the newest one.
    """

    def __init__(self, path: PhasePath, tau: Tensor):
        self.path = path
        self._start = torch.linalg.cholesky(path.covariance(tau))
        self._rho: list[Tensor] = []
        self._read: list[Tensor] = []
        self._closed: list[tuple[Tensor, Tensor, Tensor]] = []
        self._open()

    def _open(self) -> None:
        self._keep, self._gains, self._spread = IDENTITY, torch.zeros(1, 2).double(), torch.zeros(2, 2).double()

    def evaluate(self, tau: Tensor) -> None:
        """Asks the network at the state as it is, as that of time tau."""
        self._close()
        self._rho.append(self.path.ratio(tau))
        self._read.append(self.path.read(tau))
        covariance = self.path.covariance(tau)
        self._precision = torch.linalg.inv(covariance)
        self._mean = self.path.flow(tau) @ DATA

    def move(self, factor: Tensor, score: Tensor | None = None, spread: Tensor | None = None) -> None:
        """``z <- factor z + score s + noise``, s the score at the newest evaluation and ``spread`` the covariance of the noise."""
        self._keep, self._gains = factor @ self._keep, self._gains @ factor.mT
        self._spread = factor @ self._spread @ factor.mT
        if score is not None:
            pull = score @ self._precision
            self._keep, self._gains = self._keep - pull, self._gains + pull @ self._mean
        if spread is not None:
            self._spread = self._spread + spread

    def step(self, keep: Tensor, gains: Tensor) -> None:
        """``z <- keep z + sum_j gains[j] x0_hat[j]`` as a row of its own; gains [m, 2], newest first."""
        self._keep, self._gains = keep, gains

    def finish(self, tau: Tensor) -> BlockTable:
        """The table, whose last row is an evaluation at tau that returns x0_hat."""
        self.evaluate(tau)
        self.step(torch.zeros_like(IDENTITY), DATA[None])
        self._close()
        most = max(len(gains) for _, gains, _ in self._closed)
        return BlockTable(
            start=self._start,
            rho=torch.stack(self._rho),
            read=torch.stack(self._read),
            keep=torch.stack([keep for keep, _, _ in self._closed]),
            weights=torch.stack([pad(gains, (0, 0, 0, most - len(gains))) for _, gains, _ in self._closed]),
            noise=torch.stack([_factor(spread) for _, _, spread in self._closed]),
        )

    def _close(self) -> None:
        if self._rho:
            self._closed.append((self._keep, self._gains, self._spread))
        else:  # what happens before the first evaluation happens to the starting noise
            self._start = _factor(self._keep @ self._start @ self._start.mT @ self._keep.mT + self._spread)
        self._open()


def _factor(covariance: Tensor) -> Tensor:
    """A lower factor of a covariance [2, 2], which may be singular."""
    first = covariance[0, 0].clamp(min=0).sqrt()
    cross = covariance[1, 0] / first if first > 0 else torch.zeros_like(first)
    return torch.stack(
        [torch.stack([first, 0 * first]), torch.stack([cross, (covariance[1, 1] - cross**2).clamp(min=0).sqrt()])]
    )


def scale_after(table: BlockTable, c: float) -> float:
    """The scale of the samples that a table of x0_hat makes of data N(0, c**2 I), exactly: no draws, no error but rounding.

    The sampler is linear there, so that a sample is a sum of independent noises with known coefficients.
    """
    z = table.start  # coefficients of each noise so far, [2, K]
    newest: list[Tensor] = []  # and in the predictions, [K] or fewer
    for k in range(table.nfe):
        newest = [c**2 / (c**2 + table.rho[k] ** 2) * (table.read[k] @ z), *newest][: table.weights.shape[1]]
        z = table.keep[k] @ z
        for weight, h in zip(table.weights[k], newest, strict=False):
            z[:, : len(h)] += torch.outer(weight, h)
        if bool(table.noise[k].any()):
            z = torch.cat([z, table.noise[k]], dim=1)
    return float(z[0].norm())


def check_stable(table: BlockTable, name: str) -> None:
    """Refuses a table that blows up.

    Raises:
        NotFiniteError: of a mode with a fifth of the deviation of data of order one, the table makes samples more than 20 times as wide,
            which do not keep to the data any more; names the integrator.
    """
    if not (times := scale_after(table, MODE) / MODE) <= MOST_TIMES:
        raise NotFiniteError(
            f"{name} blows up in {table.nfe} evaluations: a mode of deviation {MODE} would come out {times:.3g} times as wide (at most "
            f"{MOST_TIMES:g} is sampled): take more steps, or ddim, 2m or 3m, which need few"
        )
