"""A GPU whose memory is used up ends a stage in one message."""

import pickle

import pytest
import torch

from tasks.runtime import gpu_memory, stage

# Of torch 2.13's CUDACachingAllocator.
SAID = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.15 GiB of which 1.19 GiB is free. Process 17 has "
    "3.00 GiB memory in use. Including non-PyTorch memory, this process has 74.95 GiB memory in use. Of the allocated memory 70.10 GiB is "
    "allocated by PyTorch, and 3.20 GiB is reserved by PyTorch but unallocated."
)


def test_it_says_what_was_asked_for_and_what_to_change():
    def work(settings):
        # as from the process of a GPU, through a pipe
        raise pickle.loads(pickle.dumps(torch.OutOfMemoryError(SAID)))

    with pytest.raises(SystemExit) as ended:
        stage.run(work, lambda: None)
    assert str(ended.value).startswith(
        "error: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.15 GiB of which 1.19 GiB is free: of a "
        "training raise train.accumulate,"
    )


def test_other_errors_are_not_of_it():
    assert gpu_memory.explain(RuntimeError(SAID)) is None
