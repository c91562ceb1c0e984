"""Memory and time of preparing, measuring and showing fields of ERA5's size: python docs/benchmarks/large_fields.py [--days 300] [--folder /tmp]

Makes a zarr store of five daily variables on 721 x 1440 cells in a temporary folder (21 MB per day, twice with the prepared one),
and runs each step in a process of its own: prepare (with the tail index), reference, all measures of samples and a score of the search, which
are fields of the same kind, figures and maps of the report.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from memory import peak

from levy_core.datasets.fields.codec import Codec
from tasks.kinds.fields.data import prepare
from tasks.kinds.fields.metrics import FieldMetrics, make_reference
from tasks.kinds.fields.page import FieldPage
from tasks.kinds.fields.settings import FieldEvaluation, FieldSettings
from tasks.page.default_sampler import DefaultSampler
from tasks.runtime.paths import Folders

SHAPE, START, SAMPLES = (721, 1440), np.datetime64("2001-01-01", "ns"), 40
VARIABLES = {"t2m": "K", "u10": "m s-1", "v10": "m s-1", "msl": "Pa", "tp": "mm day-1"}
SETTINGS = {
    "kind": "fields",
    "variables": [
        {"name": name, "units": units} | ({"minimum": 0, "wet": 1} if name == "tp" else {})
        for name, units in VARIABLES.items()
    ],
}
STEPS = ("prepare", "reference", "measure", "report")


def field(rng: np.random.Generator, offset: float, spread: float, shape: tuple[int, int]) -> np.ndarray:
    """float32 [H, W], smooth on every scale down to cells."""
    total = np.zeros(shape, np.float32)
    for scale in (144, 36, 9, 1):
        rows, columns = (-(-side // scale) for side in shape)
        coarse = rng.standard_normal((rows, columns)).astype(np.float32)
        total += coarse.repeat(scale, 0).repeat(scale, 1)[: shape[0], : shape[1]] * np.sqrt(scale / 144)
    return offset + spread * total


def fields(rng: np.random.Generator, shape: tuple[int, int] = SHAPE) -> dict[str, np.ndarray]:
    """One day."""
    means = {"t2m": (280, 8), "u10": (0, 5), "v10": (0, 5), "msl": (101_000, 900)}
    day = {name: field(rng, *of, shape) for name, of in means.items()}
    return day | {"tp": np.maximum(field(rng, -2, 4, shape), 0)}


def make(path: Path, days: int, shape: tuple[int, int] = SHAPE) -> None:
    """A store in chunks of one day, round the globe from pole to pole."""
    rng, dims = np.random.default_rng(0), ("time", "latitude", "longitude")
    for day in range(days):
        times = START + np.array([day]) * np.timedelta64(1, "D")
        data = {name: (dims, values[None], {"units": VARIABLES[name]}) for name, values in fields(rng, shape).items()}
        axes = {
            "time": times,
            "latitude": np.linspace(90, -90, shape[0]),
            "longitude": np.arange(shape[1]) * 360 / shape[1],
        }
        first = {"encoding": {name: {"compressors": None} for name in VARIABLES}}
        block = xr.Dataset(data, axes).chunk(time=1)
        block.to_zarr(path, zarr_format=3, consolidated=False, **({"append_dim": "time"} if day else first))


def run(step: str, folder: Path) -> int:
    """One step; returns how many fields it looked at."""
    folders = Folders(folder / "raw", folder / "prepared", folder / "reference")
    if step == "prepare":
        folders.prepared.mkdir()
        prepare(folders.raw, FieldSettings(**SETTINGS), folders.prepared, None, "era5")
        return json.loads((folders.prepared / "statistics.json").read_text())["train"]["samples"]
    if step == "reference":
        folders.reference.mkdir()
        make_reference(folders.prepared, folders.reference, FieldEvaluation(), "era5")
        return len(FieldMetrics(folders.reference).references["train"].labels)
    samples, labels = np.load(folder / "samples.npy", mmap_mode="r"), np.zeros(SAMPLES, int)
    if step == "measure":
        metrics = FieldMetrics(folders.reference)
        metrics.measure(samples, labels)
        metrics.score([samples[:20], samples[20:]], labels, "distance/train")
        metrics.floors(labels)
        return SAMPLES
    page, shown = FieldPage(folders), folder / "report"
    shown.mkdir()
    sampler = DefaultSampler(pd.Series({"samples": SAMPLES}), "ode", [samples], labels, "none")
    page.figures({"edm": sampler})
    page.pictures(shown, {"edm": sampler})
    return SAMPLES


def draw(folder: Path) -> None:
    """Samples as the sample stage keeps them: standardised fields of other days."""
    codec, rng = Codec.load(folder / "prepared"), np.random.default_rng(1)
    kept = np.lib.format.open_memmap(folder / "samples.npy", "w+", np.float32, (SAMPLES, *codec.shape))
    for row in range(SAMPLES):
        day = fields(rng)
        kept[row] = codec.encode(np.stack([day[name] for name in VARIABLES])[None].astype(np.float64))[0]
    kept.flush()


def main() -> None:
    """Prints the table, or, in the process that is measured, its numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=300)
    parser.add_argument("--folder", type=Path, default=None, help="where the temporary folder is made")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)  # the process that is measured
    arguments = parser.parse_args()
    if arguments.step:
        before, start = peak(), time.perf_counter()
        count = run(arguments.step[0], Path(arguments.step[1]))
        found = {"fields": count, "seconds": time.perf_counter() - start, "before": before, "peak": peak()}
        print(json.dumps(found))
        return
    print("| step | fields | seconds | peak memory, MiB | of it before, MiB |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as temporary:
        folder = Path(temporary)
        make(folder / "raw" / "era5.zarr", arguments.days)
        for step in STEPS:
            if step == "measure":
                draw(folder)
            command = [sys.executable, __file__, "--step", step, str(folder)]
            printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            found = json.loads(printed.splitlines()[-1])
            print(
                f"| {step} | {found['fields']} | {found['seconds']:.0f} | {found['peak']} | {found['before']} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
