"""Time: parts joined into one regular axis, periods, and steps of another length."""

from collections.abc import Mapping

import dask.array as da
import numpy as np
import pandas as pd
import xarray as xr

from levy_core.base.errors import LevyError

Part = tuple[str, xr.DataArray]
Starts = list[tuple[object, str]]
CELL_METHODS = {"mean": "time: mean", "sum": "time: sum", "max": "time: maximum", "min": "time: minimum"}
CALENDAR_DAYS = ((28, 31), (89, 92), (360, 366))  # of months, quarters and years


def starts(parts: list[Part]) -> Starts:
    """First time and source of each part, in order of time."""
    return sorted(((array.time.to_numpy()[0], source) for source, array in parts), key=lambda start: start[0])


def source_at(begun: Starts, time: object) -> str:
    """The source of the field at some time; where members lie in sources of their own, all of them."""
    before = [first for first, _ in begun if first <= time]  # type: ignore[operator]
    return " or ".join(source for first, source in begun if first == [begun[0][0], *before][-1])


def join(key: str, parts: list[Part]) -> xr.DataArray:
    """The parts of one variable in order of time.

    Raises:
        LevyError: different calendars, times that are unsorted or there twice.
    """
    calendars = {array.time.dt.calendar for _, array in parts}
    if len(calendars) > 1:
        named = ", ".join(f"{array.time.dt.calendar} in {name}" for name, array in parts[:4])
        raise LevyError(f"variable {key!r} has times of several calendars: {named}; convert them to one")
    parts = sorted(parts, key=lambda part: part[1].time.to_numpy()[0])
    last, before = None, ""
    for name, array in parts:
        times = array.time.to_numpy()
        _check_sorted(key, name, times)
        if last is not None and times[0] <= last:
            raise LevyError(
                f"variable {key!r} has {say(times[0])} in {name} and times up to {say(last)} in {before}: the same time is there "
                "twice, so remove one of the files or cut it"
            )
        last, before = times[-1], name
    return parts[0][1] if len(parts) == 1 else xr.concat([a for _, a in parts], "time", combine_attrs="override")


def _check_sorted(key: str, name: str, times: np.ndarray) -> None:
    wrong = np.flatnonzero(times[1:] <= times[:-1])
    if len(wrong):
        i = int(wrong[0])
        found = "is there twice" if times[i + 1] == times[i] else f"comes after {say(times[i])}"
        raise LevyError(
            f"{name}: variable {key!r}: time {say(times[i + 1])} {found}: times must rise, so sort the file (cdo sorttimestamp) or remove the double"
        )


def within(key: str, array: xr.DataArray, period: tuple[str, str] | None) -> xr.DataArray:
    """The fields whose coordinate ``begin`` lies in the period, all without one.

    Raises:
        LevyError: there is none, or the period is not two times.
    """
    if period is None:
        return array
    begins = index(array.begin.to_numpy())
    try:
        field = array.isel(time=begins.slice_indexer(*period))
    except (ValueError, TypeError, KeyError) as error:
        raise LevyError(
            f"period {list(period)} is not two times such as {say(begins[0])} and {say(begins[-1])}, the first and the last ({error})"
        ) from error
    if not field.sizes["time"]:
        raise LevyError(
            f"variable {key!r} has no time in the period {period[0]} to {period[1]}: it has {say(begins[0])} to {say(begins[-1])}"
        )
    return field


def check_regular(key: str, parts: list[Part], times: np.ndarray) -> None:
    """Times [N] of a variable, joined from parts.

    Raises:
        LevyError: one is missing.
    """
    step = seconds_between(times)
    if not len(step):
        return
    usual = float(np.median(step))
    ranges = [(86400 * a, 86400 * b) for a, b in CALENDAR_DAYS if 86400 * a <= usual <= 86400 * b]
    low, high = ranges[0] if ranges else (usual, usual)
    wrong = np.flatnonzero((step < low) | (step > high))
    if len(wrong):
        i = int(wrong[0])
        raise LevyError(
            f"{source_at(starts(parts), times[i])}: variable {key!r} steps by {say_length(usual)}, but after {say(times[i])} comes {say(times[i + 1])}: "
            f"{len(wrong)} such irregular step(s); add the missing times, or choose a `period` without them"
        )


def check_equal(joined: Mapping[str, xr.DataArray]) -> None:
    """All variables have the same times.

    Raises:
        LevyError: a time that one has and another lacks.
    """
    (key, first), *others = joined.items()
    times = first.time.to_numpy()
    for other_key, other in others:
        other_times = other.time.to_numpy()
        if times.dtype.kind != other_times.dtype.kind:
            raise LevyError(
                f"variables {key!r} and {other_key!r} have times of different calendars: convert them to one"
            )
        odd = np.setxor1d(times, other_times)
        if len(odd):
            owner, lacking = (key, other_key) if odd[0] in set(times) else (other_key, key)
            raise LevyError(
                f"variable {owner!r} has {say(odd[0])}, which variable {lacking!r} lacks, and {len(odd) - 1} more times are in one of "
                "them only: choose a `period` that both have, or bring the missing files"
            )


def resample(key: str, array: xr.DataArray, rule: str, how: str, keeps: bool = False) -> xr.DataArray:
    """A variable in longer steps, labelled by their beginning; steps that the data do not fill at either end are left out.

    A value belongs to the step in which its interval begins (coordinate ``begin``). A missing value makes its whole step
    missing, which keeps means and sums honest.

    Args:
        keeps: whether one that has these steps already is taken as it is, because others have shorter ones.

    Raises:
        LevyError: not a length of a step, shorter than the data's own, or longer than the data.
    """
    times = array.begin.to_numpy()
    positions = xr.DataArray(np.arange(len(times)), {"time": times}, ("time",))
    try:
        groups = positions.resample(time=rule)
        sizes, labels = groups.count(), groups.first()["time"].to_numpy()
    except (ValueError, TypeError) as error:
        raise LevyError(f'resample is {rule!r}: a step such as "1D", "6h" or "1MS" is expected ({error})') from error
    counts = np.nan_to_num(sizes.to_numpy()).astype(int)
    own = seconds_between(times)[:1].sum()
    after = xr.date_range(labels[-1], periods=2, freq=rule, use_cftime=times.dtype == object)[1:].to_numpy()
    full = counts * own >= seconds_between(np.append(labels, after))
    if not full.any() or (counts == 0).any() or counts.max() < 2 - keeps:
        raise LevyError(
            f"resample is {rule!r}, but variable {key!r} has {len(times)} steps of {say_length(own)}: choose longer steps than the data's, "
            "of which at least one fits, or set resample to null"
        )
    first, last = np.flatnonzero(full)[[0, -1]]
    start, stop = counts[:first].sum(), counts[: last + 1].sum()
    values = _reduce(array.data[start:stop], counts[first : last + 1], how)
    kept = {k: c for k, c in array.coords.items() if "time" not in c.dims}
    attributes = array.attrs | ({"cell_methods": CELL_METHODS[how]} if counts.max() > 1 else {})
    return xr.DataArray(values, {"time": labels[first : last + 1], **kept}, array.dims, attrs=attributes)


def in_common(steps: Mapping[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """Variables without the first and the last step that not all of them fill.

    The stamps of amounts stand at the end of their hours, so that a file of whole days has all hours of its first day and lacks
    one of its last.
    """
    first = max(a.time.to_numpy()[0] for a in steps.values())
    last = min(a.time.to_numpy()[-1] for a in steps.values())
    trimmed = {}
    for key, array in steps.items():
        times = array.time.to_numpy()
        start = int(len(times) > 1 and times[0] < first)
        stop = len(times) - int(len(times) > 1 and times[-1] > last)
        trimmed[key] = array.isel(time=slice(start, stop))
    return trimmed


def _reduce(values: da.Array, counts: np.ndarray, how: str) -> da.Array:
    """Runs of ``counts`` fields each become one."""
    reduction = getattr(np, how)  # these keep NaN
    if np.any(counts != counts[0]):
        runs = values.rechunk({0: tuple(counts)})
        return runs.map_blocks(
            lambda b: reduction(b, axis=0, keepdims=True), chunks=(1, *values.shape[1:]), dtype=values.dtype
        )
    k = int(counts[0])
    runs = values.rechunk({0: max(1, values.chunksize[0] // k) * k})
    lengths = tuple(n // k for n in runs.chunks[0])
    return runs.map_blocks(
        lambda b: reduction(b.reshape(-1, k, *b.shape[1:]), axis=1),
        chunks=(lengths, *runs.chunks[1:]),
        dtype=values.dtype,
    )


def index(times: np.ndarray) -> pd.Index:
    """A pandas or cftime index of times."""
    return xr.CFTimeIndex(times) if times.dtype == object else pd.DatetimeIndex(times)


def seconds_between(times: np.ndarray) -> np.ndarray:
    """Steps in seconds, float64 [N - 1]."""
    return to_seconds(np.diff(times))


def to_seconds(lengths: np.ndarray) -> np.ndarray:
    """Lengths of time, timedelta64 or timedelta [N], in seconds."""
    if lengths.dtype == object:
        return np.array([length.total_seconds() for length in lengths])
    return lengths / np.timedelta64(1, "s")


def say(time: object) -> str:
    """A time for messages, without hours where they are 0."""
    return str(time)[:19].removesuffix("T00:00:00").removesuffix(" 00:00:00")


def say_length(seconds: float) -> str:
    """A length of time for messages."""
    for name, unit in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= unit:
            return f"{seconds / unit:g} {name}s" if seconds != unit else f"1 {name}"
    return f"{seconds:g} seconds"
