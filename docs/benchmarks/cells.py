"""Standardised by variable or by cell: the same design on the same fields, trained with the same seeds.

    python docs/benchmarks/cells.py FILE VARIABLE UNITS [CLIMATOLOGY] [TRANSFORM] [EOFS]      # at most a minute of one free core per training
    python docs/benchmarks/cells.py data/weather/era5-style.nc t2m degC day identity 0.9

EDM: a U-Net of 16 and 32 channels, 600 steps of 32, or with EOFS (a share of the variance or a number of them) 3,000 steps of three layers of 128;
500 samples. Held against the last 30 %, which were held out: of cells the root mean squares of log(standard deviation / real) and of
log(99 % quantile of |anomaly| / real), and measures of docs/weather-measures.md in units.
"""

import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from weather import DESIGNS, train_and_draw

from levy_core.base.samples import RECORDED, Samples
from levy_core.base.seeds import Streams
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import FieldsConfig, Variable
from levy_core.datasets.fields.prepare import prepare_fields
from levy_core.datasets.fields.store import FieldStore
from levy_core.datasets.fields.times import times_of
from levy_core.metrics.fields.measures import FieldsMeasures, FieldsReference, measure_fields

SEEDS, BATCH, CHANNELS, SAMPLES = (0, 1, 2), 32, (16, 32), 500
ALL = Samples("fields", ("all",), **RECORDED["fields"])
MEASURES = ("distance", "q999_ratio", "mean95_ratio", "spectrum_error", "correlation_error", "joint_error")


def cell_errors(x: np.ndarray, real: np.ndarray) -> tuple[float, float]:
    """Of fields [N, 1, H, W] as anomalies: root mean squares over cells of the log ratios of spread and of high |x|."""
    ratios = [
        np.nanstd(x, 0) / np.nanstd(real, 0),
        np.nanquantile(np.abs(x), 0.99, 0) / np.nanquantile(np.abs(real), 0.99, 0),
    ]
    return tuple(float(np.sqrt((np.log(ratio[np.isfinite(ratio)]) ** 2).mean())) for ratio in ratios)


def main(
    file: str, name: str, units: str, climatology: str = "none", transform: str = "identity", eofs: str = ""
) -> None:
    """Prints a row per way and seed, then means and standard deviations over seeds, and of their paired difference."""
    torch.set_num_threads(1)
    minimum = 0.0 if units.startswith("mm") else None
    design, steps = DESIGNS["EDM"], 600
    if eofs:
        design, steps = design | {"eofs": int(eofs) if eofs.isdigit() else float(eofs)}, 3000
    variable = Variable(name, units, transform=transform, minimum=minimum)
    rows: dict[str, list[list[float]]] = {"variable": [], "cell": []}
    with TemporaryDirectory() as folder:
        source, made = Path(folder, "data"), {}
        source.mkdir()
        (source / Path(file).name).symlink_to(Path(file).resolve())
        for way in rows:
            made[way] = Path(folder, way)
            made[way].mkdir()
            config = FieldsConfig((variable,), climatology=climatology, standardise=way, test_share=0.3)
            prepare_fields(source, config, made[way], None, lambda blocks: blocks)
        for seed in SEEDS:
            for way, prepared in made.items():
                start, codec = time.process_time(), Codec.load(prepared)
                train, test = (FieldStore.open(prepared / "fields.zarr", group) for group in ("train", "test"))
                real = codec.decode(test[:], test.times)
                areas = FieldsReference.of(real, test.labels, codec.names, codec.areas, FieldsMeasures())
                x, latent, _ = train_and_draw(design, torch.from_numpy(train[:]), CHANNELS, BATCH, steps, SAMPLES, seed)
                if latent:
                    x = latent.decode(x) + latent.draw_rest(Streams.of_samples(seed, "latent", range(len(x))))
                x = x.numpy()
                labels = np.zeros(SAMPLES, dtype=np.int64)
                found = measure_fields(codec.decode(x, times_of(codec, ALL, labels)), labels, {"test": areas})
                errors = cell_errors(codec.anomalies(x), codec.anomalies(test[:]))
                named = [found[f"{m}/test" + ("" if m == "distance" else f"/{variable.key}")] for m in MEASURES]
                rows[way].append([*errors, *named])
                numbers = " ".join(f"{value:.3f}" for value in rows[way][-1])
                print(f"{way} {seed}: {numbers} ({time.process_time() - start:.0f} CPU seconds)", flush=True)
    print("cell spread, cell 99 %,", ", ".join(MEASURES))
    every = {way: np.array(values) for way, values in rows.items()}
    for label, values in (*every.items(), ("cell - variable", every["cell"] - every["variable"])):
        print(label, *(f"{m:.3f} ± {s:.3f}" for m, s in zip(values.mean(0), values.std(0, ddof=1), strict=True)))


if __name__ == "__main__":
    main(*sys.argv[1:])
