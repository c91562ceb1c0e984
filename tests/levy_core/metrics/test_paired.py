"""The lines of a gate: what each rule asks, and which values of a metric are good."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from levy_core.base.errors import LevyError
from levy_core.base.measure import measure_of
from levy_core.metrics.common.paired import compare, interval
from tasks.kinds.kind import kind_names, kind_of

MEASURES = [measure for kind in kind_names() for measure in kind_of(kind).measures]
GAINS = st.lists(st.floats(-10, 10), min_size=3, max_size=9).filter(lambda values: np.std(values) > 1e-6).map(np.array)


def rows(metric, values):
    return [{metric: float(value)} for value in values]


def compare_metric(metric, rule, champion, challenger, level=0.05):
    (line,) = compare({metric: rule}, MEASURES, rows(metric, challenger), rows(metric, champion), "champion", level)
    return line


@settings(deadline=None, max_examples=30)
@given(GAINS)
def test_the_interval_is_that_of_scipys_t_test(gains):
    expected = stats.ttest_1samp(gains, 0).confidence_interval(0.95)
    assert interval(gains) == pytest.approx((gains.mean(), expected.low, expected.high), rel=1e-6, abs=1e-9)


@settings(deadline=None, max_examples=30)
@given(GAINS, st.floats(0.01, 20))
def test_a_margin_is_a_gain_that_is_given(gains, margin):
    zero = np.zeros(len(gains))
    given_margin, shifted = (
        compare_metric("fid/x", margin, gains, zero),
        compare_metric("fid/x", "better", gains + margin, zero),
    )
    assert given_margin.p == shifted.p
    assert given_margin.passed == (given_margin.p <= 0.05)
    assert (given_margin.gain, given_margin.low) == pytest.approx((gains.mean(), shifted.low - margin))
    better = compare_metric("fid/x", "better", gains, zero)
    assert given_margin.p <= better.p
    assert 0.5 ** len(gains) <= better.p <= 1


def test_what_equal_seeds_have_in_common_hides_no_difference():
    shared = np.array([3.0, 9.0, 1.0, 14.0, 6.0])
    own = np.array([0.1, -0.1, 0.05, 0.0, -0.05])
    assert compare_metric("fid/x", "better", shared + 0.5, shared + own).passed
    assert not compare_metric("fid/x", "better", shared + 0.5, shared[::-1] + own).passed


def test_equal_values_are_not_better_and_within_every_margin():
    for values in ([3.0, 4.0, 5.0, 6.0, 7.0], [0.0] * 5):
        better, kept = (compare_metric("fid/x", rule, values, values) for rule in ("better", 0.01))
        assert (better.passed, better.p, better.seeds_needed) == (False, 1, None)
        assert (kept.passed, kept.p, kept.seeds_needed) == (True, 1 / 32, 5)


def test_the_seeds_that_are_needed_follow_the_square_of_the_gain():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(40)
    noise = (noise - noise.mean()) / noise.std(ddof=1)
    lines = [compare_metric("fid/x", "better", gain + noise, np.zeros(40), level=1e-4) for gain in (0.2, 0.4)]
    # 3.72 standard errors are asked for: (3.72 / 0.2)^2 = 346 seeds and (3.72 / 0.4)^2 = 86, if the spread were known;
    # p of 100 hits is known to a tenth, and the seeds at p = 0.1 to 9 %.
    assert lines[0].seeds_needed == pytest.approx(346, rel=0.36)
    assert lines[1].seeds_needed == pytest.approx(86, rel=0.36)


@pytest.mark.parametrize(
    ("metric", "bad", "good"),
    [
        ("fid/test", 9.0, 2.0),
        ("distance/test", 0.9, 0.1),
        ("rare_coverage/test", 0.1, 0.9),
        ("rare_share_ratio", 0.0, 0.7),
        ("rare_share_ratio", 3.0, 0.7),
        ("q999_ratio/test/t2m", 1.5, 0.9),
        ("skew_ratio/test/t2m", -1.0, 0.01),
        ("crps_skill/t2m", -0.2, 0.1),
    ],
)
def test_every_metric_knows_its_good_direction(metric, bad, good):
    error = measure_of(metric, MEASURES).error
    assert 0 <= error(good) < error(bad)
    noise = np.array([0.01, -0.01, 0.02, 0.0, -0.02]) * good
    up = compare_metric(metric, "better", bad + noise[::-1], good + noise)
    down = compare_metric(metric, 1e-9, good + noise, bad + noise[::-1])
    assert (up.passed, up.gain > 0) == (True, True)
    assert (down.passed, down.gain < 0, down.p) == (False, True, 1)


@given(st.floats(1e-3, 1e3))
def test_a_ratio_is_as_far_off_as_its_inverse_and_bounded(ratio):
    error = measure_of("rare_share_ratio", MEASURES).error
    assert error(ratio) == pytest.approx(np.tanh(abs(np.log(ratio)) / 2), abs=1e-12)
    assert error(ratio) == pytest.approx(error(1 / ratio), abs=1e-9)
    assert error(1.0) == 0
    assert error(0.0) == 1 == error(-ratio)


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)
def test_errors_fall_towards_zero(measure):
    perfect = {"low": 0.0, "high": 1.0, "one": 1.0}[measure.good]
    assert measure.error(perfect) == 0
    assert measure.perfect == perfect


@pytest.mark.parametrize("kind", kind_names())
def test_a_kind_names_each_of_its_measures_once_and_has_no_others(kind):
    measures = kind_of(kind).measures
    assert len({measure.name for measure in measures}) == len(measures)
    for measure in measures:
        assert measure_of(f"{measure.name}/test/x", measures) is measure
    of_others = {measure.name for measure in MEASURES} - {measure.name for measure in measures}
    for name in (*of_others, "class_near", "samples", "fid-"):
        with pytest.raises(LevyError, match=f"unknown measure '{name}' in '{name}/test': choose one of "):
            measure_of(f"{name}/test", measures)


@pytest.mark.parametrize("lost", [np.nan, np.inf, -1e308, 1e101])
def test_a_value_that_is_no_number_passes_no_rule_and_says_whose_it_is(lost):
    whole, broken = [1.0, 2.0, 3.0], [1.0, lost, 3.0]
    for rule in ("better", 0.5):
        for sides, whose in (((whole, broken), "the challenger left"), ((broken, whole), "the champion left")):
            line = compare_metric("fid/x", rule, *sides)
            assert not line.passed
            assert f"{whose} no finite number" in str(line)
    assert "challenger and the champion left" in str(compare_metric("fid/x", "better", broken, broken))


def test_an_entry_stands_for_every_variable_and_for_no_other_reference():
    names = ("ks/test/t2m", "ks/test/tp", "ks/test-longtail", "ks/train/t2m", "ks_x/test/t2m")
    side = [dict.fromkeys(names, 1.0)] * 3
    found = compare({"ks/test": 0.1}, MEASURES, side, side, "champion", 0.05)
    assert [line.metric for line in found] == ["ks/test/t2m", "ks/test/tp"]
    with pytest.raises(LevyError, match=r"the gate names 'fid/test', but the samples were measured by ks/test/t2m, "):
        compare({"fid/test": "better"}, MEASURES, side, side, "champion", 0.05)
    with pytest.raises(LevyError, match="unknown measure 'ks_x'"):
        compare({"ks_x": 0.1}, MEASURES, side, side, "champion", 0.05)


def test_a_metric_that_only_the_challenger_has_is_not_judged():
    new = [{"class_distance/test/3": 1.0}] * 3
    (line,) = compare({"class_distance/test": 0.1}, MEASURES, new, [{"other": 1.0}] * 3, "anchor", 0.05)
    assert not line.passed
    assert str(line).endswith("not judged, because the anchor left no finite number")


def test_what_the_data_cannot_decide_holds_nothing_back_and_is_no_gain():
    why = {"fid/x": "3 independent exceedances, 20 are needed"}
    old, new = [{"fid/x": 4.0}] * 6, [{"fid/x": 1.0}] * 6
    for rule, challenger, champion in (("better", new, old), (0.1, old, new), (0.1, new, old)):
        (line,) = compare({"fid/x": rule}, MEASURES, challenger, champion, "champion", 0.05, why)
        assert not line.passed  # nobody knows
        assert line.holds_back is (rule == "better")
        assert line.undecided is (rule != "better")
        assert line.seeds_needed is None
        assert str(line).endswith("not decidable with these data (3 independent exceedances, 20 are needed)")
    (line,) = compare({"fid/x": 0.1}, MEASURES, [{"fid/x": np.nan}] * 6, new, "champion", 0.05, why)
    assert line.holds_back  # a challenger without numbers is held back all the same


def test_data_too_few_for_any_number_are_no_fault_of_the_challenger():
    why, none = {"fid/x": "0 independent exceedances, 20 are needed"}, [{"fid/x": np.nan}] * 6
    (line,) = compare({"fid/x": 0.1}, MEASURES, none, none, "champion", 0.05, why)
    assert (line.undecided, line.holds_back, line.broken) == (True, False, "")
    (line,) = compare({"fid/x": 0.1}, MEASURES, none, none, "champion", 0.05)
    assert line.holds_back


def test_a_line_reads_as_a_sentence():
    old, new = [3.9, 4.2, 3.6, 3.8, 4.0], [3.1, 3.3, 2.9, 3.0, 3.2]
    text = "fid/x 3.1 ± 0.16 against the champion's 3.9 ± 0.22: "
    assert str(compare_metric("fid/x", "better", old, new)) == text + "better (p = 0.031)"
    assert str(compare_metric("fid/x", "better", old, new, level=0.001)) == (
        text + "not shown to be better (p = 0.031, needed 0.001; about 14 seeds would show a gain of this size)"
    )
    assert str(compare_metric("fid/x", 1, new, old)) == (
        "fid/x 3.9 ± 0.22 against the champion's 3.1 ± 0.16: not worse by 1 in its error (p = 0.031)"
    )
    assert str(compare_metric("fid/x", 0.5, new, old)).endswith(
        ": not shown to be not worse by 0.5 in its error (p = 1, needed 0.05)"
    )
