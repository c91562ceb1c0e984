"""The judge of conditional samples against closed forms, definitions written out, and ensembles known to be right or wrong."""

import numpy as np
import pytest
from scipy import stats

from levy_core.base.errors import LevyError
from levy_core.metrics.common.withheld import Withheld, flatness, judge, misfit, most_extreme, psnr, skill, ssim

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


HOPELESS = {  # the rank of each value of a case
    "all above": lambda count: np.full(K, count),
    "half below all, half above": lambda count: np.where(np.arange(K) < K // 2, 0, count),
    "all in the middle": lambda count: np.full(K, count // 2),
}


def shares(place, count):
    """Of the ranks [T, K] of values among ``count`` members."""
    return np.stack([np.bincount(own, minlength=count + 1) for own in place]) / K


@pytest.mark.parametrize("kind", HOPELESS)
def test_ranks_that_are_as_wrong_in_every_case_are_not_flat(kind):
    sizes = [(4, m) for m in (3, 6, 8, 10, 20, 40)] + [(8, m) for m in (10, 20, 40)] + [(16, 8), (36, 8)]
    for count, members in sizes:
        found = flatness(shares(np.tile(HOPELESS[kind](members), (count, 1)), members))
        assert found.p == 0, (count, members)
    even = np.full((8, 11), 1 / 11)
    assert flatness(even).p == 1


@pytest.mark.parametrize("kind", HOPELESS)
def test_a_better_ensemble_never_has_a_smaller_p_than_a_hopeless_one(kind):
    """Value by value ranks of 8 cases become those of a reliable ensemble of 10 members: at first p must be small, and at the end not.
    Its false-alarm rate is 1 in 1,000.
    """
    rng = np.random.default_rng(0)
    place = np.tile(HOPELESS[kind](10), (8, 1))
    ladder = [flatness(shares(place, 10)).p]
    for at in rng.permutation(place.size):
        place.flat[at] = rng.integers(0, 11)
        ladder.append(flatness(shares(place, 10)).p)
    assert ladder[0] == 0
    assert max(ladder[: len(ladder) // 2]) < 0.01
    assert ladder[-1] > 1e-3


def test_one_member_has_a_slope_alone_whose_p_is_that_of_student():
    below = np.random.default_rng(1).integers(10, 31, 12) / K
    found = flatness(np.stack([below, 1 - below], 1))
    assert found.p == pytest.approx(stats.ttest_1samp(below, 0.5).pvalue)


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


def of(crps):
    return Withheld(*4 * (crps,))


def test_a_way_that_is_better_by_the_same_share_in_every_case_has_no_error():
    rival = np.random.default_rng(10).gamma(4, size=50)
    found = skill(of(0.7 * rival), of(rival))
    assert str(found) == "+0.300 ± 0.000 (ahead)"
    assert (found.low, found.high) == pytest.approx((0.3, 0.3))


@pytest.mark.parametrize("true", [-0.6, 0.0, 0.5])
def test_the_interval_of_a_skill_holds_the_true_one_as_often_as_it_says(true):
    """2,000 sets of 40 cases: the share has a standard error of 0.005; 4 of them. With the rival's mean taken as known it is 0.80 at -0.6."""
    rng = np.random.default_rng(11)
    rival = rng.gamma(6, 1 / 6, (2000, 40))
    own = (1 - true) * rng.gamma(100, 1 / 100, (2000, 40))
    found = [skill(of(a), of(b)) for a, b in zip(own, rival, strict=True)]
    held = np.mean([each.low <= true <= each.high for each in found])
    assert held == pytest.approx(0.95, abs=0.02)


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
    # Of two runs, the second of which begins after the 9: its 8 is far from that.
    assert most_extreme(sizes, 0.4, apart=3, runs=np.repeat([0, 1], [2, 8])).tolist() == [1, 2, 6, 9]


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


def test_ssim_of_flat_images_is_the_closed_form_and_of_the_same_ones_1():
    """With no variance only luminance is left: (2 a b + c) / (a^2 + b^2 + c), c = (0.01 reach)^2 (Wang et al., 2004, equation 6)."""
    a, b = np.full((2, 3, 16, 16), 100.0), np.full((2, 3, 16, 16), 150.0)
    c = (0.01 * 255) ** 2
    assert ssim(a, b, 255) == pytest.approx([(2 * 100 * 150 + c) / (100**2 + 150**2 + c)] * 2)
    noise = np.random.default_rng(0).integers(0, 256, a.shape)
    assert ssim(noise, noise, 255) == pytest.approx([1, 1])


def test_ssim_is_the_formula_written_out():
    """At a pixel whose window touches no edge, from weighted moments (equations 13 to 16), in 2-D sums."""
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 256, (2, 1, 1, 15, 15)).astype(float)
    at = np.arange(-5, 6)
    weights = np.exp(-(at[:, None] ** 2 + at**2) / (2 * 1.5**2))
    weights /= weights.sum()
    u, v = x[0, 0, 2:13, 2:13], y[0, 0, 2:13, 2:13]
    mean = lambda values: (weights * values).sum()
    c, s = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    cov = mean(u * v) - mean(u) * mean(v)
    of = mean(u**2) - mean(u) ** 2 + mean(v**2) - mean(v) ** 2
    expected = (2 * mean(u) * mean(v) + c) * (2 * cov + s) / ((mean(u) ** 2 + mean(v) ** 2 + c) * (of + s))
    where = np.zeros(x.shape, dtype=bool)
    where[..., 7, 7] = True
    assert ssim(x, y, 255, where) == pytest.approx([expected])


def test_images_smaller_than_a_window_have_no_ssim():
    assert np.isnan(ssim(np.zeros((2, 1, 8, 28)), np.zeros((2, 1, 8, 28)), 255)).all()
