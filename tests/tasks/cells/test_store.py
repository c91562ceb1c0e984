"""Cells on disk: whole or not there."""

import resource

import numpy as np
import pytest

from tasks.cells.store import write_cell


def test_a_cell_whose_last_bytes_cannot_be_written_is_an_error_and_not_a_file_cut_off(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_cell(tmp_path, "cell", np.zeros((30, 64), np.uint8))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
