"""What the report answers to whether extremes are right, word for word."""

from math import nan

import pytest

from tasks.kinds.fields.answer import answer, tabulate_decidable

UNITS = {"tp": "mm day-1"}


def real_of(count=43.2, low=33.0, high=52.0):
    """The held-out period's estimates of a variable."""
    return {
        "tp": {
            "quantiles": {"0.999": {"value": 41.0, "low": low, "high": high}},
            "exceedances": {"0.99": 120.4, "0.999": count},
            "return_exceedances": {"100": 7.2},
        }
    }


def said(drawn=40.0, mean=1.04, **changes):
    cell = {"design": "tedm", "q999/test/tp": drawn, "mean95_ratio/test/tp": mean}
    return answer(cell, "ODE, 10 evaluations", UNITS, real_of(**changes), {"q999/test/tp": 38.2})


def test_extremes_within_the_interval_are_right_and_the_winner_is_told_last():
    assert said() == [
        "tp: the highest values are right as far as these data can tell: one value in 1,000 exceeds 40 mm day-1 in the samples, "
        "41 (90 % interval 33 to 52) in the held-out period, 38.2 in the training period.",
        "Means over the whole area swing as far as they should: tp, 1.04 times as far from their median as the real ones "
        "(95 % quantile; 1 is right).",
        "This is tedm with ODE, 10 evaluations, the winner.",
    ]


@pytest.mark.parametrize(
    ("drawn", "changes", "beginning"),
    [
        (20.0, {}, "tp: the highest values are too low: one value in 1,000 exceeds 20 mm day-1"),
        (70.0, {}, "tp: the highest values are too high: "),
        (
            20.0,
            {"count": 3.14},
            "tp: not decidable with these data, whose held-out period has 3.1 independent exceedances where 20 are needed: one",
        ),
        (20.0, {"count": None}, "tp: not decidable with these data, whose held-out period has too few fields to count"),
        (20.0, {"low": None, "high": None}, "tp: not decidable with these data, "),
        (
            nan,
            {},
            "tp: too few samples to see a value that is exceeded once in 1,000; it is 41 (90 % interval 33 to 52) mm",
        ),
    ],
)
def test_what_is_wrong_or_not_known_is_said_first(drawn, changes, beginning):
    assert said(drawn, **changes)[0].startswith(beginning)


def test_wet_days_and_what_is_mapped_are_told_where_there_are_any():
    cell = {"design": "tedm", "q999/test/tp": 40.0, "mean95_ratio/test/tp": 1.0}
    cell |= {"wet_ratio/test/tp": 2.06, "wet_mean_ratio/test/tp": 0.72}
    _, wet, mapped, *_ = answer(cell, "ODE", UNITS, real_of(), {"q999/test/tp": 38.2}, ["tp"])
    assert (
        wet
        == "tp: 2.06 times as many wet cells and days as in the held-out period, with 0.72 times as much each (1 is right)."
    )
    assert mapped.startswith(
        "Single values of tp, over all cells together, have the quantiles of the training period by a mapping: they say nothing"
    )


def test_cells_whose_means_are_further_off_than_the_training_periods_are_told_in_units():
    bias = {"cell_bias/test/tp": 0.67, "cell_bias_share/test/tp": 0.143}
    cell = {"design": "tedm", "q999/test/tp": 40.0, "mean95_ratio/test/tp": 1.0} | bias
    told = lambda ceiling: answer(cell, "ODE", UNITS, real_of(), {"cell_bias/test/tp": ceiling})
    assert told(0.12)[1] == (
        "tp: single cells have a wrong mean, by 0.67 mm day-1 (root mean square over cells; 0.14 of a cell's standard deviation), "
        "where the training period's differ by 0.12 from the held-out ones."
    )
    for ceiling in (0.45, None):
        assert not any("single cells" in sentence for sentence in told(ceiling))
    cell["cell_bias_share/test/tp"] = 0.09
    assert not any("single cells" in sentence for sentence in told(0.0))


def test_too_few_values_on_both_sides_are_told_without_a_number():
    real = real_of()
    real["tp"]["quantiles"]["0.999"] = {"value": None, "low": None, "high": None}
    cell = {"design": "tedm", "q999/test/tp": nan, "mean95_ratio/test/tp": nan}
    first, *_ = answer(cell, "ODE", UNITS, real, {"q999/test/tp": None})
    assert first == "tp: too few values, real and drawn, to see one that is exceeded once in 1,000."


def test_means_that_swing_too_far_are_told_and_unknown_ones_are_not():
    assert said(mean=1.4)[1].startswith("Means over the whole area swing: tp too far, 1.40 times as far from their")
    assert len(said(mean=nan)) == 2


def test_of_means_those_that_are_wrong_are_told_each_with_its_direction():
    units = {"t2m": "K", "pr": "mm day-1", "z": "m"}
    cell = {"design": "tedm"} | {f"q999/test/{v}": nan for v in units}
    cell |= {"mean95_ratio/test/t2m": 1.31, "mean95_ratio/test/pr": 0.98, "mean95_ratio/test/z": 0.7}
    real = dict.fromkeys(units, real_of()["tp"])
    assert answer(cell, "ODE", units, real, {})[3] == (
        "Means over the whole area swing: t2m too far, 1.31, z not far enough, 0.70 times as far from their median as the real ones "
        "(95 % quantile; 1 is right)."
    )


def test_the_table_says_for_each_level_whether_the_data_can_decide():
    ceiling = {"q999_ratio/test/tp": 0.93, "tail_error/test/tp": 0.012, "return_error/test/tp": None}
    rows = tabulate_decidable(["tp"], UNITS, real_of(), ceiling)
    assert [(row["measure"], row["count"], row["verdict"], row["training"]) for row in rows] == [
        ("distance from the median, 99.9 % quantile", "43", "decidable", "0.93"),
        ("the same, quantiles from 95 to 99.9 %", "120", "decidable", "0.012"),
        ("return levels", "7.2", "not decidable with these data", "too few fields"),
    ]
