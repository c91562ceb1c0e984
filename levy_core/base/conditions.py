"""Conditions: what a sample is asked to be, a mapping of tensors with one row per sample. ``label`` is its class, int64 [B];
``augment`` tells how an image was augmented in training, float32 [B, k], and is left out or 0 elsewhere. ``place`` says that samples are patches of
fields, and where each begins: row and column, int64 [B, 2]; without it they are whole.

A predictor is called as ``eps_hat(y, rho, cond)``, whatever stands in ``cond``; each network takes the entries that it knows.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from levy_core.base.errors import LevyError

LABEL = "label"
AUGMENT = "augment"
PLACE = "place"
Condition = Mapping[str, Tensor]


def of_labels(labels: Tensor) -> dict[str, Tensor]:
    """The condition that asks for classes alone, int64 [B]."""
    return {LABEL: labels}


def rows_of(cond: Condition, rows: Tensor | slice) -> dict[str, Tensor]:
    """Some rows of every entry."""
    return {name: values[rows] for name, values in cond.items()}


def check_one_per_sample(cond: Condition, n: int) -> None:
    """Refuses a condition with another number of rows than there are sample indices.

    Raises:
        LevyError: names the entry.
    """
    for name, values in cond.items():
        if len(values) != n:
            raise LevyError(f"{n} sample indices came with {len(values)} rows of {name}: give one row per sample")


def move(cond: Condition, device: str | torch.device) -> dict[str, Tensor]:
    """Every entry on a device."""
    return {name: values.to(device) for name, values in cond.items()}


def repeat(cond: Condition, times: int) -> dict[str, Tensor]:
    """All rows again and again, [times * B, ...]."""
    return {name: values.repeat(times, *[1] * (values.dim() - 1)) for name, values in cond.items()}
