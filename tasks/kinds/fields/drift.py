"""Drift of arriving fields: variables whose newest weeks are unlike the same season of the training period."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from levy_core.base.errors import LevyError
from levy_core.base.rows import BlockMap
from levy_core.datasets.fields.climatology import design, phases
from levy_core.datasets.fields.opening import LazyFields
from levy_core.datasets.fields.prepare import inspect
from levy_core.datasets.fields.reading import blocks, count_members, read, time_shape
from levy_core.datasets.fields.timeline import say, seconds_between
from levy_core.metrics.common.levels import LEAST_YEARS, LevelShift, Periods, find_level_shifts
from tasks.kinds.fields.settings import FieldDrift, FieldSettings
from tasks.kinds.kind import Drift
from tasks.runtime import cluster

WEEK, YEAR = 7 * 86400.0, 360 * 86400.0  # seconds; the shortest calendar's


def find_drift(raw: Path, settings: FieldSettings, before: dict[str, Any], drift: FieldDrift) -> list[Drift]:
    """Means and quantiles of variables' cells that are higher or lower in the weeks that end among the new fields.

    Usual is what years up to the last training time are like, with held-out ones between them: no model learns from this, and only weeks
    without a gap show how weather persists.

    Fields that are half a week apart or more are weeks of their own. Nothing is judged, and no field read, before a week is whole.

    Raises:
        LevyError: the training period is too short to know what is usual; what ``inspect`` and ``read`` raise.
    """
    if "last" not in before:
        return []
    inspection = inspect(raw, settings.config)
    fields, times = inspection.fields, inspection.fields.data.time.to_numpy()
    step = seconds_between(times[:2])[0]
    length = max(1, int(WEEK // step))
    first_new = sum(str(time) <= before["last"] for time in times)
    fresh, whole = first_new // length, len(times) // length
    if fresh == whole:
        return []
    known = min((int(inspection.periods["train"][-1]) + 1) // length, fresh)  # with held-out years between
    start = min(fresh, max(known, whole - drift.weeks))
    if known * length * step < LEAST_YEARS * YEAR:
        raise LevyError(
            f"training has {known * length * step / YEAR:.2g} years before {say(times[start * length])}: what is usual in a season "
            f"takes {LEAST_YEARS} years to know"
        )
    with cluster.open_block_map() as map_blocks:
        summarise = partial(_summarise_weeks, fields, length, drift.quantiles, map_blocks)
        reference, newest = summarise(0, known), summarise(start, whole)
    shifts = find_level_shifts(reference, newest, whole - fresh, drift.weeks, drift.shift, drift.false_alarms)
    return [_describe(shift, fields, drift, shift.periods * length, say(times[whole * length - 1])) for shift in shifts]


def _summarise_weeks(
    fields: LazyFields, length: int, quantiles: tuple[float, ...], map_blocks: BlockMap, first: int, stop: int
) -> Periods:
    """Of weeks of ``length`` fields each; a series per channel and number, channels first."""
    rows = slice(first * length, stop * length)
    work = partial(_summarise, fields, quantiles)
    every = np.concatenate(list(map_blocks(work, blocks(rows, time_shape(fields)))))  # [N, C, 1 + Q]
    middles = fields.data.time[rows][length // 2 :: length]
    values, times = every.reshape(stop - first, length, -1).mean(1), middles.to_numpy()
    return Periods(values, design("day", times), phases(times)[0], middles.dt.year.to_numpy())


def _summarise(fields: LazyFields, quantiles: tuple[float, ...], rows: slice) -> np.ndarray:
    """Mean and quantiles of the cells of each time, those of all members together, and channel, float64 [n, C, 1 + Q]."""
    values, numbers = read(fields, rows), []
    of_times = values.reshape(-1, count_members(fields), *values.shape[1:]).swapaxes(1, 2)  # [n, C, M, H, W]
    for cells in of_times.reshape(*of_times.shape[:2], -1).swapaxes(0, 1):
        known = cells[:, ~np.isnan(cells).all(0)]
        quantile = np.nanquantile if np.isnan(known).any() else np.quantile  # the first is a hundred times slower
        numbers.append([np.nanmean(known, 1), *quantile(known, quantiles, axis=1)])
    return np.array(numbers).transpose(2, 0, 1)


def _describe(shift: LevelShift, fields: LazyFields, drift: FieldDrift, count: int, last: str) -> Drift:
    channel, number = divmod(shift.series, 1 + len(drift.quantiles))
    key, units = str(list(fields.data.data_vars)[channel]), fields.config.variables[channel].units
    name = "mean of cells" if number == 0 else f"{100 * drift.quantiles[number - 1]:g} % quantile of cells"
    text = f"{key}, {name}: {shift.now:.4g} {units} in {count} fields up to {last}, usual is {shift.expected:.4g}"
    numbers = {"variable": key, "number": name, "now": shift.now, "usual": shift.expected, "shift": shift.shift}
    return Drift(text, {**numbers, "fields": count, "last": last, "p": shift.p})
