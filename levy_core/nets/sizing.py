"""How large a network would be, without making it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from levy_core.nets.precision import parameter_count


class _Unmade(TorchFunctionMode):
    """Parameters have a shape and no values, and nothing starts them: torch would start those without values by code that takes seconds to import."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = dict(kwargs or {})
        first = args[0] if args else given.get("tensor")
        name = getattr(func, "__name__", "")
        changes_it = name.endswith("_") and not name.endswith("__") and name != "requires_grad_"
        if changes_it and isinstance(first, Tensor) and first.is_meta:
            return first
        return func(*args, **given | ({"device": "meta"} if func is torch.empty else {}))


def count_unmade(make: Callable[[], nn.Module]) -> int:
    """Number of trainable values of the network that a function makes, in milliseconds and without their memory."""
    with _Unmade():
        return parameter_count(make())
