"""The oracle of correlated fields against the others, and its conditional law against sampling."""

import pytest
import torch

from levy_core.base.errors import LevyError
from levy_core.observations.observation import Observation
from levy_core.observations.oracles import Mixture
from levy_core.process.noise import Gaussian, Stable, StudentT
from levy_core.sampling.oracles import Modes, Student
from tests.support.observed import SEEN, D, one_regime, three_regimes

MEANS = ((-1.0, 0.0, 2.0), (1.0, 0.5, 0.0))


def test_of_round_modes_it_is_the_oracle_of_modes():  # which interpolates, to 1e-3
    modes = Modes(Gaussian(), MEANS, (0.3, 0.7), 0.4)
    mixture = Mixture(Gaussian(), torch.tensor(MEANS).double(), 0.16 * torch.eye(3).double().expand(2, 3, 3), torch.tensor([0.3, 0.7]).double())  # fmt: skip
    y, rho = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double(), torch.full((50,), 0.8).double()
    torch.testing.assert_close(mixture(y, rho, {}), modes(y, rho, {}), rtol=0, atol=2e-3)
    torch.testing.assert_close(mixture.score(y, rho, {}), modes.score(y, rho, {}), rtol=0, atol=4e-3)


@pytest.mark.parametrize("noise", [Gaussian(), StudentT(5.0)], ids=str)
def test_of_round_tailed_data_it_is_the_oracle_of_students(noise):
    student = Student(noise, 4.0, 1.5)
    mixture = Mixture(
        noise, torch.zeros(1, 3).double(), 2.25 * torch.eye(3).double()[None], torch.ones(1).double(), 4.0
    )
    y, rho = (
        3 * torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double(),
        torch.full((50,), 0.8).double(),
    )
    torch.testing.assert_close(mixture(y, rho, {}), student(y, rho, {}), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(mixture.score(y, rho, {}), student.score(y, rho, {}), rtol=1e-5, atol=1e-5)
    eps_hat = mixture(y, rho, {})
    expected = student.mixing(y, rho, {}, eps_hat, y)
    torch.testing.assert_close(mixture.mixing(y, rho, {}, eps_hat, y), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("oracle", [three_regimes(), one_regime(degrees=4.0)], ids=["mixture", "student-t"])
def test_the_law_given_an_observation_is_that_of_the_draws_near_it(oracle):
    drawn = oracle.data(200_000, (D,), seed=1)
    two = type(SEEN)(SEEN.shape, SEEN.cells[[0, 4]], SEEN.weights[[0, 4]])
    values = two.apply(drawn[:1])[0]
    law = oracle.given(Observation(two, values))
    near = drawn[((two.apply(drawn) - values).abs() < 0.1).all(1)]
    exact = law.data(10_000, (D,), seed=2)
    assert len(near) > 300
    # five standard errors of a mean, and of a width with tails
    assert ((near.mean(0) - exact.mean(0)).abs() < 5 * exact.std(0) / len(near) ** 0.5 + 0.1).all()
    assert abs(float(near.var(0).sum() / exact.var(0).sum()) - 1) < 0.2


def test_its_covariance_is_that_of_its_draws():
    oracle = three_regimes()
    fitted = oracle.covariance()
    expected = oracle.data(50_000, (D,), seed=0).T.cov()
    torch.testing.assert_close(fitted.apply(torch.eye(D).double()), expected, rtol=0, atol=0.1)


def test_laws_that_are_not_exact_are_refused():
    with pytest.raises(LevyError, match="exact for Student-t and Gaussian noise"):
        one_regime(Stable(1.7))
    with pytest.raises(LevyError, match="give a std of 0"):
        one_regime(degrees=4.0).given(Observation(SEEN, torch.ones(5), 0.1))
