"""What the network predicts, and its conversion to ``eps_hat(y, rho) = E[e | y]``."""

import torch
from torch import Tensor, nn

from levy_core.schedule import signal_at

# name -> eps_hat as a function of (network output, p); THEORY: a new parametrisation is a row here.
PARAMETRISATIONS = {
    "noise": lambda out, p: out,
    # LIM's network predicts -e / alpha; the fractional score is S = -(1 / alpha) gamma**(1 - alpha) eps_hat.
    "lim-score": lambda out, p: -p * out,
}


class Predictor(nn.Module):
    """A network seen as ``eps_hat``, whatever it predicts.

    The network is called as ``net(x, log_rho, label)`` with x = a(rho) y, the scale-preserved input.

    Args:
        net: maps ([B, *S], [B], [B] int64) to [B, *S].
        param: a key of ``PARAMETRISATIONS``.
        exponent: p of the noise law.
    """

    def __init__(self, net: nn.Module, param: str, exponent: float):
        super().__init__()
        self.net = net
        self.param = param
        self.exponent = exponent

    def forward(self, y: Tensor, rho: Tensor, label: Tensor) -> Tensor:
        """eps_hat, [B, *S], from y [B, *S], rho [B] and label [B] (int64; the last class index means 'no class')."""
        signal = signal_at(rho, self.exponent).view(-1, *[1] * (y.dim() - 1))
        out = self.net(signal * y, torch.log(rho), label)
        return PARAMETRISATIONS[self.param](out, self.exponent)
