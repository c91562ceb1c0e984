"""Memory and rate of preparing fields: python docs/benchmarks/ingest.py [--gigabytes 3] [--folder /tmp]

Makes a zarr store of two variables on a 1 degree grid, hourly, in a temporary folder, prepares a quarter of it and all of
it, each in a process of its own, and prints peak memory and rate.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import xarray as xr
from memory import peak

from levy_core.datasets.fields.config import FieldsConfig, Variable
from levy_core.datasets.fields.prepare import prepare_fields

SHAPE = (181, 360)
BLOCK = 96  # hours written at a time
START = np.datetime64("2001-01-01", "ns")
SETTINGS = FieldsConfig(
    (Variable("t2m", "degC"), Variable("tp", "mm day-1", accumulated="1h", transform="log1p", minimum=0.0)),
    climatology="hour",
)


def make(path: Path, hours: int) -> None:
    """A store like ERA5's in chunks of 24 hours; values are noise, the same for every block."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((BLOCK, *SHAPE), dtype=np.float32)
    names = {"t2m": (280 + 10 * noise, "K", "2 metre temperature"), "tp": (1e-4 * noise**2, "m", "Total precipitation")}
    dims = ("time", "latitude", "longitude")
    for start in range(0, hours, BLOCK):
        times = START + np.arange(start, start + BLOCK) * np.timedelta64(1, "h")
        block = xr.Dataset(
            {k: (dims, v, {"units": units, "long_name": name}) for k, (v, units, name) in names.items()},
            {"time": times, "latitude": np.linspace(90, -90, SHAPE[0]), "longitude": np.arange(0.0, 360)},
        ).chunk(time=24)
        first = {"encoding": {k: {"compressors": None} for k in names}}
        block.to_zarr(path, zarr_format=3, consolidated=False, **({"append_dim": "time"} if start else first))


def prepare(folder: Path, settings: FieldsConfig) -> dict[str, float]:
    """Seconds and the peak memory of this process in MiB, before and with it."""
    before = peak()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory(dir=folder.parent) as into:
        prepare_fields(folder, settings, Path(into), None, lambda blocks: blocks)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "before": before, "peak": peak()}


def main() -> None:
    """Prints the table, or, in the process that is measured, its numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=3.0)
    parser.add_argument("--folder", type=Path, default=None, help="where the temporary folder is made")
    parser.add_argument("--prepare", nargs=2, help=argparse.SUPPRESS)  # the process that is measured
    arguments = parser.parse_args()
    if arguments.prepare:
        folder, end = arguments.prepare
        settings = FieldsConfig(**{**vars(SETTINGS), "period": ("2001-01-01", end)})
        print(json.dumps(prepare(Path(folder), settings)))
        return
    hours = int(arguments.gigabytes * 1e9 / (8 * np.prod(SHAPE))) // (4 * BLOCK) * 4 * BLOCK
    print(
        "| source, GB | fields | seconds | MB/s of source | peak memory, MiB | of it before, MiB |\n|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary, "data")
        make(folder / "era5.zarr", hours)
        for part in (hours // 4, hours):
            end = str(START + (part - 1) * np.timedelta64(1, "h"))[:19]
            command = [sys.executable, __file__, "--prepare", str(folder), end]
            found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            size = part * 8 * np.prod(SHAPE)
            rate = size / 1e6 / found["seconds"]
            print(
                f"| {size / 1e9:.2f} | {part} | {found['seconds']:.0f} | {rate:.0f} | {found['peak']:.0f} | {found['before']:.0f} |"
            )


if __name__ == "__main__":
    main()
