"""What the report answers to whether rare classes come back, word for word."""

from math import nan

import pytest

from tasks.kinds.images.answer import answer, format_percent, tabulate_classes

NAMES, COUNTS = ["cat", "dog", "owl", "elk"], [50, 40, 6, 4]  # one rare class: a third of four
SIX, OF_SIX = ["a", "b", "c", "d", "e", "f"], [50, 30, 10, 6, 3, 1]  # two: f and e, 4 % together


def cell_of(ratio=(1.0, 0.8, 1.3), counts=(50, 40, 6, 4), **changes):
    """A row of the grid."""
    row = {
        "design": "edm",
        "samples": 200.0,
        "rare_agreement": 0.844,
        "rare_coverage/balanced": 0.53,
        "rare_fid/balanced": 8.123,
    }
    row |= dict(zip(("rare_share_ratio", "rare_share_low", "rare_share_high"), ratio, strict=True))
    row |= {f"class_count/{c}": float(n) for c, n in enumerate(counts)}
    return row | changes


def said(cell, names=NAMES, counts=COUNTS):
    return answer(cell, "ODE, 10 evaluations", names, counts, 600)


def test_a_right_share_its_quality_and_the_winner_are_told_in_this_order():
    assert said(cell_of()) == [
        "As often as it should, as far as 200 samples can tell: the rare class elk should be 4.0 % of all samples and is "
        "4.0 % (95 % interval 3.2 to 5.2 %).",
        "Asked for a rare class, the model makes that class in only 84 of 100 cases.",
        "Of the real rare images 53 % have a sample of their class nearby (FID of the rare classes 8.12).",
        "This is edm with ODE, 10 evaluations, the winner.",
    ]


SHARES = {
    "below": (
        (0.5, 0.3, 0.9),
        "Too seldom: the rare classes f and e should be 4.0 % of all samples, but are 2.0 % (95 % interval 1.2 to 3.6 %).",
    ),
    "touching": (
        (0.5, 0.3, 1.0),
        "As often as they should, as far as 200 samples can tell: the rare classes f and e should be 4.0 % of all samples and are "
        "2.0 % (95 % interval 1.2 to 4.0 %).",
    ),
    "wide": (
        (1.1, 0.6, 1.7),
        "Not decided: the rare classes f and e should be 4.0 % of all samples and are 4.4 % (95 % interval 2.4 to 6.8 %), "
        "which is too wide to tell.",
    ),
    "beyond all": (
        (9.0, 0.0, 30.0),
        "Not decided: the rare classes f and e should be 4.0 % of all samples and are 36.0 % (95 % interval 0.0 to 100.0 %), "
        "which is too wide to tell.",
    ),
    "above": (
        (2.0, 1.5, 2.6),
        "Too often: the rare classes f and e should be 4.0 % of all samples, but are 8.0 % (95 % interval 6.0 to 10.4 %).",
    ),
    "unknown": (
        (nan, nan, nan),
        "Not known: the rare classes f and e should be 4.0 % of all samples; what they are could not be measured.",
    ),
}


@pytest.mark.parametrize(("ratio", "sentence"), SHARES.values(), ids=SHARES)
def test_the_share_is_judged_by_its_interval(ratio, sentence):
    assert said(cell_of(ratio, (1,) * 6), SIX, OF_SIX)[0] == sentence


def test_a_rare_class_that_never_came_comes_first_whatever_the_share():
    lost = cell_of((0.8, 0.5, 1.2), (1, 1, 1, 1, 1, 0))
    assert said(lost, SIX, OF_SIX)[0] == (
        "Not all of them: class f never came among 600 samples. "
        "The rare classes f and e should be 4.0 % of all samples and are 3.2 % (95 % interval 2.0 to 4.8 %)."
    )
    lost = cell_of((0.0, 0.0, 0.2), (1, 1, 1, 1, 0, 0))
    assert said(lost, SIX, OF_SIX)[0] == (
        "No: classes f and e never came among 600 samples. "
        "The rare classes f and e should be 4.0 % of all samples and are 0.0 % (95 % interval 0.0 to 0.8 %)."
    )
    lost = cell_of((nan, nan, nan), (1, 1, 1, 1, 0, 0))
    assert said(lost, SIX, OF_SIX)[0].endswith(
        "The rare classes f and e should be 4.0 % of all samples; what they are could not be measured."
    )


def test_a_common_class_that_never_came_is_told_last():
    assert said(cell_of(counts=(0, 40, 0, 4)))[-1] == "Other classes that never came: owl and cat."


def test_the_model_that_makes_what_it_is_asked_for_is_not_belittled():
    assert (
        said(cell_of(rare_agreement=0.957))[1]
        == "Asked for a rare class, the model makes that class in 96 of 100 cases."
    )


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0.0"), (1e-18, "0.0"), (0.00432, "0.43"), (0.0612, "6.1"), (1, "100.0")]
)
def test_shares_are_readable_at_any_size(share, text):
    assert format_percent(share) == text


def test_what_was_not_measured_is_said_to_be_unknown():
    assert said(cell_of(**{"rare_agreement": nan, "rare_coverage/balanced": nan, "rare_fid/balanced": nan}))[1:3] == [
        "No class was asked for, so that nothing is known of how often one that is asked for comes.",
        "How much of the real rare images the samples cover could not be measured.",
    ]


def test_what_a_classifier_cannot_tell_is_told_first_and_in_the_place_of_its_numbers():
    why = "the classifier was checked on 1 real image of them (it knew 1: 100 %, 95 % interval 15 to 100 %; 10 are needed)"
    told = answer(cell_of(counts=(0, 40, 0, 0)), "ODE, 10 evaluations", NAMES, COUNTS, 600, why)
    assert told == [
        f"Not decidable: how many samples are of the rare class elk, and whether one that is asked for comes, cannot be told, because {why}. "
        "Bring more images of them.",
        "Of the real rare images 53 % have a sample of their class nearby (FID of the rare classes 8.12).",
        "This is edm with ODE, 10 evaluations, the winner.",
    ]


def classes_of(**changes):
    row = {
        f"{key}/{c}": 0.5 for key in ("class_agreement", "class_coverage", "class_fid", "class_near") for c in range(4)
    }
    for c, share in enumerate((0.5, 0.4, 0.06, 0.004)):
        row |= {f"class_share/{c}": share, f"class_share_low/{c}": share / 2, f"class_share_high/{c}": share * 1.5}
    return row | changes


def test_the_table_begins_with_the_rarest_class_and_marks_shares_whose_interval_leaves_the_truth():
    many = classes_of(**{"class_share_low/2": 0.07, "class_share/1": nan})
    rows = tabulate_classes({"edm": classes_of(), "tedm": many}, NAMES, COUNTS)
    assert [(row["name"], row["count"], row["rare"], row["true"]) for row in rows] == [
        ("elk", 4, True, "4.0"),
        ("owl", 6, False, "6.0"),
        ("dog", 40, False, "40.0"),
        ("cat", 50, False, "50.0"),
    ]
    assert rows[0]["shares"] == [("0.4", "0.2 to 0.6", "few")] * 2
    assert rows[1]["shares"] == [("6.0", "3.0 to 9.0", ""), ("6.0", "7.0 to 9.0", "many")]
    assert rows[2]["shares"] == [("40.0", "20.0 to 60.0", ""), ("–", "", "")]
    assert rows[0]["values"] == [
        "50 %",
        "50 %",
        "50 %",
        "50 %",
        "0.50",
        "0.50",
        "0.50",
        "0.50",
    ]  # designs within measures


def test_a_measure_that_is_missing_is_a_dash():
    (row, *_) = tabulate_classes({"edm": classes_of(**{"class_fid/3": nan, "class_agreement/3": nan})}, NAMES, COUNTS)
    assert row["values"] == ["–", "50 %", "–", "0.50"]
