"""Exact predictors for data of known law: check any sampler without training a network.

An oracle is called as a predictor is, ``oracle(y [B, *S], rho [B], cond) -> eps_hat``, in the dtype of y, and has
``score``, the gradient of the log density of y, and ``data(n, shape, seed)``, draws of the law that a consistent sampler
must return. ``scale_after`` needs no draws at all: on ``Scale`` every table is linear, so that its result is known to the
last digit.
"""

from abc import abstractmethod
from dataclasses import dataclass, field
from functools import cache
from math import pi
from typing import Protocol

import numpy as np
import torch
from scipy import special
from scipy.interpolate import CubicSpline
from torch import Tensor

from levy_core.base.conditions import Condition
from levy_core.base.errors import LevyError
from levy_core.base.seeds import BatchStream, generator
from levy_core.process.noise import Noise, Stable, StudentT
from levy_core.process.parametrisation import broadcast
from levy_core.sampling.solver import StepTable


class Oracle(Protocol):
    """What every oracle has."""

    @abstractmethod
    def __call__(self, y: Tensor, rho: Tensor, cond: Condition) -> Tensor:
        """eps_hat, [B, *S]."""

    @abstractmethod
    def score(self, y: Tensor, rho: Tensor, cond: Condition) -> Tensor:
        """The gradient of the log density of y, [B, *S]: ``-E[e / A | y] / rho``."""

    def both(self, y: Tensor, rho: Tensor, cond: Condition) -> tuple[Tensor, Tensor]:
        """eps_hat and the score, as ``Predictor.both`` gives them."""
        return self(y, rho, cond), self.score(y, rho, cond)


@dataclass(frozen=True)
class Scale(Oracle):
    """Data ~ c times the noise's own law: ``eps_hat = rho**(p-1) y / (c**p + rho**p)``. Stable and Gaussian noise."""

    noise: Noise
    c: float = 1.0

    def gain(self, rho: Tensor) -> Tensor:
        p = self.noise.exponent
        return rho ** (p - 1) / (self.c**p + rho**p)

    def __call__(self, y: Tensor, rho: Tensor, cond: Condition) -> Tensor:
        return broadcast(self.gain(rho.double()), y).to(y) * y

    def score(self, y: Tensor, rho: Tensor, cond: Condition) -> Tensor:
        p = self.noise.exponent
        total = broadcast((self.c**p + rho.double() ** p) ** (1 / p), y)
        at = y.double() / total
        isotropic = getattr(self.noise, "isotropic", True)
        r = broadcast(torch.linalg.vector_norm(at.flatten(1), dim=1), y) if isotropic else at.abs()
        return (-precision(self.noise, at[0].numel() if isotropic else 1, r) * at / total).to(y)

    def data(self, n: int, shape: tuple[int, ...], seed: int) -> Tensor:
        """float32 [n, *shape]."""
        return self.c * self.noise.sample(shape, BatchStream(n, seed, "oracle"))


def scale_after(table: StepTable, oracle: Scale) -> float:
    """The scale of the samples that ``table`` makes of ``oracle``, exactly: no draws, no error but rounding.

    The sampler is linear, so a sample is a sum of independent noises with known coefficients, and the scales of
    independent stable variables add as p-th powers. Not for limits on x0_hat and the posterior family.

    Raises:
        LevyError: a table that is not linear.
    """
    if table.limit != "none" or table.jumps is not None:
        raise LevyError("only tables without limit and without drawn coefficients are linear: draw samples instead")
    p, n, m = oracle.noise.exponent, table.nfe, table.weights.shape[1]
    y = torch.zeros(n + 1, dtype=torch.float64)  # coefficient of each noise in y
    y[0] = table.rho[0]
    newest: list[Tensor] = []
    for k in range(n):
        eps = oracle.gain(table.rho[k]) * y
        newest = [eps if table.predicts == "noise" else y - table.rho[k] * eps, *newest][:m]
        y = table.keep[k] * y + sum(w * h for w, h in zip(table.weights[k], newest, strict=False))
        y[k + 1] += table.noise[k]
    return float((y.abs() ** p).sum() ** (1 / p))


@dataclass(frozen=True)
class Modes(Oracle):
    """Data ~ sum_k w_k (m_k + s * isotropic noise): a mixture whose rare modes can be counted.

    ``eps_hat = rho**(p-1) / C**p sum_k r_k (y - m_k)`` with ``C**p = s**p + rho**p`` and posterior weights
    ``r_k ~ w_k f(|y - m_k| / C)``, f the isotropic density in d dimensions. Stable (isotropic) and Gaussian noise.

    Args:
        means: [K, d]. weights: [K].

    Raises:
        LevyError: shapes that do not match, weights that are no distribution, or noise of another kind.
    """

    noise: Noise
    means: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    s: float

    def __post_init__(self) -> None:
        if len(self.means) != len(self.weights) or len({len(m) for m in self.means}) != 1:
            raise LevyError(f"{len(self.means)} means came with {len(self.weights)} weights, or differ in dimension")
        if min(self.weights) <= 0 or abs(sum(self.weights) - 1) > 1e-9:
            raise LevyError(f"weights {self.weights} must be positive and sum to 1")
        if isinstance(self.noise, StudentT) or not getattr(self.noise, "isotropic", True):
            raise LevyError(f"modes are exact for isotropic stable and Gaussian noise, not for {self.noise}")

    def _posterior(self, y: Tensor, rho: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(weight of each mode [B, K], |y - m_k| / C [B, K], y - m_k [B, K, d], C [B, 1]), float64."""
        p = self.noise.exponent
        total = ((self.s**p + rho.double() ** p) ** (1 / p))[:, None]
        offset = y.double()[:, None, :] - torch.tensor(self.means, dtype=torch.float64)
        r = torch.linalg.vector_norm(offset, dim=2) / total
        grid, values, _ = isotropic_law(_index(self.noise), len(self.means[0]))
        log_f = np.interp(np.log(r.numpy().clip(1e-300)), grid, values)
        logits = torch.from_numpy(log_f) + torch.tensor(self.weights, dtype=torch.float64).log()
        return torch.softmax(logits, dim=1), r, offset, total

    def __call__(self, y: Tensor, rho: Tensor, cond: Condition) -> Tensor:
        weights, _, offset, total = self._posterior(y, rho)
        p = self.noise.exponent
        return (rho.double()[:, None] ** (p - 1) / total**p * (weights[:, :, None] * offset).sum(1)).to(y)

    def score(self, y: Tensor, rho: Tensor, cond: Condition) -> Tensor:
        weights, r, offset, total = self._posterior(y, rho)
        pull = weights * precision(self.noise, len(self.means[0]), r)
        return (-(pull[:, :, None] * offset).sum(1) / total**2).to(y)

    def data(self, n: int, shape: tuple[int, ...], seed: int) -> Tensor:
        """float32 [n, d]."""
        which = torch.multinomial(torch.tensor(self.weights), n, replacement=True, generator=generator(seed, "modes"))
        return torch.tensor(self.means)[which] + self.s * self.noise.sample(shape, BatchStream(n, seed, "oracle"))

    def shares(self, x: Tensor) -> Tensor:
        """Share of samples [n, d] nearest to each mode, float64 [K]."""
        nearest = torch.cdist(x.double(), torch.tensor(self.means, dtype=torch.float64)).argmin(1)
        return torch.bincount(nearest, minlength=len(self.means)) / len(x)


def _index(noise: Noise) -> float | None:
    return noise.alpha if isinstance(noise, Stable) else None


@cache
def isotropic_law(alpha: float | None, d: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(log r, log f(r), log E[1/A | r]) of isotropic stable noise e = sqrt(A) z in d dimensions, r = |e|; None: Gaussian.

    f is the density, and ``grad log f(e) = -E[1/A | |e|] e``. By quadrature over Kanter's angle and waiting time of the
    Gaussian scale mixture. Beyond the grid the last values hold.
    """
    log_r = np.linspace(np.log(1e-4), np.log(1e8), 1200)
    if alpha is None or alpha == 2:
        variance = 1.0 if alpha is None else 2.0
        log_f = -np.exp(2 * log_r) / (2 * variance) - d / 2 * np.log(2 * pi * variance)
        return log_r, log_f, np.full_like(log_r, -np.log(variance))
    nodes, node_weights = np.polynomial.legendre.leggauss(200)
    # The angle's end pi and small waiting times carry the tail: both are spread by a logistic substitution.
    span = 60.0
    v = nodes * span / 2
    angle, angle_weight = pi * special.expit(v), node_weights * span / 2 * special.expit(v) * special.expit(-v)
    supplement = pi * special.expit(-v)
    log_wait = nodes * 26 - 22  # W from e**-48 to e**4
    wait_weight = node_weights * 26 * np.exp(log_wait - np.exp(log_wait))
    sine = np.sin(np.minimum(angle, supplement))
    a = alpha / 2
    log_angle = np.log(np.sin(a * angle)) - np.log(sine) / a + (1 - a) / a * np.log(np.sin((1 - a) * angle))
    log_variance = (np.log(2) + log_angle[:, None] - (1 - a) / a * log_wait[None, :]).ravel()
    log_weight = np.log((angle_weight[:, None] * wait_weight[None, :]).ravel())
    base = log_weight - d / 2 * (np.log(2 * pi) + log_variance)
    half_precision = np.exp(-log_variance) / 2
    log_f, log_precision = [], []
    for x in log_r:
        joint = base - half_precision * np.exp(2 * x)
        weights = np.exp(joint - joint.max())
        log_f.append(joint.max() + np.log(weights.sum()))
        log_precision.append(np.log(2 * (weights @ half_precision) / weights.sum()))
    return log_r, np.array(log_f), np.array(log_precision)


def precision(noise: Noise, d: int, r: Tensor) -> Tensor:
    """E[1/A | |e| = r] of isotropic stable or Gaussian noise in d dimensions, float64 as r."""
    grid, _, values = isotropic_law(_index(noise), d)
    return torch.from_numpy(np.exp(np.interp(np.log(r.double().numpy().clip(1e-300)), grid, values)))


@dataclass(frozen=True)
class Student(Oracle):
    """Data ~ c t_k in d dimensions under Student-t or Gaussian noise, by quadrature over both mixing variables.

    Given A (noise) and B (data), y is Gaussian with variance ``c**2 B + rho**2 A`` and
    ``E[e | y, A, B] = rho A / (c**2 B + rho**2 A) y``; the posterior weights of (A, B) follow from |y|.

    Raises:
        LevyError: stable noise.
    """

    noise: Noise
    degrees: float
    c: float = 1.0
    size: int = 160
    _tables: dict = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        if isinstance(self.noise, Stable):
            raise LevyError(f"this oracle is exact for Student-t and Gaussian noise, not for {self.noise}")

    def _table(self, rho: float, d: int) -> CubicSpline:
        """(eps_hat / y, E[A | y], -score / y) as functions of asinh |y|."""
        if (rho, d) not in self._tables:
            a, log_a = inverse_gamma(self.noise.nu, self.size) if isinstance(self.noise, StudentT) else _unit()
            b, log_b = inverse_gamma(self.degrees, self.size)
            variance = (rho**2 * a[:, None] + self.c**2 * b[None, :]).ravel()
            log_w = (log_a[:, None] + log_b[None, :]).ravel() - d / 2 * np.log(variance)
            given_a = np.repeat(a, len(b))
            s = np.linspace(0, np.arcsinh(1e7 * (self.c + rho)), 500)
            wanted, values = np.stack([rho * given_a / variance, given_a, 1 / variance], axis=1), []
            for r in np.sinh(s):
                values.append(special.softmax(log_w - r**2 / (2 * variance)) @ wanted)
            self._tables[rho, d] = CubicSpline(s, values)
        return self._tables[rho, d]

    def _look_up(self, y: Tensor, rho: Tensor, column: int) -> Tensor:
        if (rho != rho[0]).any():
            raise LevyError("this oracle tabulates one noise level at a time: give equal rho to a batch")
        at = np.arcsinh(torch.linalg.vector_norm(y.double().flatten(1), dim=1).numpy())
        return torch.from_numpy(self._table(float(rho[0]), y[0].numel())(at)[:, column]).to(y)

    def __call__(self, y: Tensor, rho: Tensor, cond: Condition) -> Tensor:
        """eps_hat, [B, *S]; rho must be the same for the whole batch."""
        return broadcast(self._look_up(y, rho, 0), y) * y

    def mixing(self, y: Tensor, rho: Tensor, cond: Condition, eps_hat: Tensor, probe: Tensor) -> Tensor:
        """E[A | y], [B]."""
        return self._look_up(y, rho, 1)

    def score(self, y: Tensor, rho: Tensor, cond: Condition) -> Tensor:
        """[B, *S]; rho as above."""
        return broadcast(-self._look_up(y, rho, 2), y) * y

    def data(self, n: int, shape: tuple[int, ...], seed: int) -> Tensor:
        """float32 [n, *shape]."""
        return self.c * StudentT(self.degrees).sample(shape, BatchStream(n, seed, "oracle"))


def _unit() -> tuple[np.ndarray, np.ndarray]:
    return np.ones(1), np.zeros(1)


def inverse_gamma(nu: float, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and log weights of A = nu / chi2_nu: trapezoid in log chi2, which is spectrally accurate."""
    u = np.linspace(np.log(special.gammaincinv(nu / 2, 1e-14)) - 2, np.log(special.gammainccinv(nu / 2, 1e-14)), size)
    log_w = nu / 2 * u - np.exp(u) - special.gammaln(nu / 2) + np.log(u[1] - u[0])
    return nu / (2 * np.exp(u)), log_w


def energy_distance(x: Tensor, y: Tensor) -> float:
    """``2 E|X - Y| - E|X - X'| - E|Y - Y'|`` of samples [n, d] and [m, d], unbiased (pairs i = i' left out).

    Finite for laws with a first moment, zero only for equal laws. Source: Szekely and Rizzo (2013), Energy statistics.
    """
    n, m = len(x), len(y)
    return 2 * mean_distance(x, y) - mean_distance(x, x) * n / (n - 1) - mean_distance(y, y) * m / (m - 1)


def mean_distance(x: Tensor, y: Tensor, block: int = 100) -> float:
    """Mean of |x_i - y_j| over all pairs of rows of [n, d] and [m, d]; of ``block`` rows at a time, whose distances fit into a cache."""
    y = y.double()
    return sum(float(torch.cdist(part, y).sum()) for part in x.double().split(block)) / (len(x) * len(y))


# Nine modes in two dimensions whose weights run from 1 % to 30 %.
_NINE = (0.30, 0.20, 0.15, 0.10, 0.08, 0.07, 0.05, 0.04, 0.01)


def nine_modes(noise: Noise) -> Modes:
    """The oracle of the benchmarks: a 3 x 3 square with distance 1, the rarest mode in a corner, s = 0.05."""
    means = tuple((float(i), float(j)) for i in (-1, 0, 1) for j in (-1, 0, 1))
    return Modes(noise, means, _NINE, 0.05)
