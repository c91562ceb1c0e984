"""What makes a variable fit for a network: invertible functions of float64 values, exact inverses up to rounding."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from levy_core.datasets.fields.normal_scores import NormalScores


class Parameters(Protocol):
    """What a variable says of its transform; ``scores`` are known once its training values were seen."""

    @property
    def scale(self) -> float: ...
    @property
    def exponent(self) -> float: ...
    @property
    def scores(self) -> NormalScores | None: ...


Function = Callable[[np.ndarray, Parameters], np.ndarray]


class Transform(NamedTuple):
    """``inverse(forward(x, of), of)`` is x. ``formula`` says what ``forward`` does."""

    forward: Function
    inverse: Function
    formula: str


def _power(x: np.ndarray, exponent: float) -> np.ndarray:
    return np.sign(x) * np.abs(x) ** exponent


def _fitted(of: Parameters) -> NormalScores:
    assert of.scores is not None, "normal scores are fitted before fields are encoded"
    return of.scores


TRANSFORMS: dict[str, Transform] = {
    "identity": Transform(lambda x, of: x, lambda y, of: y, "x"),
    "log1p": Transform(
        lambda x, of: np.log1p(x / of.scale), lambda y, of: np.expm1(y) * of.scale, "log(1 + x / scale)"
    ),
    "signed-log": Transform(
        lambda x, of: np.sign(x) * np.log1p(np.abs(x / of.scale)),
        lambda y, of: np.sign(y) * np.expm1(np.abs(y)) * of.scale,
        "sign(x) log(1 + |x| / scale)",
    ),
    "power": Transform(
        lambda x, of: _power(x / of.scale, of.exponent),
        lambda y, of: _power(y, 1 / of.exponent) * of.scale,
        "sign(x) |x / scale|**exponent",
    ),
    "asinh": Transform(lambda x, of: np.arcsinh(x / of.scale), lambda y, of: np.sinh(y) * of.scale, "asinh(x / scale)"),
    "normal-score": Transform(
        lambda x, of: _fitted(of).forward(x),
        lambda y, of: _fitted(of).inverse(y),
        "standard normal quantile of the rank in the training period, power-law tails",
    ),
}
STEEP = ("log1p", "signed-log", "asinh", "normal-score")  # whose inverses make of a power law something without moments
