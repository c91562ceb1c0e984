"""How far one variable of generated fields is from the real one: what the search for a sampler asks again and again."""

from dataclasses import dataclass

import numpy as np

from levy_core.metrics.common import marginal
from levy_core.metrics.common.marginal import Tail, log_ratio, mean_square
from levy_core.metrics.fields import spatial

HIGH = {"99": 0.99, "999": 0.999}  # quantiles of the real values that count as high


@dataclass(frozen=True)
class Real:
    """What comparisons need of one real variable, measured once.

    Attributes:
        table: ascending values, thinned. centre: their median. tail: of their reach, the largest ``share``.
        levels: quantiles of the reach that are compared. moments: (skewness, kurtosis).
        high: by name, a high threshold and the share of values above it.
        variance: mean of a field. power: at each wavenumber, damped by it [K].
    """

    table: np.ndarray
    centre: float
    tail: Tail
    share: float
    levels: tuple[float, ...]
    moments: tuple[float, float]
    high: dict[str, tuple[float, float]]
    variance: float
    power: np.ndarray

    @classmethod
    def of(
        cls,
        power: np.ndarray,
        modes: np.ndarray,
        ordered: np.ndarray,
        levels: tuple[float, ...],
        tail_share: float,
    ) -> "Real":
        """Measures fields with the power [N, K] at each wavenumber, which is ``modes`` [K] times in their variance, and pooled values
        ``ordered`` [n], ascending."""
        centre, share = marginal.quantile(ordered, 0.5), max(1 - min(levels), tail_share)
        thresholds = {name: marginal.quantile(ordered, level) for name, level in HIGH.items()}
        variances = power @ modes
        variance = float(variances.mean()) if len(variances) else marginal.NAN
        return cls(
            table=marginal.thin(ordered),
            centre=centre,
            tail=Tail.reach(ordered, centre, share),
            share=share,
            levels=levels,
            moments=marginal.moments(ordered),
            high={name: (level, marginal.share_above(ordered, level)) for name, level in thresholds.items()},
            variance=variance,
            power=spatial.damped_power(power, variances, variance),
        )


@dataclass(frozen=True)
class Distances:
    """Numbers without units, 0 for equal laws; NaN where there are too few fields.

    Attributes:
        ks: Kolmogorov-Smirnov distance of the pooled values. tail_error: mean squared log error of upper quantiles of
        the reach. beside: of what neighbouring cells do together: on grids ``spectrum_error``, at places their ``correlation_error``; None for
        a single place.
        ordered: the generated values, ascending [n]. tail: of their reach from the real median.
    """

    ks: float
    tail_error: float
    beside: float | None
    ordered: np.ndarray
    tail: Tail

    @classmethod
    def of(cls, ordered: np.ndarray, real: Real, beside: float | None) -> "Distances":
        """Pooled values [n] of generated fields, ascending, against the real ones."""
        tail = Tail.reach(ordered, real.centre, real.share)
        return cls(
            ks=marginal.kolmogorov(ordered, real.table),
            tail_error=mean_square(log_ratio(tail.quantiles(real.levels), real.tail.quantiles(real.levels))),
            beside=beside,
            ordered=ordered,
            tail=tail,
        )

    @property
    def distance(self) -> float:
        """Mean of those that there are, the tail's as a root mean square; infinite where samples have no spread at all."""
        return float(np.mean([self.ks, np.sqrt(self.tail_error), *([] if self.beside is None else [self.beside])]))


def spectrum_error(power: np.ndarray, modes: np.ndarray, real: Real) -> float:
    """Root mean square of the log error of the damped power; ``power`` [N, K] of generated fields, as ``Real.of`` takes it."""
    damped = spatial.damped_power(power, power @ modes, real.variance)
    return float(np.sqrt(mean_square(log_ratio(damped, real.power))))
