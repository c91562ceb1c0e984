"""What is wrong with the numbers themselves: found while they stream by, named with variable, time and file."""

import numpy as np

from levy_core.datasets.fields.config import FieldsConfig
from levy_core.datasets.fields.opening import Opened
from levy_core.datasets.fields.timeline import say
from levy_core.datasets.fields.units import registry
from levy_core.errors import LevyError

PACKING = 2.0**-15  # of the range: what packing into 16 bits may move a value
# Absolute quantities beyond these are in other units than they say: words of the standard or long name, units, lowest, highest.
PLAUSIBLE = (
    ("temperature", "K", 100.0, 400.0),
    ("relative_humidity", "1", -0.5, 2.0),
    ("surface_air_pressure", "hPa", 300.0, 1100.0),
    ("air_pressure_at_sea_level", "hPa", 850.0, 1100.0),
    ("precipitation", "kg m-2 s-1", -1.0, 1.0),  # 3.6 m an hour
    ("precipitation", "mm s-1", -1.0, 1.0),
)
NOT_ABSOLUTE = ("anomaly", "difference", "range", "tendency", "index", "deviation", "variance", "gradient")


class Checks:
    """Looks at every block of fields before anything is written."""

    def __init__(self, opened: Opened, config: FieldsConfig):
        c = len(config.variables)
        self._opened, self._config = opened, config
        self.low, self.high = np.full(c, np.inf), np.full(c, -np.inf)  # of each channel so far
        self._low_time: list[object] = [None] * c
        self._high_time: list[object] = [None] * c
        self._missing: list[np.ndarray] = []  # [n, C] of each block
        self._times: list[np.ndarray] = []

    def add(self, values: np.ndarray, times: np.ndarray) -> None:
        """A block of physical fields [n, C, H, W].

        Raises:
            LevyError: a field without any value, or an infinite value.
        """
        cells, count = values[0, 0].size, np.isnan(values).sum((2, 3))
        for c, v in enumerate(self._config.variables):
            empty = np.flatnonzero(count[:, c] == cells)
            if len(empty):
                self._refuse(
                    v.key,
                    times[empty[0]],
                    f"has no value at all ({len(empty)} such fields near it)",
                    "bring the field, or choose a `period` without it",
                )
            lows, highs = np.nanmin(values[:, c], axis=(1, 2)), np.nanmax(values[:, c], axis=(1, 2))
            infinite = np.flatnonzero(np.isinf(lows) | np.isinf(highs))
            if len(infinite):
                self._refuse(v.key, times[infinite[0]], "has an infinite value", "mend the file")
            i, j = int(lows.argmin()), int(highs.argmax())
            if lows[i] < self.low[c]:
                self.low[c], self._low_time[c] = lows[i], times[i]
            if highs[j] > self.high[c]:
                self.high[c], self._high_time[c] = highs[j], times[j]
        self._missing.append(count)
        self._times.append(times)

    def finish(self, always: np.ndarray) -> None:
        """After the last block; ``always`` [C] is the number of cells that are missing at all times.

        Raises:
            LevyError: values that its units cannot have or below its minimum, too many missing cells.
        """
        cells = int(np.prod(list(self._opened.data.sizes.values()))) // self._opened.data.sizes["time"]
        if not self._missing:
            return
        missing, times = np.concatenate(self._missing), np.concatenate(self._times)
        for c, v in enumerate(self._config.variables):
            low, high = self.low[c], self.high[c]
            self._check_plausible(c)
            if v.minimum is not None and low < v.minimum - PACKING * (high - low):
                self._refuse(
                    v.key, self._low_time[c], f"is {low:g} {v.units}, below its minimum of {v.minimum:g}",
                    "mend the file, or its units or `minimum` in params",
                )  # fmt: skip
            share = (missing[:, c] - always[c]) / max(1, cells - always[c])
            worst = int(share.argmax())
            if share[worst] > self._config.max_missing:
                self._refuse(
                    v.key, times[worst],
                    f"lacks {share[worst]:.1%} of the cells that are not always missing (max_missing is {self._config.max_missing:.1%}; "
                    f"so do {int((share > self._config.max_missing).sum())} fields)",
                    "choose a `period` or `box` without it, or raise max_missing",
                )  # fmt: skip

    def _check_plausible(self, c: int) -> None:
        v, array = self._config.variables[c], list(self._opened.data.data_vars.values())[c]
        names = " ".join(str(array.attrs.get(a, "")) for a in ("standard_name", "long_name")).lower()
        for word, units, lowest, highest in PLAUSIBLE:
            if word not in names or any(n in names for n in NOT_ABSOLUTE):
                continue
            unit = registry.parse_units(v.units)
            if not unit.is_compatible_with(units):
                continue
            for value, time in zip((self.low[c], self.high[c]), (self._low_time[c], self._high_time[c]), strict=True):
                there = registry.Quantity(value, unit).to(units).magnitude
                if not lowest <= there <= highest:
                    self._refuse(
                        v.key, time, f"is {value:g} {v.units} ({there:g} {units}), which no {word.replace('_', ' ')} is",
                        f"the file's units are wrong: write what its numbers are in as `source_units` of variable {v.name!r} in params",
                    )  # fmt: skip

    def _refuse(self, key: str, time: object, found: str, advice: str) -> None:
        raise LevyError(f"{self._opened.source(key, time)}: variable {key!r} at {say(time)} {found}: {advice}")
