"""The share of every training batch that one of several processes takes. What carries sums between them is the caller's."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from levy_core.base.errors import LevyError


@dataclass(frozen=True)
class Share:
    """One of ``count`` processes that train one model on one stream of batches.

    Attributes:
        index: of this process, from 0.
        add: replaces a float32 tensor in place by its sum over all processes, the same bits in each of them.
    """

    index: int = 0
    count: int = 1
    add: Callable[[Tensor], object] = lambda partial: None

    def of(self, batch: int) -> slice:
        """Rows of a batch of this size; the shares of two processes differ by one row at most.

        Raises:
            LevyError: a batch with fewer rows than there are processes.
        """
        if batch < self.count:
            raise LevyError(
                f"train.batch is {batch}, but {self.count} processes share every batch: "
                "raise train.batch, or lower train.processes to it"
            )
        return slice(batch * self.index // self.count, batch * (self.index + 1) // self.count)


WHOLE = Share()
