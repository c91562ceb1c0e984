"""The judge of conditional samples against closed forms, definitions written out, and ensembles known to be right or wrong."""

import numpy as np
import pytest
from scipy import stats

from levy_core.base.errors import LevyError
from levy_core.metrics.common.withheld import flatness, judge, misfit, most_extreme, psnr, skill

T, M, K = 300, 19, 40


def cases(seed, count=T, members=M, width=1.0):
    """Members and truth of cases whose values depend on each other, [T, M, K] and [T, K]: each case has a mean of its own, which all share."""
    rng = np.random.default_rng(seed)
    lower = np.linalg.cholesky(0.5 * np.eye(K) + 0.5)
    drawn = rng.standard_normal((count, members + 1, K)) @ lower.T
    drawn[:, 1:] *= width
    drawn += 2 * rng.standard_normal((count, 1, K))
    return drawn[:, 1:], drawn[:, 0]


def test_crps_is_the_fair_formula_written_out_and_of_one_member_the_absolute_error():
    members, truth = cases(0, 3, 5)
    apart = np.abs(members[:, :, None] - members[:, None]).sum((1, 2)) / (2 * 5 * 4)
    expected = (np.abs(members - truth[:, None]).mean(1) - apart).mean(1)
    assert judge(members, truth).crps == pytest.approx(expected)
    one = judge(members[:, :1], truth)
    assert one.crps == pytest.approx(np.abs(members[:, 0] - truth).mean(1))
    assert np.isnan(one.variance).all()


def test_crps_of_gaussian_members_is_the_closed_form():
    """Gneiting and Raftery (2007), equation 21; the standard error over 300 cases is 0.006, 4 of them."""
    rng = np.random.default_rng(1)
    truth = rng.standard_normal((T, K))
    for mean, scale in ((0.0, 1.0), (0.5, 0.4)):
        z = (truth - mean) / scale
        exact = scale * np.mean(z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi))
        found = judge(mean + scale * rng.standard_normal((T, M, K)), truth).crps.mean()
        assert found == pytest.approx(exact, abs=0.01)


def test_values_that_were_not_withheld_are_left_out():
    members, truth = cases(2, 10)
    truth[:, ::3] = np.nan
    kept = ~np.isnan(truth[0])
    whole, part = judge(np.where(kept, members, np.nan), truth), judge(members[:, :, kept], truth[:, kept])
    for name in ("crps", "square_error", "variance", "ranks"):
        assert getattr(whole, name) == pytest.approx(getattr(part, name)), name


def test_flat_ranks_alarm_as_often_as_they_say_although_values_of_a_case_depend_on_each_other():
    """1,000 sets of 40 cases: the share of p below 0.05 has a standard error of 0.007; 4 of them. A pooled chi-square alarms in most."""
    rng = np.random.default_rng(3)
    pooled, p = [], []
    for _ in range(1000):
        ranks = np.zeros((40, M + 1))
        shared = rng.standard_normal((40, M + 1, 1)) * 0.8 + 0.6 * rng.standard_normal((40, M + 1, K))
        place = (shared[:, 1:] < shared[:, :1]).sum(1)
        for case, own in enumerate(place):
            ranks[case] = np.bincount(own, minlength=M + 1) / K
        p.append(flatness(ranks).p)
        pooled.append(stats.chisquare(ranks.sum(0) * K).pvalue)
    assert np.mean(np.array(p) < 0.05) == pytest.approx(0.05, abs=0.028)
    assert np.mean(np.array(pooled) < 0.05) > 0.7


def test_an_ensemble_that_is_too_narrow_too_wide_or_biased_is_found():
    right = judge(*cases(4))
    assert flatness(right.ranks).p > 1e-3  # its false-alarm rate
    assert right.spread_error == pytest.approx(1, abs=0.03)
    narrow, wide = (judge(*cases(4, width=width)) for width in (0.6, 1.5))
    assert flatness(narrow.ranks).p < 1e-6
    assert flatness(narrow.ranks).width > 1.2
    assert narrow.spread_error < 0.8
    assert flatness(wide.ranks).p < 1e-6
    assert flatness(wide.ranks).width < 0.9
    assert wide.spread_error > 1.15
    members, truth = cases(4)
    biased = flatness(judge(members + 1, truth).ranks)
    assert biased.p < 1e-6
    assert biased.bias < -0.2


DEGRADED = {
    "noise": lambda x, rng: x + rng.standard_normal(x.shape),
    "shrunk": lambda x, rng: x.mean(1, keepdims=True) + 0.6 * (x - x.mean(1, keepdims=True)),
    "grown": lambda x, rng: x.mean(1, keepdims=True) + 1.5 * (x - x.mean(1, keepdims=True)),
    "mixed cases": lambda x, rng: np.where(rng.random(x.shape[:2])[..., None] < 0.2, np.roll(x, 1, 0), x),
    "clipped": lambda x, rng: np.clip(x, -1.5, 1.5),
    "biased": lambda x, rng: x + 0.4,
    "one member": lambda x, rng: np.repeat(x[:, :1], x.shape[1], 1) + 1e-9 * rng.standard_normal(x.shape),
}


@pytest.mark.parametrize("name", DEGRADED)
def test_no_degraded_ensemble_scores_a_better_crps(name):
    """Paired over 300 cases: a degraded ensemble that is as good would be called ahead in 1 of 40 cases, of which there are 7."""
    members, truth = cases(5)
    found = skill(judge(DEGRADED[name](members, np.random.default_rng(6)), truth), judge(members, truth))
    assert found.verdict == "behind"


def test_skill_is_paired_and_says_when_nothing_can_be_decided():
    members, truth = cases(7, members=2 * M)
    whole, half, other = judge(members, truth), judge(members[:, :M], truth), judge(members[:, M:], truth)
    assert skill(half, other).verdict == "not decidable"
    assert skill(half, other).low < 0 < skill(half, other).high
    assert skill(whole, whole).skill == 0
    perfect = judge(np.repeat(truth[:, None], 2, 1), truth)
    assert skill(perfect, whole).skill == pytest.approx(1)
    assert "ahead" in str(skill(perfect, whole))
    few = whole.take(np.arange(T) < 5)
    assert len(few) == 5
    with pytest.raises(LevyError, match="5 cases are compared with 300"):
        skill(few, whole)


def test_the_misfit_of_members_that_are_to_the_observation_as_the_truth_is_1():
    rng = np.random.default_rng(8)
    std = np.array([0.5, 2.0, 0.0])
    truth = rng.standard_normal((2000, 3))
    values = truth + std * rng.standard_normal((2000, 3))
    seen = np.stack([truth, truth], 1)
    weighed, missed = misfit(seen, values, std)
    assert weighed == pytest.approx(1, abs=0.05)
    assert missed == 0
    assert misfit(seen + 0.01, values, std)[1] == pytest.approx(0.01)
    assert np.isnan(misfit(seen, values, np.zeros(3))[0])


def test_psnr_of_a_known_error():
    truth = np.zeros((2, 1, 4, 4))
    assert psnr(truth + 0.02, truth, 2.0) == pytest.approx([40, 40])
    assert psnr(truth, truth, 2.0)[0] == np.inf


def test_the_most_extreme_cases_are_the_largest_of_each_run():
    sizes = np.array([0, 9, 8, 1, 0, 0, 7, 0, 0, 6.0])
    assert most_extreme(sizes, 0.4).tolist() == [1, 2, 6, 9]
    assert most_extreme(sizes, 0.4, apart=3).tolist() == [1, 6, 9]
    assert most_extreme(sizes, 0.01).tolist() == [1]


def test_what_cannot_be_judged_is_named():
    members, truth = cases(9, 5)
    with pytest.raises(LevyError, match=r"members are \[5, 19, 39\], withheld values \[5, 40\]"):
        judge(members[:, :, 1:], truth)
    with pytest.raises(LevyError, match="case 2 has no withheld value"):
        judge(members, np.where(np.arange(5)[:, None] == 2, np.nan, truth))
    with pytest.raises(LevyError, match="1 of 3800 values of the members are not finite"):
        judge(np.where(np.arange(members.size).reshape(members.shape) == 7, np.inf, members), truth)
    with pytest.raises(LevyError, match="3 cases cannot tell"):
        flatness(judge(members, truth).ranks[:3])
