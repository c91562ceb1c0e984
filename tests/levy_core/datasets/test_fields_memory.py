"""Preparing needs no more memory for longer data."""

import os
import subprocess
import sys
import textwrap

import numpy as np

from tests.conftest import ROOT
from tests.support.fields import temperature

PEAK = """
    import sys
    from pathlib import Path
    from docs.benchmarks.memory import peak
    from levy_core.datasets.fields.config import FieldsConfig, Variable
    from levy_core.datasets.fields.prepare import prepare_fields

    folder, into = Path(sys.argv[1]), Path(sys.argv[2])
    settings = FieldsConfig((Variable("t2m", "K"),), climatology="day", test_share=0.5)
    prepare_fields(folder, settings, into, None, lambda blocks: blocks, block_bytes=4 * 2**20)
    print(peak())
"""


def long_store(path, days, side=64):
    """Daily fields on side x side cells, made one year at a time."""
    rng = np.random.default_rng(0)
    one = temperature(365, np.linspace(60, 40, side), np.linspace(0, 20, side), freq="D")
    for start in range(0, days, 365):
        times = np.datetime64("2001-01-01", "ns") + np.arange(start, start + 365) * np.timedelta64(1, "D")
        values = one["t2m"].to_numpy() + rng.standard_normal((365, 1, 1)).astype(np.float32)
        part = one.assign(t2m=one["t2m"].copy(data=values)).assign_coords(time=times).chunk(time=73)
        options = {"append_dim": "time"} if start else {"encoding": {"t2m": {"compressors": None}}}
        part.to_zarr(path, consolidated=False, zarr_format=3, **options)


def test_memory_does_not_grow_with_the_length_of_the_data(tmp_path):
    peaks, sizes = [], []
    for years in (8, 24):  # 46 and 137 MiB: blocks are small beside both
        folder, into = tmp_path / f"data{years}", tmp_path / f"into{years}"
        into.mkdir()
        long_store(folder / "a.zarr", 365 * years)
        command = [sys.executable, "-c", textwrap.dedent(PEAK), str(folder), str(into)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "MALLOC_ARENA_MAX": "2"},
        )
        peaks.append(int(done.stdout))
        sizes.append(sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) / 2**20)
    # The allocator alone moves peaks by 12 MiB; whoever holds the fields in float32, the smallest form, adds all of them.
    assert peaks[1] - peaks[0] < (sizes[1] - sizes[0]) / 3
