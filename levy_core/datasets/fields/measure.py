"""One pass over the fields before anything is written: checks of all, climatology and statistics of the training period."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import numpy as np

from levy_core.datasets.fields import climatology
from levy_core.datasets.fields.check import Checks
from levy_core.datasets.fields.climatology import Climatology, Fit
from levy_core.datasets.fields.codec import Codec, transform
from levy_core.datasets.fields.config import FieldsConfig
from levy_core.datasets.fields.opening import Opened
from levy_core.datasets.fields.reading import BLOCK_BYTES, Spread, blocks, field_shape, read
from levy_core.datasets.fields.timeline import say, seconds_between
from levy_core.errors import LevyError

Progress = Callable[[list[slice]], Iterable[slice]]
YEAR = 360 * 86400.0  # seconds, of the shortest calendar


def measure(
    opened: Opened,
    config: FieldsConfig,
    train: slice,
    test: slice,
    progress: Progress,
    block_bytes: int = BLOCK_BYTES,
    spread: Spread = map,
) -> tuple[Codec, dict[str, dict[str, Any]]]:
    """The codec of a data set, and numbers of each channel's training period: units, mean, std, min, max, missing.

    The fields are read once, block by block, through ``spread``; sums are made here, in the order of time. Only the training period decides the codec; the test period is checked.

    Raises:
        LevyError: as ``Checks``; a constant variable; a transform that has no value for some field.
    """
    times, (channels, height, width) = opened.data.time.to_numpy(), field_shape(opened)
    checks = Checks(opened, config)
    terms = climatology.design(config.climatology, times[train])
    fits = [Fit(terms.shape[1], height * width) for _ in range(channels)]
    shift, low, high = np.zeros(channels), checks.low, checks.high
    every = [b for period in (train, test) for b in blocks(period, field_shape(opened), block_bytes)]
    for rows, values in zip(progress(every), spread(partial(read, opened), every), strict=True):
        checks.add(values, times[rows])
        transformed = _transformed(opened, config, values, times[rows])
        if rows.stop <= train.stop:
            if rows.start == train.start:
                shift = np.nanmean(transformed, axis=(0, 2, 3))  # against cancellation
            for c, fit in enumerate(fits):
                fit.add(terms[rows], transformed[:, c].reshape(len(values), -1) - shift[c])
            low, high = checks.low.copy(), checks.high.copy()
    valid = np.stack([fit.count > 0 for fit in fits]).reshape(channels, height, width)
    checks.finish((~valid).sum((1, 2)))
    for v, lowest, highest in zip(config.variables, low, high, strict=True):
        if lowest == highest:
            raise LevyError(
                f"variable {v.key!r} is {lowest:g} {v.units} everywhere and at all times of training: a constant cannot be learned, remove it"
            )
    mean, std, cycle = _moments(config.climatology, fits, shift, (height, width))
    numbers = {
        v.key: {
            "units": v.units,
            "mean": float(mean[c]),
            "std": float(std[c]),
            "min": float(low[c]),
            "max": float(high[c]),
            "missing_cells": int((~valid[c]).sum()),
        }
        for c, v in enumerate(config.variables)
    }
    return _codec(opened, config, mean, std, valid, cycle), numbers


def check_rows(
    opened: Opened,
    config: FieldsConfig,
    rows: slice,
    numbers: dict[str, dict[str, Any]],
    progress: Progress,
    block_bytes: int = BLOCK_BYTES,
    spread: Spread = map,
) -> None:
    """The checks of ``measure`` for some rows, beside ``numbers`` of the training period.

    Raises:
        LevyError: as ``measure``.
    """
    checks = Checks(opened, config)
    checks.low, checks.high = (np.array([n[k] for n in numbers.values()]) for k in ("min", "max"))
    times = opened.data.time.to_numpy()
    every = blocks(rows, field_shape(opened), block_bytes)
    for block, values in zip(progress(every), spread(partial(read, opened), every), strict=True):
        checks.add(values, times[block])
        _transformed(opened, config, values, times[block])
    checks.finish(np.array([n["missing_cells"] for n in numbers.values()]))


def _moments(
    kind: str, fits: list[Fit], shift: np.ndarray, space: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, Climatology | None]:
    counts = np.array([fit.count.sum() for fit in fits])
    if kind == "none":
        sums, squares = np.array([fit.sums() for fit in fits]).T
        return shift + sums / counts, np.sqrt(squares / counts - (sums / counts) ** 2), None
    solved = [fit.solve() for fit in fits]
    coefficients = np.stack([c for c, _ in solved]).reshape(len(fits), -1, *space)
    coefficients[:, 0] += shift[:, None, None]
    std = np.sqrt(np.array([residual for _, residual in solved]) / counts)
    return np.zeros(len(fits)), std, Climatology(kind, coefficients)


def _codec(
    opened: Opened,
    config: FieldsConfig,
    mean: np.ndarray,
    std: np.ndarray,
    valid: np.ndarray,
    cycle: Climatology | None,
) -> Codec:
    data = opened.data
    on_grid = "place" not in data.dims
    located = [data[k].to_numpy() for k in ("latitude", "longitude") if k in data.coords]
    return Codec(
        variables=config.variables,
        mean=mean,
        std=std,
        valid=valid,
        latitude=located[0] if on_grid else None,
        longitude=located[1] if on_grid else None,
        places=None if on_grid else tuple(map(str, data.place.to_numpy())),
        locations=np.stack(located) if not on_grid and len(located) == 2 else None,
        climatology=cycle,
        calendar=data.time.dt.calendar,
        attributes=tuple({k: str(v) for k, v in a.attrs.items() if k != "units"} for a in data.data_vars.values()),
    )


def check_cycle(config: FieldsConfig, times: np.ndarray) -> None:
    """Whether the training times can show the cycles of ``config.climatology``.

    Raises:
        LevyError: less than a year for the cycle of the year, or steps too long for that of the day.
    """
    step = seconds_between(times[:2])[0]
    length = len(times) * step
    if "day" in config.climatology.split("-") and length < YEAR:
        raise LevyError(
            f"climatology is {config.climatology!r}, but the training period from {say(times[0])} to {say(times[-1])} is "
            f"{length / 86400:g} days: the cycle of the year needs at least a year, so bring more, or take hour or none"
        )
    if "hour" in config.climatology and step > 43200:
        raise LevyError(
            f"climatology is {config.climatology!r}, but the fields are {step / 3600:g} hours apart: a cycle of the day needs "
            "several fields a day, so take day or none"
        )


def _transformed(opened: Opened, config: FieldsConfig, values: np.ndarray, times: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        transformed = transform(config.variables, values)
    wrong = ~np.isfinite(transformed) & ~np.isnan(values)
    if wrong.any():
        n, c, *cell = np.argwhere(wrong)[0]
        v = config.variables[c]
        value = values[n, c, *cell]
        below = "" if v.minimum is None or value >= v.minimum else f", below its minimum of {v.minimum:g},"
        raise LevyError(
            f"{opened.source(v.key, times[n])}: variable {v.key!r} at {say(times[n])} is {value:g} {v.units}{below} of which "
            f"{v.transform} with scale {v.scale:g} is no number: mend the file, or take a larger scale or another transform"
        )
    return transformed
