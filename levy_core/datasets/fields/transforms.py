"""What makes a variable fit for a network: invertible functions of x / scale, float64, exact inverses up to rounding."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Function = Callable[[np.ndarray, float, float], np.ndarray]  # values, scale, exponent


class Transform(NamedTuple):
    """``inverse(forward(x))`` is x. ``formula`` says what ``forward`` does."""

    forward: Function
    inverse: Function
    formula: str


def _power(x: np.ndarray, exponent: float) -> np.ndarray:
    return np.sign(x) * np.abs(x) ** exponent


TRANSFORMS: dict[str, Transform] = {
    "identity": Transform(lambda x, s, e: x, lambda y, s, e: y, "x"),
    "log1p": Transform(lambda x, s, e: np.log1p(x / s), lambda y, s, e: np.expm1(y) * s, "log(1 + x / scale)"),
    "power": Transform(
        lambda x, s, e: _power(x / s, e), lambda y, s, e: _power(y, 1 / e) * s, "sign(x) |x / scale|**exponent"
    ),
    "asinh": Transform(lambda x, s, e: np.arcsinh(x / s), lambda y, s, e: np.sinh(y) * s, "asinh(x / scale)"),
}
