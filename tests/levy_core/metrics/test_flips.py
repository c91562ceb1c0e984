"""The sign-flip test: exact values, scipy's permutation test, and its level for differences of any symmetric law."""

import numpy as np
import pytest
from scipy import stats

from levy_core.metrics.common.flips import EXACT, sign_flip_test

LAWS = {
    "normal": lambda rng, size: rng.standard_normal(size),
    "Cauchy": lambda rng, size: rng.standard_cauchy(size),
    "two values": lambda rng, size: rng.choice([-1.0, 1.0], size),
    "mostly equal": lambda rng, size: rng.choice([-1.0, 1.0], size) * (rng.random(size) < 0.3),
    "other spreads": lambda rng, size: rng.standard_normal(size) * np.geomspace(0.01, 100, size[-1]),
}


@pytest.mark.parametrize("n", [2, 5, 9, EXACT])
def test_up_to_fourteen_differences_all_flips_are_counted_as_scipy_does(n):
    for seed in range(3):
        x = np.random.default_rng(seed).standard_normal(n) + 0.3
        theirs = stats.permutation_test(
            (x, np.zeros(n)), lambda a, b, axis: np.sum(a - b, axis=axis), permutation_type="samples",
            alternative="greater", n_resamples=np.inf, vectorized=True,
        )  # fmt: skip
        assert sign_flip_test(x, 0.05) == pytest.approx(theirs.pvalue, abs=1e-12)


@pytest.mark.parametrize("n", [3, EXACT])
def test_gains_everywhere_have_the_smallest_p_and_losses_everywhere_one(n):
    x = np.random.default_rng(0).random(n) + 0.1
    assert sign_flip_test(x, 0.05) == 0.5**n
    assert sign_flip_test(-x, 0.05) == 1
    assert sign_flip_test(np.zeros(n), 0.05) == 1


@pytest.mark.parametrize("n", [5, 20])
@pytest.mark.parametrize("scale", [1e308, 1e-307])
def test_the_size_of_the_differences_does_not_matter_however_large(n, scale):
    x = np.random.default_rng(2).random(n) - 0.3
    assert sign_flip_test(scale * x, 0.05) == pytest.approx(sign_flip_test(x, 0.05), rel=1e-12 if n == 5 else 0.6)
    assert sign_flip_test(np.full(n, scale), 0.05) == (0.5**n if n == 5 else 1 / 401)


def test_random_flips_give_the_exact_p_within_their_noise_and_the_same_again():
    x = np.random.default_rng(1).standard_normal(20) + 0.5
    signs = 1.0 - 2.0 * ((np.arange(2**20)[:, None] >> np.arange(20)) & 1)
    exact = float(np.mean(signs @ x >= x.sum() - 1e-9))
    assert 1e-4 < exact < 1e-2
    for level, hits in ((exact / 10, 100), (exact, 20)):
        found = sign_flip_test(x, level)
        assert found == pytest.approx(exact, rel=4 / hits**0.5)  # 4 standard deviations
        assert found == sign_flip_test(x, level)
    assert sign_flip_test(x + 5, 1e-3) == 1 / (20_000 + 1)  # no hit among 20 / level flips


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("n", [8, 20])
def test_of_differences_without_a_gain_no_more_pass_than_the_level_says(law, n):
    # False alarms: 4 standard deviations of a binomial count.
    tries, level = 2000, 0.05
    x = LAWS[law](np.random.default_rng(7), (tries, n))
    passed = np.mean([sign_flip_test(row, level) <= level for row in x])
    assert passed <= level + 4 * (level * (1 - level) / tries) ** 0.5
