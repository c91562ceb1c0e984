"""Observed fields of a model of coefficients: the posterior of Gaussian fields, exactly."""

import pytest
import torch

from levy_core.observations.coefficients import ObservedFields
from levy_core.observations.covariance import Covariance
from levy_core.observations.observation import Observation
from levy_core.observations.operators import Matrix, Stack, block_mean, mask

SHAPE = (1, 4, 6)
D, K, N = 24, 4, 20_000


def parts():
    g = torch.Generator().manual_seed(0)
    whole = torch.randn(D, D, generator=g).double() * 0.7 ** torch.arange(D)
    mean, patterns = torch.randn(D, generator=g).double(), whole.T[:K].view(K, *SHAPE)
    return patterns, Covariance(mean, whole[:, K:12], torch.full((D,), 1e-3).double())


@pytest.mark.parametrize("std", [0.0, 0.5])
@pytest.mark.parametrize("twice", [False, True])
def test_coefficients_given_what_was_seen_and_the_completed_fields_have_their_exact_posterior(std, twice):
    """20,000 fields: means are off by 0.007 of a standard deviation at most times, 0.04 is beyond five of these, and 0.06 six of a variance's."""
    patterns, rest = parts()
    rows = torch.zeros(SHAPE, dtype=torch.bool)
    rows[0, ::2] = True
    operator = Stack((mask(rows), block_mean(SHAPE, (2, 3)), *([mask(rows)] if twice else [])))
    unseen = torch.randn(1, *SHAPE, generator=torch.Generator().manual_seed(1)).double()
    observation = Observation(operator, operator.apply(unseen)[0], std)
    observed = ObservedFields(observation, patterns, rest)
    seen = observed.of_coefficients

    h = seen.operator.matrix
    gain = h.T @ torch.linalg.inv(h @ h.T + seen.variance.diag())
    spread = torch.linalg.cholesky(torch.eye(K).double() - gain @ h + 1e-13 * torch.eye(K).double())
    normal = torch.Generator().manual_seed(2)
    draw = lambda *size: torch.randn(N, *size, generator=normal).double()
    z = gain @ seen.values + draw(K) @ spread.T
    x = rest.mean + z @ patterns.flatten(1) + draw(rest.patterns.shape[1]) @ rest.patterns.T
    x = x + rest.diagonal.sqrt() * draw(D)
    found = observed.complete(x.view(-1, *SHAPE), draw(operator.rows)).double().flatten(1)

    flat = patterns.flatten(1)
    sigma = flat.T @ flat + rest.patterns @ rest.patterns.T + rest.diagonal.diag()
    seen_of_field = operator.apply(torch.eye(D).double().view(D, *SHAPE)).T
    error = seen_of_field @ sigma @ seen_of_field.T + observation.variance.diag()
    gain = sigma @ seen_of_field.T @ torch.linalg.pinv(error, hermitian=True, rtol=1e-10)
    mean = rest.mean + gain @ (observation.values - seen_of_field @ rest.mean)
    covariance = sigma - gain @ seen_of_field @ sigma
    deviation = covariance.diagonal().clamp(min=1e-12).sqrt()
    uncertain = deviation > 1e-4
    assert float(((found.mean(0) - mean).abs() / deviation)[uncertain].max()) < 0.04
    off = (found.T.cov() - covariance) / (deviation[:, None] * deviation)
    assert float(off[uncertain][:, uncertain].abs().max()) < 0.06
    if std == 0:
        torch.testing.assert_close(
            operator.apply(found.view(-1, *SHAPE)), observation.values.expand(N, -1), rtol=0, atol=1e-5
        )


def test_the_adjoint_of_a_matrix_is_its_transpose():
    operator = Matrix(torch.randn(3, 5).double())
    x, v = torch.randn(2, 5).double(), torch.randn(2, 3).double()
    torch.testing.assert_close((operator.apply(x) * v).sum(1), (x * operator.adjoint(v)).sum(1))
