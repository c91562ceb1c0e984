"""The same bytes from the same inputs on the same machine."""

import os

import torch


def make_reproducible(threads: int) -> None:
    """A fixed number of torch threads and deterministic kernels, for the whole process."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.set_deterministic_debug_mode("warn")  # as use_deterministic_algorithms, which would load torch's compiler
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs time and guards nothing that runs here
