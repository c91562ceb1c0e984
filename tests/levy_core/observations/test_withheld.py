"""Conditional samples judged on withheld values: kriging is the exact law of Gaussian data, and the judge sees what is not."""

import numpy as np
import pytest
import torch

from levy_core.base.errors import LevyError
from levy_core.metrics.common.withheld import flatness, judge, misfit, skill
from levy_core.observations.guides import observe
from levy_core.observations.observation import Observation
from levy_core.observations.rivals import find_analogues, krige
from levy_core.process.noise import Gaussian
from tests.support.observed import SEEN, D, draw, observe_each, one_regime, table, three_regimes

CASES, MEMBERS = 150, 19
HIDDEN = torch.ones(D, dtype=torch.bool)
HIDDEN[SEEN.cells.flatten()] = False


def withheld(members, fields):
    """Of members [cases * MEMBERS, D] and fields [cases, D]."""
    return judge(members.view(len(fields), MEMBERS, D)[:, :, HIDDEN].numpy(), fields[:, HIDDEN].numpy())


def each(oracle, seed):
    """Fields, what is seen of each for every member, and their exact laws."""
    fields = oracle.data(CASES, (D,), seed=seed)
    return fields, *observe_each(oracle, MEMBERS, fields)


@pytest.mark.parametrize("std", [0.0, 0.3])
def test_kriging_is_the_exact_law_of_gaussian_data(std):
    oracle = one_regime()
    values = SEEN.apply(oracle.data(1, (D,), seed=1))[0]
    observation = Observation(SEEN, values, std)
    law = oracle.given(observation)
    drawn = krige(oracle.covariance(), observation, seed=0, count=40_000)
    assert (drawn.mean(0) - law.means[0]).abs().max() < 0.02  # 4 sigma
    assert (drawn.T.cov() - law.scatters[0]).abs().max() < 0.03
    if std == 0:
        assert observation.residual(drawn).abs().max() < 1e-9


def test_kriging_with_degrees_of_freedom_is_the_exact_law_of_tailed_data():
    oracle = one_regime(degrees=6.0)
    for field in oracle.data(3, (D,), seed=1):
        observation = Observation(SEEN, 2 * SEEN.apply(field[None])[0])
        law = oracle.given(observation)
        drawn = krige(oracle.covariance(), observation, seed=0, count=40_000, degrees=6.0)
        spread = law.scatters[0] * law.degrees / (law.degrees - 2)
        assert (drawn.mean(0) - law.means[0]).abs().max() < 0.02 * spread.diagonal().max().sqrt()  # 4 sigma
        assert (drawn.T.cov() - spread).abs().max() < 0.04 * spread.diagonal().max()
        scaled = ((drawn - law.means[0])[:, 0] / spread[0, 0].sqrt()).abs()
        assert (scaled > 3).double().mean() > 0.004  # a Gaussian: 0.0027, standard error 0.0003
    with pytest.raises(LevyError, match="of 2 degrees of freedom have no covariance"):
        krige(oracle.covariance(), observation, 0, 10, degrees=2)


def test_kriging_of_noisy_values_misses_them_as_the_truth_does():
    oracle = one_regime()
    fields = oracle.data(CASES, (D,), seed=2)
    values = SEEN.apply(fields) + 0.3 * torch.randn(CASES, SEEN.rows, generator=torch.manual_seed(0)).double()
    drawn = krige(oracle.covariance(), Observation(SEEN, values.repeat_interleave(MEMBERS, 0), 0.3), 0, CASES * MEMBERS)
    seen = SEEN.apply(drawn).view(CASES, MEMBERS, -1).numpy()
    assert misfit(seen, values.numpy(), np.full(SEEN.rows, 0.3))[0] == pytest.approx(1, abs=0.03)


def test_exact_posteriors_have_no_skill_against_kriging_on_gaussian_data_and_some_where_data_have_regimes():
    for oracle, verdict in ((one_regime(), "not decidable"), (three_regimes(), "ahead")):  # wrong in 1 of 20 seeds
        fields, observation, laws = each(oracle, 3)
        exact = torch.cat([law.data(MEMBERS, (D,), seed=i) for i, law in enumerate(laws)])
        kriged = krige(oracle.covariance(), observation, seed=1, count=len(exact))
        found = skill(withheld(exact, fields), withheld(kriged, fields))
        assert found.verdict == verdict, found


def test_in_five_steps_first_order_is_too_narrow_and_second_order_too_wide_and_in_fifty_steps_it_is_right():
    """On Gaussian data interpolation is the exact predictor. A reliable ensemble would fail in 1 of 1,000 seeds."""
    oracle = one_regime()
    fields, observation, _ = each(oracle, 5)
    guided = observe(oracle, observation, Gaussian(), "interpolation", oracle.covariance())
    first, second, right = (
        withheld(draw(guided, steps, Gaussian(), CASES * MEMBERS), fields)
        for steps in (table(5, "ei-noise"), table(5), table(50))
    )
    assert flatness(first.ranks).p < 1e-6
    assert flatness(first.ranks).width > 1.3
    assert first.spread_error == pytest.approx(0.66, abs=0.06)  # docs/observations.md
    assert flatness(second.ranks).p < 1e-6
    assert second.spread_error == pytest.approx(1.2, abs=0.06)
    assert flatness(right.ranks).p > 1e-3
    assert right.spread_error == pytest.approx(1, abs=0.06)
    assert skill(first, right).verdict == skill(second, right).verdict == "behind"


def test_analogues_are_the_fields_whose_observed_values_are_nearest():
    fields = one_regime().data(500, (D,), seed=5)
    observation = Observation(SEEN, SEEN.apply(fields[7:8])[0])
    found = find_analogues(fields, observation, 3)
    assert torch.equal(found[0], fields[7])
    with pytest.raises(LevyError, match="501 analogues of values"):
        find_analogues(fields, observation, 501)
