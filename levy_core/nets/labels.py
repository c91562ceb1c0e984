"""What a network is told of a sample's class: a vector of its own, or one by what the classes have in common."""

import numpy as np
import torch
from torch import Tensor, nn

from levy_core.base.errors import LevyError


class NumberedLabels(nn.Module):
    """A vector for each label, linear in numbers that tell the labels apart, so that labels of like numbers are told alike: int64 [B] -> [B, width].

    The numbers are kept with the weights; NaN until ``tell_labels`` or ``load_state_dict`` fills them.
    """

    def __init__(self, labels: int, numbers: int, width: int):
        super().__init__()
        self.numbers: Tensor
        self.register_buffer("numbers", torch.full((labels, numbers), float("nan")))
        self.linear = nn.Linear(numbers, width, bias=False)

    def forward(self, label: Tensor) -> Tensor:
        return self.linear(self.numbers[label])


def label_vectors(labels: int, numbers: int, width: int) -> nn.Module:
    """int64 [B] -> [B, width]; ``numbers`` that tell labels apart, 0: each has a vector of its own."""
    return NumberedLabels(labels, numbers, width) if numbers else nn.Embedding(labels, width)


def tell_labels(net: nn.Module, numbers: np.ndarray | None) -> None:
    """Gives a network the numbers of its labels, [labels, numbers], where it has a place for them.

    Raises:
        LevyError: they are of another shape, or lacking.
    """
    for module in net.modules():
        if isinstance(module, NumberedLabels):
            given = () if numbers is None else numbers.shape
            if numbers is None or given != tuple(module.numbers.shape):
                raise LevyError(
                    f"numbers of shape {list(given)} were given for {len(module.numbers)} labels of {module.numbers.shape[1]} numbers each: run "
                    "the prepare stage again"
                )
            module.numbers.copy_(torch.from_numpy(numbers))
