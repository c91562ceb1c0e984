"""Cells on disk: whole or not there."""

import resource

import numpy as np
import pytest

from levy_core.base.errors import NotFiniteError
from tasks.cells.store import write_cell


def test_a_cell_that_is_written_in_parts_is_the_array_that_numpy_would_write(tmp_path):
    samples = np.random.default_rng(0).standard_normal((7, 2, 3)).astype(np.float32)
    write_cell(tmp_path, "cell", samples.shape, samples.dtype, np.split(samples, [2, 6]))
    np.save(tmp_path / "whole.npy", samples)
    assert (tmp_path / "cell.npy").read_bytes() == (tmp_path / "whole.npy").read_bytes()


def test_a_cell_whose_samples_fail_on_the_way_is_not_there(tmp_path):
    def draw():
        yield np.zeros((2, 4), np.float32)
        raise NotFiniteError("step 3")

    with pytest.raises(NotFiniteError):
        write_cell(tmp_path, "cell", (5, 4), np.dtype(np.float32), draw())
    assert list(tmp_path.iterdir()) == []


def test_a_cell_whose_last_bytes_cannot_be_written_is_an_error_and_not_a_file_cut_off(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_cell(tmp_path, "cell", (30, 64), np.dtype(np.uint8), [np.zeros((30, 64), np.uint8)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
