"""Phase space: a position x and a momentum p per coordinate, noised together (PSLD; CLD is Gamma = 0).

    dz = F z d tau / 2 + G dW,   z = (x, p),   F = [[-Gamma, w], [-w, -nu]],   G = diag(sqrt Gamma, sqrt nu)

in time tau = beta t, with p the published momentum over sqrt(M) and ``w = M**-0.5 = |nu - Gamma| / 2`` (critical damping). N(0, I) is
stationary. From (x_0, p_0), p_0 ~ N(0, kappa), the state is Gaussian around ``Phi (x_0, 0)``, ``Phi = exp(F tau / 2)``, and
``Phi**-1 z`` is ``(x_0, 0)`` plus noise of covariance P(tau). So ordinary denoisers serve it: one number per coordinate,
``u = (P**-1 Phi**-1 z)_1 / (P**-1)_11``, is sufficient for x_0, and is ``x_0 + rho_eff e`` with ``rho_eff = (P**-1)_11**-0.5``.

Sources: Pandey and Mandt, A complete recipe for diffusion generative models (arXiv 2303.01748); Dockhorn et al. (2022), CLD; the root R is
that of Zhang et al., gDDIM (arXiv 2206.05564).
"""

from dataclasses import dataclass
from math import inf

import torch
from scipy import special
from torch import Tensor

from levy_core.base.errors import LevyError
from levy_core.sampling import steps

NODES, NODE_WEIGHTS = torch.from_numpy(steps.NODES), torch.from_numpy(steps.NODE_WEIGHTS)
_BISECTIONS = 200
_TAU_MIN, _EXPONENT_MAX = 1e-12, 100.0


@dataclass(frozen=True)
class PhasePath:
    """The noising process; the defaults are those published for CIFAR-10. All in float64: tau of any shape, 2 x 2 matrices behind it.

    Args:
        gamma, nu: friction, and noise, of position and momentum; the further apart, the faster they oscillate.
        beta: the length of the path in tau.
        kappa: variance of the starting momentum.

    Raises:
        LevyError: a number out of range; gamma equal to nu, which couples nothing; a path on which nothing of the data is left.
    """

    gamma: float = 0.01
    nu: float = 4.01
    beta: float = 8.0
    kappa: float = 0.04

    def __post_init__(self) -> None:
        for name in ("gamma", "nu", "kappa"):
            if not 0 <= (value := getattr(self, name)) < inf:
                raise LevyError(f"{name} of the phase path is {value}, but must be a finite number of at least 0")
        if not 0 < self.beta < inf:
            raise LevyError(f"beta of the phase path is {self.beta}, but must be a positive, finite number")
        if self.gamma == self.nu:
            raise LevyError(
                f"gamma and nu of the phase path are both {self.nu}: they set the coupling |nu - gamma| / 2 of position and "
                "momentum, which must not be 0; published are 0.01 and 4.01"
            )
        if (exponent := (self.gamma + self.nu) * self.beta / 2) > _EXPONENT_MAX:
            raise LevyError(
                f"(gamma + nu) beta / 2 of the phase path is {exponent:.4g}, and exp(-{exponent:.4g}) of the data's variance is left at its "
                f"end: lower beta, so that it is at most {_EXPONENT_MAX:g} (published: 16)"
            )

    @property
    def coupling(self) -> float:
        """w."""
        return abs(self.nu - self.gamma) / 2

    @property
    def drift(self) -> Tensor:
        """F."""
        return torch.tensor([[-self.gamma, self.coupling], [-self.coupling, -self.nu]], dtype=torch.float64)

    @property
    def diffusion(self) -> Tensor:
        """``G G^T = diag(gamma, nu)``."""
        return torch.diag(torch.tensor([self.gamma, self.nu], dtype=torch.float64))

    @property
    def _nilpotent(self) -> Tensor:
        """N: F without its mean decay, which squares to 0."""
        return self.drift + (self.gamma + self.nu) / 2 * torch.eye(2, dtype=torch.float64)

    def flow(self, tau: Tensor) -> Tensor:
        """Phi; tau of either sign. Critical damping leaves two terms of the exponential."""
        decay = torch.exp(-(self.gamma + self.nu) * tau / 4)[..., None, None]
        return decay * (torch.eye(2).double() + tau[..., None, None] / 2 * self._nilpotent)

    def rate(self, tau: Tensor) -> Tensor:
        """``dP / d tau = Phi**-1 G G^T Phi**-T``."""
        back = self.flow(-tau)
        return back @ self.diffusion @ back.mT

    def noise(self, tau: Tensor) -> Tensor:
        """P: the integral of ``rate`` from ``diag(0, kappa)``.

        ``rate = exp(c tau) (D - tau/2 (N D + D N^T) + tau**2/4 N D N^T)``, and the integral of ``tau**k exp(c tau)`` is a confluent
        hypergeometric function; unlike the published form of ``covariance``, it keeps all digits near tau = 0.
        """
        n, d = self._nilpotent, self.diffusion
        grown = torch.diag(torch.tensor([0.0, self.kappa], dtype=torch.float64))
        for k, part in enumerate((d, -(n @ d + d @ n.mT) / 2, n @ d @ n.mT / 4)):
            x = (self.gamma + self.nu) / 2 * tau
            mass = tau ** (k + 1) * torch.as_tensor(special.hyp1f1(k + 1, k + 2, x.numpy()) / (k + 1))
            grown = grown + mass[..., None, None] * part
        return grown

    def covariance(self, tau: Tensor) -> Tensor:
        """Of z given x_0: ``Phi P Phi^T``, which is ``I - Phi diag(1, 1 - kappa) Phi^T``."""
        flow = self.flow(tau)
        return flow @ self.noise(tau) @ flow.mT

    def ratio(self, tau: Tensor) -> Tensor:
        """rho_eff, rising with tau."""
        noise = self.noise(tau)
        return (noise[..., 0, 0] - noise[..., 0, 1] ** 2 / noise[..., 1, 1]).sqrt()

    def read(self, tau: Tensor) -> Tensor:
        """What makes u of z, [..., 2]: ``u = read . z``."""
        noise = self.noise(tau)
        row = torch.stack([torch.ones_like(tau), -noise[..., 0, 1] / noise[..., 1, 1]], dim=-1)
        return (row[..., None, :] @ self.flow(-tau))[..., 0, :]

    def time(self, rho: Tensor) -> Tensor:
        """The inverse of ``ratio``, by bisection in log tau.

        Raises:
            LevyError: a level that the path does not have; names it and the path's ends.
        """
        low = torch.full_like(rho, _TAU_MIN).log()
        high = torch.full_like(rho, self.beta).log()
        first, last = float(self.ratio(low.flatten()[:1].exp())), float(self.ratio(high.flatten()[:1].exp()))
        if (outside := rho[(rho < first) | (rho > last * (1 + 1e-9))]).numel():
            raise LevyError(
                f"the phase path has levels rho from {first:.3g} to {last:.4g}, but {float(outside[0]):.4g} was asked for: choose "
                "rho_max and rho_min within, or raise beta"
            )
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            above = self.ratio(middle.exp()) > rho
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return ((low + high) / 2).exp()

    def turn(self, start: Tensor, end: Tensor) -> Tensor:
        """The angle by which gDDIM's root R turns against the Cholesky factor of P between two times.

        With ``R = L Q``, L lower and Q a rotation, ``R R^T = P`` holds by construction and ``dR R**-1 = dP P**-1 / 2`` leaves one
        equation: ``d angle = -(L**-1 dP L**-T)_12 / 2``, an integral over known functions, taken in log tau.
        """
        half = (end.log() - start.log()) / 2
        at = (start.log()[..., None] + half[..., None] * (NODES + 1)).exp()
        return half * ((self._turning(at) * at) @ NODE_WEIGHTS)

    def _turning(self, tau: Tensor) -> Tensor:
        factor = torch.linalg.cholesky(self.noise(tau))
        left = torch.linalg.solve_triangular(factor, self.rate(tau), upper=False)
        return -torch.linalg.solve_triangular(factor, left.mT, upper=False)[..., 0, 1] / 2

    def root(self, tau: Tensor, angle: Tensor) -> Tensor:
        """R at a time and an angle (``turn``); where the angle starts is free, because a constant rotation of R changes no step."""
        c, s = angle.cos(), angle.sin()
        rotation = torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], -2)
        return torch.linalg.cholesky(self.noise(tau)) @ rotation
