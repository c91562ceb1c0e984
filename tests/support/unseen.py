"""A device whose values nobody sees, in the place of a GPU: torch's meta device, on which reads of the host are counted and no operation may mix devices.

It holds a network and the steps of its training to what a GPU asks of them: where tensors lie, and when the host waits for their values.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from unittest.mock import patch

import torch
from torch.utils._foreach_utils import _get_fused_kernels_supported_devices
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from levy_core.base import philox

UNSEEN = torch.device("meta")


class Watch(TorchDispatchMode):
    """What crosses to and from the device.

    Attributes:
        reads: of its values by the host, which sees zeros, by operation. sent: tensors that were copied to it.
    """

    def __init__(self):
        super().__init__()
        self.reads, self.sent = Counter(), 0

    def clear(self):
        self.reads.clear()
        self.sent = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs, name = kwargs or {}, func.overloadpacket.__name__
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        there = [t.device == UNSEEN for t in given]
        if name == "_to_copy":
            to = torch.device(kwargs.get("device") or given[0].device) == UNSEEN
            self.sent += to and not there[0]
            if there[0] and not to:
                self.reads[name] += 1
                return torch.zeros(given[0].shape, dtype=kwargs.get("dtype") or given[0].dtype)
        elif name == "copy_":
            self.sent += there[0] and not there[1]
            if there[1] and not there[0]:
                self.reads[name] += 1
                return given[0]
        elif any(there):
            mixed = [tuple(t.shape) for t, there in zip(given, there, strict=True) if not there and t.dim()]
            assert not mixed, f"{func} takes tensors of shapes {mixed} from the CPU and others from the device"
            if name == "_local_scalar_dense":
                self.reads[name] += 1
                return 0.0
        return func(*args, **kwargs)


@contextmanager
def unseen_device() -> Iterator[Watch]:
    """Noise is drawn on the device and AdamW is fused there, as on a GPU; autocast, which it does not know, is left out."""
    fused, autocast = [*_get_fused_kernels_supported_devices(), UNSEEN.type], torch.autocast
    cast = lambda kind, *more, **rest: nullcontext() if kind == UNSEEN.type else autocast(kind, *more, **rest)
    with ExitStack() as patches:
        patches.enter_context(patch.object(philox, "OWN_NOISE", frozenset({UNSEEN.type})))
        patches.enter_context(patch("torch.optim.optimizer._get_fused_kernels_supported_devices", lambda: fused))
        patches.enter_context(patch.object(torch, "autocast", cast))
        yield patches.enter_context(Watch())
