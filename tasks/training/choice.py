"""The weights that a model is made with: the average that training follows, or one whose length is chosen after it."""

from typing import Any

from torch import Tensor

from levy_core.base.errors import LevyError
from levy_core.training.power_averages import Read, reachable_lengths
from levy_core.training.trainer import Trainer
from tasks.training.held_out import HeldOut

BEST = "best"


def check_choice(chosen: float | str | None, held_out: HeldOut, dataset: str) -> None:
    """Refuses a choice by held-out samples where there are none.

    Raises:
        LevyError: names the key.
    """
    if chosen == BEST and not held_out.hash:
        raise LevyError(
            f"train.ema_chosen is {BEST}, the length with the least loss of held-out samples, but {dataset} holds none out: give a length, "
            "or hold some out (docs/data.md)"
        )


def choose_weights(
    trainer: Trainer, chosen: float | str | None, held_out: HeldOut, read: Read
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The weights of a finished training, and what a model says of their choice.

    Args:
        chosen: length of a power-function average; ``BEST``: the one of ``reachable_lengths`` with the least loss of held-out
            samples; None: the exponential average. read: what the training kept.
    """
    if chosen is None:
        return trainer.averaged_weights(), {}
    if chosen != BEST:
        return trainer.averaged_weights(trainer.averaged_over(float(chosen), read)), {"ema_length": chosen}
    lengths = reachable_lengths(trainer.config.ema_lengths, trainer.config.steps)
    losses = {length: held_out.loss_of(trainer, trainer.averaged_over(length, read)) for length in lengths}
    best = min(losses, key=lambda length: losses[length])
    said = {"ema_length": best, "ema_losses": {f"{length:g}": loss for length, loss in losses.items()}}
    return trainer.averaged_weights(trainer.averaged_over(best, read)), said


def describe_choice(said: dict[str, Any], before: float) -> str:
    """A line for people; ``before``: the loss of held-out samples of the exponential average, NaN where unknown."""
    length = said["ema_length"]
    if "ema_losses" not in said:
        return f"weights averaged over a length of {length:g}"
    losses = said["ema_losses"]
    found = ", ".join(f"{name} {loss:.4f}" for name, loss in losses.items())
    return f"weights averaged over a length of {length:g}, with the least loss of held-out samples: {found} (train.ema: {before:.4f})"
