"""Finds and opens what a person put into ``data/NAME``: GRIB, NetCDF and zarr, here or behind any URL that fsspec knows."""

import glob
import sqlite3  # noqa: F401  (before eccodes, whose wheel brings an old SQLite that the process would then share with MLflow)
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cfgrib
import eccodes
import fsspec
import netCDF4
import xarray as xr
import zarr
from scipy.io import netcdf_file
from xarray.backends import CachingFileManager, NetCDF4DataStore
from xarray.backends.netCDF4_ import NETCDF4_PYTHON_LOCK

from levy_core.base.errors import LevyError

LISTED = "sources.txt"
SUFFIXES = {".grib", ".grb", ".grib2", ".grb2", ".nc", ".nc4", ".cdf"}
MAGIC = {b"GRIB": "cfgrib", b"\x89HDF": "netcdf4", b"CDF\x01": "netcdf4", b"CDF\x02": "netcdf4", b"CDF\x05": "netcdf4"}
STEP_RANGES = "GRIB_stepRanges"
RANGES = 48
CLASSIC = (b"CDF\x01", b"CDF\x02")
OPTIONS: dict[str, Any] = {"decode_timedelta": False}
ZARR_FILES = ("zarr.json", ".zgroup", ".zmetadata")
EXPECTED = (
    "GRIB (.grib, .grb, .grib2), NetCDF (.nc, .nc4) or zarr (a folder) are expected there, or a file sources.txt with one path, "
    "glob or URL per line"
)

LOCK = threading.RLock()
FILES: weakref.WeakSet[CachingFileManager[Any]] = weakref.WeakSet()


@contextmanager
def open_files() -> Iterator[None]:
    """Within it, this thread alone opens and reads sources, lazy arrays too; before and after it no NetCDF file is open.

    The HDF5 library is not safe with several threads. xarray closes files with its lock, but reads what they hold without it; and a file
    that garbage kept open is closed by whichever thread collects it, such as zarr's. A file that is read again is opened again.
    """
    with LOCK:
        _close_files()
        try:
            yield
        finally:
            _close_files()


def _close_files() -> None:
    for file in list(FILES):
        file.close()


def find(folder: Path) -> list[str]:
    """The sources of a data set, paths or URLs, in order of their names.

    Raises:
        LevyError: there are none, or a line of ``sources.txt`` finds nothing.
    """
    if not folder.is_dir():
        raise LevyError(f"{folder} is not a folder: {EXPECTED}")
    listed = folder / LISTED
    if listed.is_file():
        lines = [line.strip() for line in listed.read_text().splitlines()]
        names = [
            name
            for line in lines
            if line and not line.startswith("#")
            for name in expand(line, folder, folder / LISTED)
        ]
    else:
        names = sorted(_search(folder))
    if not names:
        held = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
        raise LevyError(f"{folder} holds {held}: {EXPECTED}")
    return list(dict.fromkeys(names))


def _search(folder: Path) -> Iterator[str]:
    for path in folder.iterdir():
        if path.name.startswith("."):
            continue
        if path.is_dir():
            yield from [str(path)] if _is_zarr(path) else _search(path)
        elif path.suffix.lower() in SUFFIXES:
            yield str(path)


def _is_zarr(path: Path) -> bool:
    return any((path / name).exists() for name in ZARR_FILES)


def expand(line: str, folder: Path, where: object) -> list[str]:
    """The sources that a path or glob relative to a folder, or a URL, names.

    Args:
        where: it was written, for messages.

    Raises:
        LevyError: it finds nothing, or a package that its URL needs is missing.
    """
    if "://" not in line:
        names = sorted(glob.glob(str(folder / Path(line).expanduser()), recursive=True))
    elif glob.has_magic(line):
        names = sorted(_filesystem(line).glob(line))
        names = [_filesystem(line).unstrip_protocol(name) for name in names]
    else:
        names = [line]
    if not names:
        raise LevyError(f"{where}: {line} finds no file: correct the path, relative to {folder}, or the URL")
    return [name.removeprefix("file://") for name in names]


def _filesystem(url: str) -> fsspec.AbstractFileSystem:
    try:
        return fsspec.core.url_to_fs(url)[0]
    except (ImportError, ValueError) as error:  # fsspec names the package that is missing
        raise LevyError(
            f"{url} cannot be opened ({error}): install the named package into this environment, or correct the URL"
        ) from error


def open_source(name: str) -> list[xr.Dataset]:
    """The data sets of one source, lazily and decoded (a GRIB file may hold several); opened and read within ``open_files``.

    Raises:
        LevyError: it is missing, damaged, truncated, of an unknown kind, or needs a package that is not installed.
    """
    if "://" in name:
        filesystem = _filesystem(name)
    try:
        if "://" in name and Path(name).suffix.lower() not in SUFFIXES:
            return [_open_zarr(filesystem.get_mapper(name))]
        path = fsspec.open_local(f"simplecache::{name}") if "://" in name else name
        if Path(path).is_dir():
            return [_open_zarr(path)]
        engine = _engine(Path(path))
        if engine != "cfgrib":
            file = CachingFileManager[Any](
                netCDF4.Dataset, str(Path(path).absolute()), mode="r", lock=NETCDF4_PYTHON_LOCK
            )
            FILES.add(file)
            return [xr.open_dataset(NetCDF4DataStore(file), **OPTIONS)]
        options = OPTIONS | {"backend_kwargs": {"indexpath": "", "errors": "raise"}}  # no file beside the data, no gap
        try:
            datasets = [xr.open_dataset(path, engine=engine, **options)]
        except cfgrib.DatasetBuildError:  # variables of several levels or steps; scans the file again
            datasets = cfgrib.open_datasets(path, **options)
        _add_step_ranges(datasets, Path(path))
        return datasets
    except LevyError:
        raise
    except Exception as error:  # each library raises many kinds
        raise LevyError(
            f"{name} cannot be read, it is damaged or truncated ({type(error).__name__}: {error}): fetch it again or remove it"
        ) from error


def _add_step_ranges(datasets: list[xr.Dataset], path: Path) -> None:
    """Gives accumulated variables the attribute ``STEP_RANGES``, which cfgrib drops: (reference hour, first, last step) in hours.

    It holds those of the first ``RANGES`` messages of the variable: whether amounts follow on each other or run on, they all do.
    """
    accumulated = {
        str(k): a for d in datasets for k, a in d.data_vars.items() if a.attrs.get("GRIB_stepType") == "accum"
    }
    found: dict[str, list[tuple[float, int, int]]] = {name: [] for name in accumulated}
    with path.open("rb") as file:
        while any(len(ranges) < RANGES for ranges in found.values()):
            message = eccodes.codes_grib_new_from_file(file, headers_only=True)
            if message is None:
                break
            ranges = found.get(eccodes.codes_get(message, "cfVarName"), [])
            eccodes.codes_set(message, "stepUnits", "h")
            first, last = (int(eccodes.codes_get(message, key)) for key in ("startStep", "endStep"))
            ranges.append((eccodes.codes_get(message, "hour"), first, last))
            eccodes.codes_release(message)
    for name, array in accumulated.items():
        if found[name]:
            array.attrs[STEP_RANGES] = found[name]


def _open_zarr(store: Any) -> xr.Dataset:
    consolidated = zarr.open_group(store, mode="r").metadata.consolidated_metadata is not None
    return xr.open_zarr(store, consolidated=consolidated, chunks=None, **OPTIONS)


def _engine(path: Path) -> str:
    if not path.is_file():
        raise LevyError(f"{path} is no file: correct its path, or remove it from {LISTED}")
    with path.open("rb") as file:
        start = file.read(4)
    engine = MAGIC.get(start)
    if engine is None:
        raise LevyError(f"{path} begins with {start!r}, which is neither GRIB nor NetCDF: fetch it again, or unpack it")
    if start in CLASSIC:
        netcdf_file(path, mmap=True).close()  # netCDF4 reads a truncated one as if nothing were wrong
    return engine
