"""The same bytes from the same inputs on the same machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def make_reproducible(threads: int) -> None:
    """A fixed number of torch threads and deterministic kernels, for the whole process."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("warn")  # as use_deterministic_algorithms, which would load torch's compiler
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs time and guards nothing that runs here


@contextmanager
def strictly_deterministic(device: torch.device) -> Iterator[None]:
    """A network's evaluation and its gradient on a GPU, to the same bits, in a process that ``make_reproducible`` has set up.

    Where a lack of deterministic kernels is only warned of, torch takes kernels of attention whose gradients are sums in any order, though it has
    others (``scaled_dot_product_attention``: flash, memory-efficient, cuDNN). An operation that has no other is an error here.
    """
    mode = torch.get_deterministic_debug_mode()
    if device.type == "cpu" or not mode:
        yield
        return
    torch.set_deterministic_debug_mode("error")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
