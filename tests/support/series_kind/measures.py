"""What series are measured by; definitions: ``metrics.describe``."""

from levy_core.base.measure import Measure

MEASURES = (
    Measure(
        "distance", "low", ranks=("distance/train", "distance/test"), headline=("distance/*",),
        shown=(("distance from the held-out series", "distance/test"),),
    ),
    Measure("quantile_error", "low", shown=(("error of quantiles, in standard deviations", "quantile_error/test"),)),
    Measure("autocorrelation_error", "low", shown=(("error of the autocorrelation", "autocorrelation_error/test"),)),
)  # fmt: skip
