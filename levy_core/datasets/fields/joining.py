"""The parts that sources have of each variable, joined: one grid, one axis of times, one way of being gathered."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.datasets.fields import grid, intervals, timeline
from levy_core.datasets.fields.config import RUNNING, FieldsConfig, Variable
from levy_core.datasets.fields.fill import refuse_fill_values
from levy_core.datasets.fields.timeline import seconds_between
from levy_core.datasets.fields.units import Conversion

CLOSE = 1e-4  # degrees: what rounding may move a coordinate


@dataclass(frozen=True)
class Part:
    """What one source has of a variable.

    Attributes:
        source: its path or URL. array: on our axes, in the wanted units. variable: with what the source says of how it was gathered.
        convert: made the array's numbers of the source's. fill: of the source's type, where it declares none.
    """

    source: str
    array: xr.DataArray
    variable: Variable
    convert: Conversion
    fill: float | None


def join_parts(key: str, parts: list[Part], config: FieldsConfig) -> xr.DataArray:
    """One variable in order of time, within the period; with ``begin``, by which it is resampled. Members may lie in sources of their own.

    Raises:
        LevyError: as ``timeline.join``, ``within`` and ``check_regular``; sources that gather in different ways; members of other
            times, or of which some are there twice.
    """
    variable, by_members = _agreed(parts), dict[tuple[str, ...], list[Part]]()
    for part in parts:
        by_members.setdefault(_members(part.array), []).append(part)
    every = [name for names in by_members for name in names]
    if twice := sorted({name for name in every if every.count(name) > 1}):
        raise LevyError(
            f"variable {key!r} has member {twice[0]!r} twice, in sources that do not all have the same members: bring the same "
            "members for all times, or each in sources of its own"
        )
    joined = {", ".join((key, *names[:1])): _join(key, variable, own, config) for names, own in by_members.items()}
    timeline.check_equal(joined)
    first, *others = joined.values()
    if not others:
        return first
    return xr.concat(
        [first, *others], "member", coords="minimal", compat="override", join="override", combine_attrs="override"
    )


def _join(key: str, variable: Variable, parts: list[Part], config: FieldsConfig) -> xr.DataArray:
    """Parts of the same members in order of time."""
    pieces = [(p.source, p.array) for p in parts]
    whole = timeline.join(key, pieces)
    look = partial(
        refuse_fill_values,
        conversions={p.convert for p in parts},
        fills={p.fill for p in parts if p.fill is not None},
        source=partial(timeline.source_at, timeline.starts(pieces)),
    )
    if variable.accumulated == RUNNING:
        whole = intervals.deaccumulate(look(whole.rename(key)))
    moved = variable if config.resample is not None else replace(variable, accumulated=None, stamped="start")
    whole = timeline.within(key, intervals.with_begins(whole, moved), config.period)
    timeline.check_regular(key, pieces, whole.time.to_numpy())
    if config.resample is not None:
        intervals.check_tiled(variable, whole, config.how)
    return whole if variable.accumulated == RUNNING else look(whole.rename(key))


def _agreed(parts: list[Part]) -> Variable:
    """What all sources of a variable say of it."""
    first, name = parts[0].variable, parts[0].source
    for part in parts[1:]:
        other, other_name = part.variable, part.source
        if other != first:
            raise LevyError(
                f"variable {first.name!r} is gathered in two ways: accumulated {first.accumulated} and stamped {first.stamped} in "
                f"{name}, {other.accumulated} and {other.stamped} in {other_name}: write `accumulated` and `stamped` in params, or "
                "bring files of one kind"
            )
    return first


def on_one_axis(joined: dict[str, xr.DataArray], config: FieldsConfig) -> xr.Dataset:
    """All variables on the same times, those of ``config.resample`` where it is set, and of the same members.

    Raises:
        LevyError: a time or member that one has and another lacks, or steps that the data do not fill.
    """
    joined = _with_members_of_first(joined)
    if config.resample is None:
        timeline.check_equal(joined)
        return xr.Dataset(joined).drop_vars("begin")
    lengths = {tuple(seconds_between(a.time[:2].to_numpy())) for a in joined.values()}
    if len(lengths) == 1 == len({tuple(seconds_between(np.stack([a.begin[0], a.time[0]]))) for a in joined.values()}):
        timeline.check_equal(joined)
    steps = {
        key: timeline.resample(key, a, config.resample, config.how, keeps=len(lengths) > 1) for key, a in joined.items()
    }
    steps = timeline.in_common(steps)
    timeline.check_equal(steps)
    return xr.Dataset(steps)


def on_one_grid(parts: dict[str, list[Part]]) -> dict[str, list[Part]]:
    """The parts with the coordinates of the first, which all must have but for rounding: they must be one to be joined.

    Raises:
        LevyError: another grid.
    """
    key, (reference, *_) = next(iter(parts.items()))
    where = f"{key!r} in {reference.source}"
    fit = lambda other, part: fit_grid(part.array, f"{other!r} in {part.source}", reference.array, where)
    return {key: [replace(p, array=fit(key, p)) for p in own] for key, own in parts.items()}


def fit_grid(array: xr.DataArray, where: str, first: xr.DataArray, where_first: str) -> xr.DataArray:
    """A variable with the coordinates of the first, which it must have but for rounding and the longitude at which columns begin.

    Raises:
        LevyError: another grid, or other places.
    """
    other, space = _turned(array, first), _space(first)
    if "place" in array.dims and array.sizes["place"] == first.sizes.get("place"):
        _refuse_other_places(array, where, first, where_first)
    same = other.dims == first.dims and all(
        other[c].shape == first[c].shape and _equal(other[c].to_numpy(), first[c].to_numpy()) for c in space
    )
    if not same:
        raise LevyError(
            f"different grids: {_grid(first)} for {where_first}, but {_grid(other)} for {where}: all variables and files must "
            "lie on one grid, so interpolate or remove one"
        )
    return other.assign_coords({c: first[c] for c in space})


def _refuse_other_places(array: xr.DataArray, where: str, first: xr.DataArray, where_first: str) -> None:
    """As many places may be others, or the same in another order: names alone, which may be mere positions, do not say it."""
    names = array.place.to_numpy() != first.place.to_numpy()
    degrees = [k for k in ("latitude", "longitude") if k in array.coords and k in first.coords]
    apart = [np.abs((array[k].to_numpy() - first[k].to_numpy() + 180) % 360 - 180) > CLOSE for k in degrees]
    wrong = np.flatnonzero(np.any([names, *apart], axis=0))
    if len(wrong):
        i = int(wrong[0])
        raise LevyError(
            f"different places: number {i + 1} of {array.sizes['place']} is {_place(first, i)} for {where_first}, but "
            f"{_place(array, i)} for {where}: all variables and files must have the same places in the same order, so sort or cut one"
        )


def _with_members_of_first(joined: dict[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    (key, first), *others = joined.items()
    for other_key, other in others:
        if odd := sorted({*_members(first)} ^ {*_members(other)}):
            raise LevyError(
                f"variable {key!r} has the members {', '.join(_members(first))}, variable {other_key!r} {', '.join(_members(other))}, "
                f"so that {odd[0]!r} is in one of them only: bring the same members of all variables"
            )
    return {k: a.sel(member=first.member) if "member" in a.dims else a for k, a in joined.items()}


def _members(array: xr.DataArray) -> tuple[str, ...]:
    return tuple(array.member.to_numpy().tolist()) if "member" in array.dims else ()


def _space(array: xr.DataArray) -> list[str]:
    """The coordinates that say where cells lie."""
    if "y" in array.dims:
        return ["latitude", "longitude"]
    return [str(d) for d in array.dims if d not in ("time", "member")]


def _turned(array: xr.DataArray, first: xr.DataArray) -> xr.DataArray:
    """The field with its columns in the order of the first, where only the longitude differs at which they begin."""
    if "longitude" not in array.dims or "longitude" not in first.dims:
        return array
    columns = grid.turned(first.longitude.to_numpy(), array.longitude.to_numpy())
    if columns is None:
        return array
    return array.roll(longitude=-columns).assign_coords(longitude=first.longitude)


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.array_equal(a, b) if a.dtype.kind == "U" else np.allclose(a, b, rtol=0, atol=CLOSE))


def _place(array: xr.DataArray, i: int) -> str:
    degrees = [f"{array[k].to_numpy()[i]:g}" for k in ("latitude", "longitude") if k in array.coords]
    return str(array.place.to_numpy()[i]) + (f" at {', '.join(degrees)} degrees" if degrees else "")


def _grid(array: xr.DataArray) -> str:
    if "place" in array.dims:
        return f"{array.sizes['place']} places"
    latitude, longitude = array.latitude.to_numpy(), array.longitude.to_numpy()
    if latitude.ndim == 2:
        shape = " x ".join(map(str, latitude.shape))
        return f"a curved grid of {shape} cells, the first at {latitude[0, 0]:g}, {longitude[0, 0]:g} degrees,"
    ends = f"{latitude[0]:g} to {latitude[-1]:g} and {longitude[0]:g} to {longitude[-1]:g}"
    return f"{len(latitude)} x {len(longitude)} cells from {ends} degrees"
