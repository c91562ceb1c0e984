"""What images are measured by; definitions: ``levy_core.metrics.images.fidelity.measure_images``."""

from levy_core.base.measure import Measure

MEASURES = (
    Measure(
        "fid", "low", ranks=("fid/longtail", "fid/balanced"), headline=("fid/longtail", "fid/balanced"),
        shown=(("FID, long-tailed reference", "fid/longtail"), ("FID, balanced reference", "fid/balanced")),
    ),
    Measure(
        "kid", "low", ranks=("kid/longtail", "kid/balanced"), headline=("kid/longtail",),
        shown=(("KID x 1000, long-tailed", "kid/longtail"),), factor=1000,
    ),
    Measure("precision", "high", headline=("precision/longtail",), shown=(("precision, long-tailed", "precision/longtail"),)),
    Measure("recall", "high", headline=("recall/longtail",), shown=(("recall, long-tailed", "recall/longtail"),)),
    Measure("density", "one", headline=("density/longtail",), shown=(("density, long-tailed", "density/longtail"),)),
    Measure(
        "coverage", "high", headline=("coverage/longtail",),
        shown=(("coverage, long-tailed", "coverage/longtail"), ("coverage, balanced", "coverage/balanced")),
    ),
    Measure(
        "rare_share_ratio", "one", headline=("rare_share_ratio",),
        shown=(
            ("rare classes: share among samples / share in the data", "rare_share_ratio"),
            ("rare classes: samples per seed", "rare_count"),
        ),
    ),
    Measure(
        "rare_recall", "high", headline=("rare_recall/balanced",),
        shown=(("rare classes: recall, balanced reference", "rare_recall/balanced"),),
    ),
    Measure(
        "rare_fid", "low", headline=("rare_fid/balanced",),
        shown=(("rare classes: FID, balanced reference", "rare_fid/balanced"),),
    ),
    Measure("class_fid", "low"),
    Measure("class_recall", "high"),
    Measure(
        "near_train", "one", headline=("near_train",),
        shown=(("distance to the nearest training image / theirs to each other", "near_train"),), held_out=False,
    ),
    Measure(
        "tail_q99", "one", shown=(("tail: 99 % quantile of the distance from the centre / the data's", "tail_q99"),)
    ),
    Measure(
        "tail_error", "low", headline=("tail_error",),
        shown=(("tail: mean squared log error of quantiles 90 to 99 %", "tail_error"),),
    ),
    Measure("tail_ks", "low", shown=(("tail: Kolmogorov-Smirnov distance", "tail_ks"),)),
)  # fmt: skip
