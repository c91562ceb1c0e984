"""The gate's statistics: what is promoted from equal models, what each rule asks, and which values of a metric are good."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from levy_core.base.errors import LevyError
from levy_core.base.measure import measure_of
from levy_core.metrics.common.paired import compare, t_test
from tasks.kinds.kind import kind_names, kind_of

MEASURES = [measure for kind in kind_names() for measure in kind_of(kind).measures]
GAINS = st.lists(st.floats(-10, 10), min_size=3, max_size=9).filter(lambda values: np.std(values) > 1e-6).map(np.array)


def rows(metric, values):
    return [{metric: float(value)} for value in values]


def compare_metric(metric, rule, champion, challenger, confidence=0.95):
    (line,) = compare({metric: rule}, MEASURES, rows(metric, champion), rows(metric, challenger), confidence)
    return line


@settings(deadline=None, max_examples=30)
@given(GAINS, st.floats(0.6, 0.99))
def test_p_and_the_interval_are_those_of_scipys_t_test(gains, confidence):
    mean, low, high, p_gain, p_loss = t_test(gains, confidence)
    up, down = (stats.ttest_1samp(gains, 0, alternative=side) for side in ("greater", "less"))
    assert (p_gain, p_loss) == pytest.approx((up.pvalue, down.pvalue), rel=1e-6, abs=1e-12)
    ends = up.confidence_interval(confidence).low, down.confidence_interval(confidence).high
    assert (low, mean, high) == pytest.approx((ends[0], gains.mean(), ends[1]), rel=1e-6, abs=1e-9)


@settings(deadline=None)
@given(GAINS, st.floats(0.6, 0.99))
def test_better_is_an_interval_above_zero_and_worse_one_below(gains, confidence):
    zero = np.zeros(len(gains))
    better, kept = (compare_metric("fid/x", rule, gains, zero, confidence) for rule in ("better", "not worse"))
    assert better.passed == (better.low >= 0)
    assert kept.passed == (kept.high > 0)
    assert kept.passed or not better.passed
    mirrored = compare_metric("fid/x", "better", zero, gains, confidence)
    assert (mirrored.gain, mirrored.low) == pytest.approx((-better.gain, -better.high))


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_of_equal_models_as_many_are_promoted_as_the_confidence_says(confidence):
    # False alarms: 4 standard deviations of a binomial count.
    draws, rng = 2000, np.random.default_rng(0)
    shared = rng.standard_normal((draws, 5))  # what equal seeds have in common is no noise
    champion, challenger = (5 + shared + rng.standard_normal((draws, 5)) for _ in range(2))
    promoted = np.mean(
        [compare_metric("fid/x", "better", *pair, confidence).passed for pair in zip(champion, challenger, strict=True)]
    )
    assert abs(promoted - (1 - confidence)) < 4 * (confidence * (1 - confidence) / draws) ** 0.5


def test_what_equal_seeds_have_in_common_hides_no_difference():
    shared = np.array([3.0, 9.0, 1.0, 14.0, 6.0])
    own = np.array([0.1, -0.1, 0.05, 0.0, -0.05])
    assert compare_metric("fid/x", "better", shared + 0.5, shared + own).passed
    assert not compare_metric("fid/x", "better", shared + 0.5, shared[::-1] + own).passed


def test_equal_values_are_neither_better_nor_worse():
    for values in ([3.0, 4.0, 5.0], [0.0, 0.0, 0.0]):
        better, kept = (compare_metric("fid/x", rule, values, values) for rule in ("better", "not worse"))
        assert (better.passed, better.p, better.found) == (False, 1, "not better")
        assert (kept.passed, kept.p, kept.found) == (True, 1, "not worse")
    constant = compare_metric("fid/x", "better", [3.0, 4.0, 5.0], [2.0, 3.0, 4.0])
    assert (constant.passed, constant.p, constant.low, constant.high) == (True, 0, 1, 1)


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
    down = compare_metric(metric, "not worse", good + noise, bad + noise[::-1])
    assert (up.found, up.gain > 0) == ("better", True)
    assert (down.found, down.gain < 0) == ("worse", True)


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


@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_a_value_that_is_no_number_passes_no_rule_and_says_whose_it_is(lost):
    whole, broken = [1.0, 2.0, 3.0], [1.0, lost, 3.0]
    for rule in ("better", "not worse"):
        for sides, whose in (((whole, broken), "the challenger left"), ((broken, whole), "the champion left")):
            line = compare_metric("fid/x", rule, *sides)
            assert not line.passed
            assert f"{whose} no finite number" in str(line)
    assert "champion and the challenger left" in compare_metric("fid/x", "better", broken, broken).found


def test_an_entry_stands_for_every_variable_and_for_no_other_reference():
    names = ("ks/test/t2m", "ks/test/tp", "ks/test-longtail", "ks/train/t2m", "ks_x/test/t2m")
    side = [dict.fromkeys(names, 1.0)] * 3
    found = compare({"ks/test": "not worse"}, MEASURES, side, side, 0.95)
    assert [line.metric for line in found] == ["ks/test/t2m", "ks/test/tp"]
    with pytest.raises(LevyError, match=r"the gate names 'fid/test', but the samples were measured by ks/test/t2m, "):
        compare({"fid/test": "better"}, MEASURES, side, side, 0.95)
    with pytest.raises(LevyError, match="unknown measure 'ks_x'"):
        compare({"ks_x": "not worse"}, MEASURES, side, side, 0.95)


def test_a_metric_that_only_the_challenger_has_is_not_judged():
    new = [{"class_distance/test/3": 1.0}] * 3
    (line,) = compare({"class_distance/test": "not worse"}, MEASURES, [{"other": 1.0}] * 3, new, 0.95)
    assert (line.passed, line.found) == (False, "not judged, because the champion left no finite number")


def test_a_line_reads_as_a_sentence():
    line = compare_metric("fid/x", "better", [3.9, 4.2, 3.6, 3.8, 4.0], [3.1, 3.3, 2.9, 3.0, 3.2])
    assert str(line) == "fid/x 3.1 ± 0.16 against the champion's 3.9 ± 0.22: better (p = 7.2e-06)"
