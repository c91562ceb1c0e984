"""Standardised fields in half precision: half the bytes on disk, each value to within 2**-12 of itself."""

import numpy as np

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.opening import LazyFields
from levy_core.datasets.fields.timeline import say

LARGEST = float(np.finfo(np.float16).max)  # standard deviations


def to_half(fields: LazyFields, encoded: np.ndarray, values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """The nearest float16 of standardised fields, float32 [n, C, H, W]; NaN stays NaN.

    Below 2**-14, where float16 has fewer digits, they are off by 2**-25 at most. Cells at the ``minimum`` of their variable
    are rounded down, so that dry days come back as dry ones: what decodes to less is raised to the minimum.

    Args:
        values: the same in physical units. times: [n].

    Raises:
        LevyError: a value that float16 would make infinite.
    """
    with np.errstate(over="ignore"):
        half = encoded.astype(np.float16)
    for c, v in enumerate(fields.config.variables):
        if v.minimum is not None:
            above = (values[:, c] <= v.minimum) & (half[:, c] >= encoded[:, c]) & np.isfinite(half[:, c])
            half[:, c][above] = np.nextafter(half[:, c][above], np.float16(-np.inf))
    if np.isinf(half).any():
        n, c, *cell = np.argwhere(np.isinf(half))[0]
        v, time = fields.config.variables[c], times[n]
        raise LevyError(
            f"{fields.source(v.key, time)}: variable {v.key!r} at {say(time)} is {values[n, c, *cell]:g} {v.units}, {encoded[n, c, *cell]:.3g} "
            f"standard deviations from its mean, but dtype float16 ends at {LARGEST:,.0f}: repair the file if the value is wrong, else take a "
            "transform (power, asinh) or dtype float32"
        )
    return half
