"""Makes the starter data: scikit-learn's handwritten digits as a zip of PNGs, and made-up weather as ERA5 would come.

Run once by the maintainers (`python -m levy_core.datasets.starter`), then `dvc add data` and `dvc push -r starter`; people get it by `dvc pull`.
"""

import io
import zipfile
from math import ceil, log2
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from PIL import Image
from sklearn.datasets import load_digits

from levy_core.datasets.synthetic import TIME, Synthetic, blocks

WEATHER = Synthetic(("t2m", "tp"), nu=4.0, seed=2001)
DAYS = 8 * 365 + 2  # 2001 to 2008
PRECISION = {"t2m": 2.0**-5, "tp": 2.0**-18}  # K and m; finer would only be noise to compress


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [1797, 8, 8] (the original 0..16 spread over 0..255) and labels int64 [1797]."""
    bunch = load_digits()
    return np.rint(bunch.images * (255 / 16)).astype(np.uint8), bunch.target


def packing(values: np.ndarray, precision: float) -> dict[str, Any]:
    """How to store float32 values as int16 with linear packing, as ERA5 does, whatever the extremes.

    The step is a power of two, at least ``precision`` and wide enough for the whole range; the offset is a multiple of it, so
    that 0 stays 0.
    """
    low, high = float(values.min()), float(values.max())
    step = max(precision, 2.0 ** ceil(log2((high - low) / 65_000)))
    offset = step * round((low + high) / 2 / step)
    return {"dtype": "int16", "scale_factor": step, "add_offset": offset, "_FillValue": -32767}


def write_weather(path: Path) -> None:
    """Daily fields at 12 UTC, packed and compressed; the same bytes every time."""
    data = xr.concat(list(blocks(WEATHER, DAYS, block=365)), TIME, combine_attrs="override")
    encoding = {
        name: {**packing(data[name].values, PRECISION[name]), "zlib": True, "complevel": 9, "shuffle": True}
        for name in WEATHER.variables
    }
    encoding[TIME] = {"units": "hours since 1970-01-01", "calendar": "proleptic_gregorian", "dtype": "int32"}
    path.parent.mkdir(parents=True, exist_ok=True)
    data.to_netcdf(path, engine="netcdf4", encoding=encoding)


def write_digits(path: Path) -> None:
    """One sub-folder of PNGs per class, with fixed dates so that the hash is fixed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for number, (image, label) in enumerate(zip(*digits(), strict=True)):
            png = io.BytesIO()
            Image.fromarray(image).save(png, "PNG")
            archive.writestr(zipfile.ZipInfo(f"{label}/{number:04d}.png"), png.getvalue())


def main() -> None:
    """Writes both below ``data/``."""
    write_digits(Path("data/digits/digits.zip"))
    write_weather(Path("data/weather/era5-style.nc"))


if __name__ == "__main__":
    main()
