"""One pass over the fields before anything is written: checks of all, climatology and statistics of the training period."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import islice
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from levy_core.base.errors import LevyError
from levy_core.base.rows import BlockMap, thin_rows, to_runs
from levy_core.datasets.fields import climatology
from levy_core.datasets.fields.check import Extent, check_extent, measure_extent
from levy_core.datasets.fields.climatology import Fit
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import FieldsConfig
from levy_core.datasets.fields.known_days import find_known_days
from levy_core.datasets.fields.labels import seasons_of
from levy_core.datasets.fields.moments import FEWEST_FIELDS, Moments, find_moments
from levy_core.datasets.fields.normal_scores import NormalScores
from levy_core.datasets.fields.opening import LazyFields
from levy_core.datasets.fields.physical import transform
from levy_core.datasets.fields.reading import (
    BLOCK_BYTES,
    blocks,
    count_members,
    field_shape,
    field_times,
    hash_chunks,
    read,
    time_shape,
)
from levy_core.datasets.fields.store import GROUPS
from levy_core.datasets.fields.timeline import say, seconds_between

Progress = Callable[[list[slice]], Iterable[slice]]
YEAR = 360 * 86400.0  # seconds, of the shortest calendar
one_blas_thread = threadpool_limits.wrap(limits=1, user_api="blas")  # sums are the same bits for any number of cores
FITTED_FIELDS, FITTED_BLOCK, FITTED_VALUES = (
    2000,
    10,
    20_000_000,
)  # fields, neighbours and values that ranks are taken from
FEWEST_OF_SEASON = 50  # training fields: a law of what their cells hold
FIELDS_PER_TERM = 4  # of a span, at least: its sums are one field per term, and travel where the fields would


@dataclass(frozen=True)
class Sums:
    """What one pass keeps of a span of fields: their extent, one fit per channel, or none of fields that are only checked, and hashes."""

    extent: Extent
    fits: tuple[Fit, ...]
    hashes: tuple[str, ...]

    def concatenate(self, later: "Sums") -> "Sums":
        """Both spans, one after the other; the fits of this one take the later ones in."""
        for fit, more in zip(self.fits, later.fits, strict=True):
            fit.merge(more)
        return Sums(self.extent.concatenate(later.extent), self.fits, self.hashes + later.hashes)


@one_blas_thread
def measure(
    fields: LazyFields,
    train: slice,
    test: slice,
    progress: Progress,
    block_bytes: int = BLOCK_BYTES,
    block_map: BlockMap = map,
) -> tuple[Codec, dict[str, dict[str, Any]], dict[str, list[str]]]:
    """The codec of a data set, numbers of each channel's training period (units, mean, std, min, max, missing), hashes.

    Where each cell has its own standard deviation, ``std`` is the pooled one, and ``cell_std`` tells of theirs.

    The hashes are of each chunk of the groups' sources (``reading.hash_chunks``), as they were when they were summed.
    The fields are read once, span by span, and summed through ``block_map``; the sums of spans are added here, in the order of time.
    Only the training period decides the codec; the test period is checked.

    Raises:
        LevyError: as ``measure_extent`` and ``check_extent``; a variable that is constant, everywhere or in each cell; a transform that has no value for some field.
    """
    config, shift = fields.config, _shift(fields, blocks(train, time_shape(fields), block_bytes)[0])
    first, second = _spans(fields, train, block_bytes), _spans(fields, test, block_bytes)
    spans = _each(partial(_sums, fields, train, shift, block_bytes), first + second, progress, block_map)
    sums, checked = reduce(Sums.concatenate, islice(spans, len(first))), reduce(Sums.concatenate, spans)
    extent = sums.extent.concatenate(checked.extent)
    fits, shape = sums.fits, field_shape(fields)
    valid = np.stack([fit.count > 0 for fit in fits]).reshape(shape)
    check_extent(fields, extent, (~valid).sum((1, 2)))
    low, high = sums.extent.low, sums.extent.high
    for v, lowest, highest in zip(config.variables, low, high, strict=True):
        if lowest == highest:
            raise LevyError(
                f"variable {v.key!r} is {lowest:g} {v.units} everywhere and at all times of training: a constant cannot be learned, remove it"
            )
    found = find_moments(config, fits, shift, shape[1:])
    numbers = {
        v.key: {
            "units": v.units,
            "mean": float(found.mean[c][valid[c]].mean() if found.mean.ndim > 1 else found.mean[c]),
            "std": float(found.pooled[c]),
            "min": float(low[c]),
            "max": float(high[c]),
            "missing_cells": int((~valid[c]).sum()),
            **found.of_cells[c],
        }
        for c, v in enumerate(config.variables)
    }
    hashes = dict(zip(GROUPS, (list(sums.hashes), list(checked.hashes)), strict=True))
    return _codec(fields, train, found, valid), numbers, hashes


def with_scores(fields: LazyFields, train: slice) -> LazyFields:
    """The fields with the normal scores of the variables that are transformed so, fitted to training fields spread over the period."""
    config = fields.config
    if all(v.transform != "normal-score" for v in config.variables):
        return fields
    shape = field_shape(fields)
    cells = int(np.prod(shape[1:]))
    rows = train.start + thin_rows(train.stop - train.start, FITTED_FIELDS, FITTED_BLOCK)
    stride = max(1, cells * count_members(fields) * len(rows) // FITTED_VALUES)
    spans = [part for run in to_runs(rows) for part in blocks(run, time_shape(fields))]
    kept = []
    for span in spans:
        values = read(fields, span)
        measure_extent(fields, values, field_times(fields, span))
        kept.append(values.reshape(len(values), shape[0], cells)[:, :, ::stride])
    values = np.concatenate(kept)
    fitted = []
    for c, v in enumerate(config.variables):
        if v.transform == "normal-score":
            known = values[:, c][~np.isnan(values[:, c])]
            if not len(known) or known.min() == known.max():
                raise LevyError(
                    f"variable {v.key!r} has {'no value' if not len(known) else 'one value alone'} in {len(values)} training fields: a "
                    "constant cannot be learned, remove it"
                )
            v = replace(v, scores=NormalScores.fit(known))
        fitted.append(v)
    return replace(fields, config=replace(config, variables=tuple(fitted)))


def _each(work: Callable[[slice], Sums], spans: list[slice], progress: Progress, block_map: BlockMap) -> Iterator[Sums]:
    return (found for _, found in zip(progress(spans), block_map(work, spans), strict=True))


def _spans(fields: LazyFields, rows: slice, block_bytes: int) -> list[slice]:
    """Blocks; where one has few fields, because they are large, several in one, so that their sums are small beside them."""
    shape = field_shape(fields)
    terms = climatology.design(fields.config.climatology, fields.data.time[:1].to_numpy()).shape[1]
    return blocks(rows, time_shape(fields), max(block_bytes, FIELDS_PER_TERM * terms * 8 * int(np.prod(shape))))


@one_blas_thread
def _sums(fields: LazyFields, train: slice, shift: np.ndarray, block_bytes: int, span: slice) -> Sums:
    """Reads, checks and sums the fields of a span, one block at a time."""
    every = blocks(span, time_shape(fields), block_bytes)
    return reduce(Sums.concatenate, (_sums_of_block(fields, train, shift, rows) for rows in every))


def _sums_of_block(fields: LazyFields, train: slice, shift: np.ndarray, rows: slice) -> Sums:
    values, times = read(fields, rows), field_times(fields, rows)
    extent, transformed, fits = measure_extent(fields, values, times), _transformed(fields, values, times), []
    if train.start <= rows.start and rows.stop <= train.stop:
        terms = climatology.design(fields.config.climatology, times)
        for c, by in enumerate(shift):
            fit = Fit(terms.shape[1], transformed[0, c].size)
            fit.add(terms, transformed[:, c].reshape(len(values), -1) - by)
            fits.append(fit)
    return Sums(extent, tuple(fits), hash_chunks(fields, rows, values))


def _shift(fields: LazyFields, block: slice) -> np.ndarray:
    """[C], near the mean of each transformed channel, against cancellation in sums: the mean of one block."""
    values, times = read(fields, block), field_times(fields, block)
    measure_extent(fields, values, times)
    return np.nanmean(_transformed(fields, values, times), axis=(0, 2, 3))


def _codec(
    fields: LazyFields,
    train: slice,
    found: Moments,
    valid: np.ndarray,
) -> Codec:
    data = fields.data
    on_grid = "place" not in data.dims
    located = [data[k].to_numpy() for k in ("latitude", "longitude") if k in data.coords]
    return Codec(
        variables=fields.config.variables,
        mean=found.mean,
        std=found.std,
        valid=valid,
        latitude=located[0] if on_grid else None,
        longitude=located[1] if on_grid else None,
        places=None if on_grid else tuple(map(str, data.place.to_numpy())),
        locations=np.stack(located) if not on_grid and len(located) == 2 else None,
        climatology=found.climatology,
        projection=data.latitude.attrs.get("projection") if on_grid else None,
        calendar=data.time.dt.calendar,
        attributes=tuple({k: str(v) for k, v in a.attrs.items() if k != "units"} for a in data.data_vars.values()),
        hours=tuple(np.unique(data.time[train].dt.hour).tolist()),
        days=find_known_days(data.time[train].to_numpy()),
        dtype=fields.config.dtype,
    )


def check_training(config: FieldsConfig, times: np.ndarray, members: int = 1) -> None:
    """Whether fields of the training times can show the cycles of ``config.climatology`` and of ``config.season``, and how cells vary.

    Raises:
        LevyError: less than a year for the cycle of the year, steps too long for that of the day, few fields for each cell's own
            standard deviation, or few of a season whose values are mapped, or one season alone.
    """
    if config.standardise == "cell" and (fields := len(times) * members) < FEWEST_FIELDS:
        raise LevyError(
            f"standardise is 'cell', but the training period from {say(times[0])} to {say(times[-1])} has {fields} fields: a cell's own "
            f"standard deviation needs at least {FEWEST_FIELDS}, so bring more, or take variable"
        )
    if config.maps_seasons:
        names, counts = np.unique(seasons_of(times), return_counts=True)
        if counts.min() * members < FEWEST_OF_SEASON:
            raise LevyError(
                f"quantile_mapping is 'season', but the training period from {say(times[0])} to {say(times[-1])} has "
                f"{counts.min() * members} fields of {names[counts.argmin()]}: a mapping of a season needs at least {FEWEST_OF_SEASON}, so bring "
                "more, or set quantile_mapping to true"
            )
        if len(names) == 1:
            raise LevyError(
                f"quantile_mapping is 'season', but the training period from {say(times[0])} to {say(times[-1])} has fields of {names[0]} alone, "
                "of which one mapping is the same: set quantile_mapping to true"
            )
    step = np.median(seconds_between(times))  # held-out years may lie between two
    length = len(times) * step
    for name, kind, shorter in (
        ("climatology", config.climatology, "hour or none"),
        ("season", config.season, "season, month or none"),
    ):
        if "day" in kind.split("-") and length < YEAR:
            raise LevyError(
                f"{name} is {kind!r}, but the training period from {say(times[0])} to {say(times[-1])} is "
                f"{length / 86400:g} days: the cycle of the year needs at least a year, so bring more, or take {shorter}"
            )
        if "hour" in kind and step > 43200:
            raise LevyError(
                f"{name} is {kind!r}, but the fields are {step / 3600:g} hours apart: a cycle of the day needs "
                "several fields per day, so take day or none"
            )


def _transformed(fields: LazyFields, values: np.ndarray, times: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        transformed = transform(fields.config.variables, values)
    wrong = ~np.isfinite(transformed) & ~np.isnan(values)
    if wrong.any():
        n, c, *cell = np.argwhere(wrong)[0]
        v = fields.config.variables[c]
        value = values[n, c, *cell]
        below = "" if v.minimum is None or value >= v.minimum else f", below its minimum of {v.minimum:g},"
        raise LevyError(
            f"{fields.source(v.key, times[n])}: variable {v.key!r} at {say(times[n])} is {value:g} {v.units}{below} of which "
            f"{v.transform} with scale {v.scale:g} is no number: repair the file, or take a larger scale or another transform"
        )
    return transformed
