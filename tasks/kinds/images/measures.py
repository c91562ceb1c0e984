"""What images are measured by; what each means: docs/image-measures.md."""

from levy_core.base.measure import Measure

MEASURES = (
    Measure(
        "fid_classes", "low", ranks=("fid_classes/longtail", "fid_classes/balanced"),
        headline=("fid_classes/longtail",),
        shown=(("FID, long-tailed reference, plus the mean FID of the classes", "fid_classes/longtail"),),
    ),
    Measure(
        "fid", "low", ranks=("fid/longtail", "fid/balanced"), headline=("fid/longtail", "fid/balanced"),
        shown=(("FID, long-tailed reference", "fid/longtail"), ("FID, balanced reference", "fid/balanced")),
    ),
    Measure(
        "kid", "low", ranks=("kid/balanced",), headline=("kid/balanced",),
        shown=(("KID x 1000, balanced reference", "kid/balanced"),), factor=1000,
    ),
    Measure("precision", "high", shown=(("precision, long-tailed", "precision/longtail"),)),
    Measure("recall", "high", shown=(("recall, long-tailed", "recall/longtail"),)),
    Measure("f1", "high", shown=(("F1 of precision and recall, long-tailed", "f1/longtail"),)),
    Measure("density", "one", shown=(("density, long-tailed", "density/longtail"),)),
    Measure(
        "coverage", "high", headline=("coverage/balanced",),
        shown=(("coverage, long-tailed", "coverage/longtail"), ("coverage, balanced", "coverage/balanced")),
    ),
    Measure(
        "rare_share_ratio", "one", headline=("rare_share_ratio",),
        shown=(
            ("rare classes: corrected share of draws in training proportions / share in the data", "rare_share_ratio"),
            ("rare classes: its 95 % interval from", "rare_share_low"),
            ("rare classes: its 95 % interval to", "rare_share_high"),
            ("rare classes: samples per seed", "rare_count"),
        ),
    ),
    Measure(
        "rare_fid", "low", headline=("rare_fid/balanced",),
        shown=(("rare classes: FID, balanced reference", "rare_fid/balanced"),),
    ),
    Measure("rare_precision", "high", shown=(("rare classes: precision, balanced reference", "rare_precision/balanced"),)),
    Measure(
        "rare_coverage", "high", headline=("rare_coverage/balanced",),
        shown=(("rare classes: coverage, balanced reference", "rare_coverage/balanced"),),
    ),
    Measure(
        "rare_agreement", "high", headline=("rare_agreement",),
        shown=(("rare classes: samples that are what was asked for", "rare_agreement"),),
    ),
    Measure("class_fid", "low"),
    Measure("class_coverage", "high"),
    Measure("class_agreement", "high"),
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
