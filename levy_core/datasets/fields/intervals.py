"""Over which time a value was gathered: amounts and means are stamped at the end or the beginning of it, or run since 00 UTC."""

import re
from dataclasses import replace

import dask.array as da
import numpy as np
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.axes import time_name
from levy_core.datasets.fields.config import RUNNING, Variable, duration
from levy_core.datasets.fields.sources import STEP_RANGES
from levy_core.datasets.fields.timeline import say_length, seconds_between, to_seconds
from levy_core.datasets.fields.units import is_amount

ENDED = ("accum", "avg", "max", "min")  # GRIB's step types of values that belong to the time before their stamp
# ERA5's short names of what was gathered over the time before; newer files call the mean rates avg_*.
ERA5_GATHERED = """
    tp cp lsp sf csf lsf smlt es pev ro sro ssro ssrd ssr strd str tsr ttr ssrdc ssrc strdc strc tsrc ttrc tisr fdir cdir
    uvb sshf slhf ewss nsss bld fg10 i10fg mx2t mn2t mxtpr mntpr mtpr mcpr mlspr msr mcsr mlssr msmr mer mper mror msror
    mssror msdwswrf msdwlwrf msnswrf msnlwrf mtnswrf mtnlwrf mtdwswrf msshf mslhf metss mntss
"""
DAY = 86400.0


def find_bounds(datasets: list[xr.Dataset], array: xr.DataArray, where: str) -> np.ndarray | None:
    """The CF bounds of a variable's times, [N, 2], where its source has them."""
    time = time_name(array, where)
    name = array[time].attrs.get("bounds")
    for data in datasets:
        if name in data.variables and data[name].shape == (array[time].size, 2):
            return data[name].to_numpy()
    return None


def complete(variable: Variable, array: xr.DataArray, bounds: np.ndarray | None, where: str) -> Variable:
    """The variable with what its source says of the time over which it was gathered, where params say nothing.

    Time bounds say it by CF, unless ``cell_methods`` calls the values those of a point. GRIB's step type says that an interval
    ends at its stamp, its step ranges how long it is.

    Raises:
        LevyError: another length than ``accumulated`` says, or totals since another hour than 00 UTC.
    """
    method = _time_method(array)
    amount = is_amount(variable, array.attrs.get("units"))
    stamped, over = None, None
    if bounds is not None and (amount if method is None else method != "point"):
        times = array[time_name(array, where)].to_numpy().ravel()
        stamped = "end" if np.array_equal(times, bounds[:, 1]) else "start"  # or within, where nothing moves either
        over = _length(to_seconds(bounds[:, 1] - bounds[:, 0]), _seconds_of_day(bounds[:, 0]), variable)
    else:
        if array.attrs.get("GRIB_stepType") in ENDED or variable.accumulated == RUNNING:
            stamped = "end"
        if STEP_RANGES in array.attrs:
            reference, first, last = (3600.0 * np.array(array.attrs[STEP_RANGES])).T
            over = _length(last - first, (reference + first) % DAY, variable)
            if over is None:
                raise LevyError(
                    f"{where} holds totals since {reference[0] / 3600:g} UTC, the start of a forecast: totals since 00 UTC, or amounts "
                    "of one length, are expected, so make these first (cdo deltat)"
                )
    if over and variable.accumulated and _seconds(over) != _seconds(variable.accumulated):
        said = "totals since 00 UTC" if over == RUNNING else f"amounts of {say_length(float(_seconds(over) or 0))}"
        raise LevyError(
            f"{where} holds {said} by its time bounds or step ranges, but `accumulated: {variable.accumulated}` in params: correct "
            "it, or leave it out"
        )
    if variable.accumulated is None and (over == RUNNING or amount):
        variable = replace(variable, accumulated=over)
    return replace(variable, stamped=variable.stamped or stamped)


def _length(widths: np.ndarray, begins: np.ndarray, variable: Variable) -> str | None:
    """``RUNNING``, or the one length of intervals in seconds; None for intervals of several lengths.

    Args:
        widths: of the intervals. begins: seconds after 00 UTC.
    """
    several = len(np.unique(widths)) > 1
    if not begins.any() and widths.max() <= DAY and (several or variable.accumulated == RUNNING):
        return RUNNING
    return None if several else f"{widths[0]:g}s"


def check_stamped(variable: Variable, array: xr.DataArray, where: str) -> None:
    """Whether it is known on which day, or other step, a gathered value falls.

    Raises:
        LevyError: neither the source nor params say whether the stamps are at the end or at the beginning.
    """
    gathered = (
        variable.accumulated is not None
        or _time_method(array) == "sum"
        or str(array.name) in ERA5_GATHERED.split()
        or str(array.name).startswith("avg_")
    )
    if gathered and variable.stamped is None:
        raise LevyError(
            f"{where} is gathered over time, but nothing in the file (time bounds, GRIB_stepType) says where its stamps stand, so that "
            f"`resample` would put hours on the wrong day: write in variable {variable.name!r} in params `stamped: end` (ERA5: the "
            "hour before the stamp), `stamped: start`, or `accumulated: since-00` (ERA5-Land: total since 00 UTC)"
        )


def deaccumulate(running: xr.DataArray) -> xr.DataArray:
    """Totals since 00 UTC -> mean rates over the time since the stamp before; the total at 00 UTC is the whole day before.

    Args:
        running: on (time, ...), a total of n hours given as n times the amount per hour, in order of time.

    Returns:
        The same units, without a first field whose day began before the data.
    """
    times = running.time.to_numpy()
    until = _seconds_of_day(times)
    until[until == 0] = DAY
    begun = times - _timedeltas(until, times)  # 00 UTC of each stamp's day
    steps = seconds_between(times)
    same = np.append(False, begun[1:] == begun[:-1])
    elapsed = np.where(same, np.append(0.0, steps), until)
    column = (slice(None), *(None,) * (running.ndim - 1))
    before = da.concatenate([running.data[:1], running.data[:-1]])
    rates = da.where(same[column], running.data - before, running.data) / (elapsed / 3600)[column]
    usual = np.median(steps) if len(steps) else until[0]
    return running.copy(data=rates).isel(time=slice(int(until[0] > usual), None))


def with_begins(array: xr.DataArray, variable: Variable) -> xr.DataArray:
    """The array with a coordinate ``begin`` along ``time``: when the interval of each value begins; for instants the time itself."""
    begins = array.time.to_numpy()
    if variable.stamped == "end" and len(begins):
        if variable.accumulated not in (None, RUNNING):
            begins = begins - _timedeltas(np.array([_seconds(variable.accumulated)]), begins)
        elif len(begins) > 1:
            begins = np.append(begins[:1] - (begins[1] - begins[0]), begins[:-1])
    return array.assign_coords(begin=("time", begins))


def check_tiled(variable: Variable, array: xr.DataArray, how: str) -> None:
    """Whether amounts follow on each other, so that longer steps can be made of them.

    Raises:
        LevyError: they overlap or leave time out; or a sum of rates is wanted.
    """
    if variable.accumulated is None:
        return
    if how == "sum":
        raise LevyError(
            f"variable {variable.key!r} becomes a rate (`accumulated`), and the sum of a day's {variable.units!r} is no amount: set "
            "`how: mean`, whose mm day-1 over a day are that day's millimetres"
        )
    steps = seconds_between(array.time.to_numpy())
    usual = float(np.median(steps)) if len(steps) else 0.0
    if variable.accumulated != RUNNING and 0 < usual < 28 * DAY and usual != _seconds(variable.accumulated):
        raise LevyError(
            f"variable {variable.key!r} is accumulated over {variable.accumulated}, but it steps by {say_length(usual)}: "
            "`resample` needs amounts that follow on each other, so bring every step, correct `accumulated`, or set resample to null"
        )


def _time_method(array: xr.DataArray) -> str | None:
    """What ``cell_methods`` says of time: point, mean, sum, maximum ..."""
    found = re.search(r"time\w*:\s*(?:\w+:\s*)*(\w+)", str(array.attrs.get("cell_methods", "")))
    return found[1] if found else None


def _seconds(length: str | None) -> float | None:
    return None if length in (None, RUNNING) else duration(str(length), "`accumulated`").total_seconds()


def _seconds_of_day(times: np.ndarray) -> np.ndarray:
    clock = xr.DataArray(times, dims="time").dt
    return (clock.hour * 3600.0 + clock.minute * 60.0 + clock.second).to_numpy()


def _timedeltas(seconds: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Lengths of time that can be added to times of their kind."""
    deltas = seconds.astype("timedelta64[s]")
    return deltas.astype(object) if times.dtype == object else deltas
