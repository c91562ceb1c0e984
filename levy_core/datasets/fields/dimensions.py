"""Dimensions beside time and space: an entry of them is chosen, or entries that complete each other are merged."""

from collections.abc import Mapping

import numpy as np
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.config import Choice

MERGE = "merge"
CLOSE = 1e-5  # relative: of numbers that were stored as float32
SHOWN = 8  # values of a dimension in a message


class Selection:
    """The entries that are chosen of dimensions, asked of one variable of one source after the other.

    A dimension that a variable does not have is passed over; a single entry that is no dimension must be the chosen one. Numbers are
    equal within rounding to float32, whole numbers exactly, also where a source writes them as text ("0001").
    """

    def __init__(self, chosen: Mapping[str, Choice], members: str | None):
        self._chosen, self._members = chosen, members
        self._known, self._others = set[str](), set[str]()
        self._not_held: dict[str, str] = {}

    def of(self, key: str, array: xr.DataArray, own: set[str], where: str) -> list[xr.DataArray]:
        """The variable at the chosen entries; of ``MERGE`` one array per entry, ascending. Empty
        if the source has other entries.

        Args:
            key: the channel. own: names of dimensions and coordinates of time and space.

        Raises:
            LevyError: a chosen dimension, or that of members, is of time or space.
        """
        for setting, names in (("select", self._chosen), ("members", [self._members])):
            if wrong := [name for name in names if name in own]:
                raise LevyError(
                    f"{where}: `{setting}` names {wrong[0]!r}, which is a dimension of time or space: choose times with `period`, an area "
                    "with `box`"
                )
        self._others |= {str(d) for d in array.dims} - own
        has = {str(d) for d in array.dims} | {str(k) for k, c in array.coords.items() if not c.ndim}
        self._known |= has
        arrays = [array]
        for name, choice in self._chosen.items():
            if name not in has:
                continue
            entries = _entries(array, name)
            positions = np.argsort(entries, kind="stable") if choice == MERGE else _positions(entries, choice)
            if not len(positions):
                said = f"{where} has no {name} {choice}: there are {_say(entries)}; correct `select`"
                self._not_held.setdefault(key, said)
            if name in array.dims:
                arrays = [each.isel({name: int(i)}) for each in arrays for i in positions]
            elif not len(positions):
                arrays = []
        return arrays

    def check(self, lacking: list[str]) -> None:
        """After all sources; ``lacking`` are the channels that none has.

        Raises:
            LevyError: a chosen dimension that no variable has, or an entry that no source has.
        """
        if names := [name for name in self._chosen if name not in self._known]:
            held = ", ".join(sorted(self._others)) or "no dimension"
            raise LevyError(
                f"`select` names {names[0]!r}, but beside time and space the variables have {held}: correct it"
            )
        for key in lacking:
            if key in self._not_held:
                raise LevyError(self._not_held[key])


def with_members(array: xr.DataArray, name: str, where: str) -> xr.DataArray:
    """The variable with a dimension of members that has values, also where its source has a single member.

    Raises:
        LevyError: it has neither.
    """
    if name not in array.dims and (name not in array.coords or array[name].ndim):
        held = ", ".join(map(str, array.dims))
        raise LevyError(
            f"{where} has no dimension {name!r}, which `members` names: it has {held}; correct `members`, or remove it"
        )
    array = array if name in array.dims else array.expand_dims(name)
    return array.assign_coords({name: _entries(array, name).astype(str)})


def refuse_dimensions(array: xr.DataArray, names: list[str], where: str) -> None:
    """Tells what to write of dimensions that have several entries.

    Raises:
        LevyError: always.
    """
    listing = ", ".join(f"{name} ({array.sizes[name]}: {_say(_entries(array, name))})" for name in names)
    example = ", ".join(f"{name}: {_entries(array, name)[0]}" for name in names)
    merged = (
        " (or `expver: merge`: final values, and preliminary ones where these are missing)" if "expver" in names else ""
    )
    raise LevyError(
        f"{where} has beside time and space the dimensions {listing}: choose one entry of each in params, such as "
        f"`select: {{{example}}}`{merged}, or take the members of an ensemble as samples, `members: {names[0]}`"
    )


def _entries(array: xr.DataArray, name: str) -> np.ndarray:
    """The values of a dimension or of a single entry; positions where it has none."""
    if name not in array.coords:
        return np.arange(array.sizes[name])
    entries = np.atleast_1d(array[name].to_numpy())
    return entries if entries.dtype.kind in "iuf" else entries.astype(str)


def _positions(entries: np.ndarray, choice: Choice) -> np.ndarray:
    """Where the chosen entry is, [1], or [0] where it is not."""
    number = _number(choice)
    if entries.dtype.kind == "U":
        same = [e == str(choice) or (number is not None and _number(e) == number) for e in entries]
        return np.flatnonzero(same)[:1]
    if number is None:
        return np.empty(0, dtype=int)
    nearest = int(np.abs(entries.astype(np.float64) - number).argmin())
    found = entries[nearest] == number or (entries.dtype.kind == "f" and np.isclose(entries[nearest], number, CLOSE, 0))
    return np.array([nearest] if found else [], dtype=int)


def _number(text: Choice) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _say(entries: np.ndarray) -> str:
    shown = [f"{e:g}" if entries.dtype.kind == "f" else str(e) for e in entries[:SHOWN]]
    return ", ".join(shown) + (f" to {entries[-1]}" if len(entries) > SHOWN else "")
