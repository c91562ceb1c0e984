"""What fields are measured by; definitions: docs/weather-measures.md."""

from levy_core.base.measure import Measure

ANOMALIES = "test-anomalies/{}"  # of variables whose climatology was taken off, beside the physical units of `test`

MEASURES = (
    Measure(
        "distance", "low", ranks=("distance/train", "distance/test"), headline=("distance/*",),
        shown=(
            ("distance from the held-out period", "distance/test"),
            ("distance from the training period", "distance/train"),
        ),
    ),
    Measure("class_distance", "low"),
    Measure("ks", "low", headline=("ks/test/*",), shown=(("Kolmogorov-Smirnov distance", "ks/test/{}"),)),
    Measure("skew_ratio", "one", shown=(("skewness, generated / real", "skew_ratio/test/{}"),)),
    Measure("kurtosis_ratio", "one", shown=(("kurtosis, generated / real", "kurtosis_ratio/test/{}"),)),
    Measure(
        "tail_error", "low", headline=("tail_error/test/*",),
        shown=(
            ("tail: mean squared log error of upper quantiles of the distance from the median", "tail_error/test/{}"),
            ("the same of anomalies", "tail_error/" + ANOMALIES),
        ),
    ),
    Measure(
        "q999_ratio", "one", headline=("q999_ratio/test/*",),
        shown=(
            ("distance from the median, 99.9 % quantile, generated / real", "q999_ratio/test/{}"),
            ("the same of anomalies", "q999_ratio/" + ANOMALIES),
        ),
    ),
    Measure(
        "mean95_ratio", "one",
        shown=(
            ("mean over the area: distance from its median, 95 % quantile, generated / real", "mean95_ratio/test/{}"),
            ("the same of anomalies", "mean95_ratio/" + ANOMALIES),
        ),
    ),
    Measure(
        "hill_ratio", "one", headline=("hill/test/*",),
        shown=(
            ("tail index (Hill)", "hill/test/{}"),
            ("the same of anomalies", "hill/" + ANOMALIES),
            ("shape of peaks over threshold (GPD)", "gpd/test/{}"),
        ),
    ),
    Measure(
        "wet_ratio", "one", headline=("wet_ratio/test/*",),
        shown=(("wet days, generated / real", "wet_ratio/test/{}"),),
    ),
    Measure("wet_mean_ratio", "one", shown=(("mean of wet days, generated / real", "wet_mean_ratio/test/{}"),)),
    Measure(
        "cell_bias", "low",
        shown=(("means of single cells: bias in units, root mean square", "cell_bias/test/{}"),),
    ),
    Measure(
        "cell_bias_share", "low",
        shown=(("the same / a cell's standard deviation", "cell_bias_share/test/{}"),),
    ),
    Measure("return_error", "low", shown=(("return levels: log error", "return_error/test/{}"),)),
    Measure(
        "exceed99_ratio", "one",
        shown=(("exceedance of the real 99 % quantile, generated / real", "exceed99_ratio/test/{}"),),
    ),
    Measure(
        "exceed999_ratio", "one",
        shown=(("exceedance of the real 99.9 % quantile, generated / real", "exceed999_ratio/test/{}"),),
    ),
    Measure(
        "spectrum_error", "low", headline=("spectrum_error/test/*",),
        shown=(
            ("power spectrum: log error", "spectrum_error/test/{}"),
            ("the same of anomalies", "spectrum_error/" + ANOMALIES),
        ),
    ),
    Measure(
        "correlation_error", "low",
        shown=(
            ("spatial correlation: error", "correlation_error/test/{}"),
            ("the same of anomalies", "correlation_error/" + ANOMALIES),
        ),
    ),
    Measure(
        "joint_error", "low",
        shown=(
            ("extremes of two cells at once, by distance: error", "joint_error/test/{}"),
            ("the same of anomalies", "joint_error/" + ANOMALIES),
        ),
    ),
    Measure("crps", "low", shown=(("CRPS of samples, of the season where they have one", "crps/{}"),)),
    Measure(
        "crps_skill", "high", headline=("crps_skill/*",),
        shown=(("CRPS skill over real fields of other years", "crps_skill/{}"),),
    ),
    Measure("reliability", "low", shown=(("rank histogram: reliability index", "reliability/{}"),)),
    Measure("chi_error", "low", shown=(("joint extremes, error", "chi_error/test/{}"),), pairs=True),
)  # fmt: skip
