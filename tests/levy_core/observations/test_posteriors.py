"""Samples given observations against exact posteriors, means over 6 observations, 200 samples of each, fixed seeds.

Energy distances and widths, E|X - X'|, are in units of the posterior's own width; exact draws lie within 0.005 of 0 and 0.03 of 1.
"""

import pytest
import torch

from levy_core.base.errors import LevyError
from levy_core.observations.conditional import Tails, rescale, sample_observed
from levy_core.observations.guides import observe
from levy_core.observations.observation import Observation
from levy_core.process.noise import Gaussian, StudentT
from tests.support.observed import SEEN, D, compare, draw, observe_each, one_regime, table, three_regimes

N = 200
TAILED = StudentT(5.0)


def judge(oracle, noise, steps, guide, fields=None, directions=3):
    """(energy distance, width), means over observations; the guide exact is the exact predictor of each."""
    observation, laws = observe_each(oracle, N, oracle.data(6, (D,), seed=5) if fields is None else fields)
    if guide == "exact":
        drawn = [draw(law, steps, noise, N) for law in laws]
    else:
        guided = observe(oracle, observation, noise, guide, oracle.covariance(), directions)
        drawn = draw(guided, steps, noise, N * len(laws)).split(N)
    return mean_of(drawn, laws)


def mean_of(drawn, laws):
    return torch.tensor([compare(x, law) for x, law in zip(drawn, laws, strict=True)]).mean(0).tolist()


@pytest.mark.parametrize("steps", [5, 10, 20])
def test_of_three_regimes_interpolation_and_jacobian_are_near_the_posterior_and_projection_is_not(steps):
    oracle = three_regimes()
    for guide in ("interpolation", "jacobian"):
        assert judge(oracle, Gaussian(), table(steps), guide)[0] < 0.03
    assert judge(oracle, Gaussian(), table(steps), "projection")[0] > 0.5


def test_of_tailed_data_both_are_near_the_posterior_in_five_steps():
    oracle = one_regime(TAILED, 4.0)
    for guide in ("interpolation", "jacobian"):
        assert judge(oracle, TAILED, table(5), guide)[0] < 0.05


def test_the_jacobian_of_tailed_data_runs_nowhere():
    # conjugate gradients, which take J to be symmetric, send single samples to 10^6 here
    assert judge(one_regime(TAILED, 4.0), TAILED, table(5), "jacobian", directions=5)[1] < 2


@pytest.mark.parametrize(("noise", "degrees"), [(Gaussian(), torch.inf), (TAILED, 4.0)], ids=["gaussian", "student-t"])
def test_noise_that_comes_back_needs_no_change(noise, degrees):
    steps = table(30, "ei-noise", eta=0.5)
    assert judge(one_regime(noise, degrees), noise, steps, "interpolation")[0] < 0.03


def test_first_order_tables_are_too_narrow_in_few_steps_even_with_the_exact_predictor():
    oracle = one_regime()
    assert judge(oracle, Gaussian(), table(5, "ei-noise"), "exact")[1] < 0.75
    assert judge(oracle, Gaussian(), table(20, "ei-noise"), "exact")[1] < 0.97
    assert judge(oracle, Gaussian(), table(5, "2m-data"), "exact")[1] > 0.95


@pytest.mark.parametrize("guide", ["interpolation", "jacobian"])
def test_observations_with_error_are_weighed(guide):
    oracle = one_regime()
    values = SEEN.apply(oracle.data(1, (D,), seed=5))[0] + 0.3
    observation = Observation(SEEN, values, 0.3)
    guided = observe(oracle, observation, Gaussian(), guide, oracle.covariance())
    assert compare(draw(guided, table(10), Gaussian(), 1000), oracle.given(observation))[0] < 0.02


@pytest.mark.parametrize("guide", ["interpolation", "jacobian"])
def test_extreme_observations_have_the_right_width_only_when_rescaled(guide):
    oracle = one_regime(TAILED, 4.0)
    covariance, fields = oracle.covariance(), oracle.data(1000, (D,), seed=3)
    seen = SEEN.apply(fields)
    size = ((seen @ torch.linalg.inv(covariance.observed(SEEN))) * seen).sum(1)
    extreme = fields[size.topk(6).indices]
    observation, laws = observe_each(oracle, N, extreme)
    plain = judge(oracle, TAILED, table(20), guide, extreme)[1]
    usual, c = rescale(observation, covariance, Tails(4.0, bounded=False, skewed=False))
    drawn = draw(observe(oracle, usual, TAILED, guide, covariance), table(20), TAILED, N * 6) * c[:, None]
    torch.testing.assert_close(SEEN.apply(drawn), observation.values)
    assert plain < 0.85
    assert abs(mean_of(drawn.split(N), laws)[1] - 1) < 0.1


def test_rescaled_samples_meet_the_observation_about_the_mean():
    oracle = one_regime(TAILED, 4.0)
    covariance = oracle.covariance()
    values = 12 * torch.ones(5)
    drawn = sample_observed(
        oracle, table(10), TAILED, Observation(SEEN, values), 0, range(4), {},
        covariance=covariance, tails=Tails(4.0, bounded=False, skewed=False),
    )  # fmt: skip
    torch.testing.assert_close(SEEN.apply(drawn), values.expand(4, -1), rtol=0, atol=1e-4)


def test_a_usual_observation_is_left_as_it_is_by_thin_tails():
    oracle = one_regime()
    observation = Observation(SEEN, SEEN.apply(oracle.data(1, (D,), seed=5))[0], 0.2)
    usual, c = rescale(observation, oracle.covariance(), Tails(1e9, bounded=False, skewed=False))
    torch.testing.assert_close(usual.values, observation.values)
    torch.testing.assert_close(c, torch.ones(1).double())


@pytest.mark.parametrize(
    ("bounded", "skewed", "rows", "std", "says"),
    [
        (True, False, 1, 0.0, "where the data are bounded"),
        (False, True, 1, 0.0, "where the data are skewed"),
        (False, False, 2, 0.1, "draw for one set"),
    ],
)
def test_what_cannot_be_rescaled_is_refused(bounded, skewed, rows, std, says):
    observation = Observation(SEEN, torch.ones(rows, 5) if rows > 1 else torch.ones(5), std)
    with pytest.raises(LevyError, match=says):
        rescale(observation, one_regime().covariance(), Tails(4.0, bounded, skewed))


def test_rescaling_without_a_covariance_and_rows_for_other_samples_are_refused():
    oracle, tails = one_regime(), Tails(4.0, bounded=False, skewed=False)
    with pytest.raises(LevyError, match="needs the data's covariance"):
        sample_observed(
            oracle, table(5), Gaussian(), Observation(SEEN, torch.ones(5)), 0, [0], {}, "jacobian", tails=tails
        )
    with pytest.raises(LevyError, match="for 3 samples, but 1 are drawn"):
        sample_observed(oracle, table(5), Gaussian(), Observation(SEEN, torch.ones(3, 5)), 0, [0], {}, "jacobian")
    with pytest.raises(LevyError, match="positive, finite"):
        Tails(0.0, bounded=False, skewed=False)
