"""What a classifier cannot decide about classes that it was checked on too few images of."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import confusion_matrix

from levy_core.datasets.images.split import FEWEST_CHECKS, count_checks
from levy_core.metrics.common.paired import compare
from levy_core.metrics.images.classifier import Check, check_classes
from levy_core.metrics.images.decidable import (
    OF_RARE,
    describe_check,
    describe_rate,
    explain_class,
    explain_undecidable,
    find_undecidable,
    without_undecidable,
)
from tasks.kinds.images.measures import MEASURES

WELL, FEW = (
    [[30, 1, 0, 1], [2, 30, 0, 0]],
    [0, 0, 1, 0],
)  # by class and verdict; the last verdict is outside of the manifold


def test_a_classifier_that_was_right_on_one_image_of_one_has_shown_nothing():
    confusion = np.array([*WELL, FEW])
    assert explain_undecidable(confusion, [0]) == explain_undecidable(confusion, [0, 2]) == ""
    assert explain_undecidable(confusion, [2]) == (
        "the classifier was checked on 1 real image of them (it knew 1: 100 %, 95 % interval 15 to 100 %; 10 are needed)"
    )
    assert (
        explain_undecidable(np.zeros((3, 4), int), [2])
        == "the classifier was checked on 0 real images of them (10 are needed)"
    )
    assert "without real images" in explain_undecidable(None, [2])


def test_the_interval_is_jeffreys_and_so_many_right_ones_begin_near_four_fifths():
    low = stats.beta.ppf(0.025, 7.5, 3.5)
    assert describe_rate(7, 10).startswith(f"70 %, 95 % interval {100 * low:.0f} to ")
    assert stats.beta.ppf(0.025, FEWEST_CHECKS + 0.5, 0.5) == pytest.approx(0.783, abs=1e-3)
    assert describe_rate(FEWEST_CHECKS, FEWEST_CHECKS) == "100 %, 95 % interval 78 to 100 %"


def test_checks_by_class_are_those_of_the_confusion_matrix():
    labels, verdicts = np.random.default_rng(0).integers(0, [[4], [5]], (2, 200)).clip(0, 4)
    matrix = confusion_matrix(labels, verdicts, labels=range(6))
    found = check_classes(labels, verdicts, 6)
    assert [c["images"] for c in found] == matrix.sum(1).tolist()
    assert [c["known"] for c in found] == matrix.diagonal().tolist()
    assert [c["mistaken"] for c in found] == (matrix.sum(0) - matrix.diagonal()).tolist()
    assert all(c["images"] + c["others"] == 200 for c in found)


def test_a_class_is_decidable_from_as_many_images_on_and_not_known_where_none_are_kept():
    enough, few = (Check(images=n, known=n - 1, others=9, mistaken=2) for n in (FEWEST_CHECKS, FEWEST_CHECKS - 1))
    assert explain_class(enough) == ""
    assert explain_class(few).startswith(
        f"the classifier was checked on {FEWEST_CHECKS - 1} real images of it (it knew"
    )
    assert explain_class(Check(images=0, known=0, others=9, mistaken=0)) == (
        f"the classifier was checked on 0 real images of it ({FEWEST_CHECKS} are needed)"
    )
    assert "does not keep" in explain_class(None)
    assert describe_check(enough) == (
        f"the classifier knew 9 of 10 real images of it: {describe_rate(9, 10)}; of 9 others it took 2 for it: {describe_rate(2, 9)}"
    )


def test_what_it_says_of_such_classes_is_left_out_and_nothing_else():
    row = {f"{key}/{c}": 0.5 for key in ("class_share", "class_agreement", "class_fid") for c in range(3)}
    row |= dict.fromkeys([*OF_RARE, "fid/longtail"], 0.5)
    found = without_undecidable(row, np.array([*WELL, FEW]), 3, [2])
    left_out = {"class_share/2", "class_agreement/2", *OF_RARE}
    assert {key for key, value in found.items() if np.isnan(value)} == left_out
    assert list(found) == list(row)
    assert without_undecidable(row, np.array([*WELL, WELL[0]]), 3, [2]) == row


def test_a_gate_counts_what_is_said_of_such_a_class_as_not_decidable():
    """Not only of the rare classes together: no model is better for what nobody can tell."""
    unknown = find_undecidable(np.array([*WELL, FEW]), 3, [1])
    rows = [{f"class_agreement/{c}": 0.5 + gain for c in range(3)} for gain in np.linspace(0.1, 0.2, 24)]
    other = [dict.fromkeys(row, 0.5) for row in rows]
    lines = compare({"class_agreement": "better"}, MEASURES, rows, other, "champion", 0.001, unknown)
    assert [(line.passed, bool(line.undecidable)) for line in lines] == [(True, False), (True, False), (False, True)]
    assert "1 real image" in lines[2].undecidable


def test_images_that_check_are_the_held_out_ones_and_a_fifth_of_the_balanced_ones():
    labels = np.array([0] * 30 + [1] * 20)
    groups = {"balanced": np.r_[0:15, 30:45], "test": np.r_[20:24, 46:49], "train": np.r_[0:20]}
    assert (count_checks(labels, groups, [0]), count_checks(labels, groups, [1])) == (7, 6)
    assert count_checks(labels, {"balanced": groups["balanced"]}, [0, 1]) == 6
