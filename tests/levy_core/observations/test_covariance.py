"""The data's covariance: what its fit keeps, Woodbury against dense matrices, files."""

from dataclasses import dataclass

import pytest
import torch

from levy_core.base.errors import LevyError
from levy_core.observations.covariance import Covariance, fit_covariance, gram, values_kept, values_made
from levy_core.observations.operators import Blur, Stack, block_mean, mask, points
from tests.support.observed import D, one_regime

FIELDS = one_regime().data(4000, (1, 4, 4), seed=1)


def dense(covariance):
    return covariance.apply(torch.eye(D).double())


@pytest.mark.parametrize("share", [0.5, 0.9, 1.0])
@pytest.mark.parametrize("n", [10, 4000])  # fewer and more fields than values
def test_a_fit_keeps_the_mean_the_variances_and_the_share_of_the_leading_patterns(share, n):
    fields = FIELDS[:n] + 3
    fitted, flat = fit_covariance(fields, share), fields.flatten(1)
    torch.testing.assert_close(fitted.mean, flat.mean(0))
    torch.testing.assert_close(dense(fitted).diagonal(), flat.var(0), rtol=1e-5, atol=0)
    held = (fitted.patterns**2).sum(0)
    assert held.sum() >= share * flat.var(0).sum() * (1 - 1e-9)
    assert held[:-1].sum() < share * flat.var(0).sum()
    if share == 1:
        torch.testing.assert_close(dense(fitted), flat.T.cov(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variance", [1e-8, 0.1, 1e8])
def test_the_posterior_is_the_dense_one_at_every_noise_level(variance):
    fitted = fit_covariance(FIELDS, 0.9)
    expected = torch.linalg.inv(torch.linalg.inv(dense(fitted)) + torch.eye(D) / variance)
    torch.testing.assert_close(dense(fitted.posterior(variance)), expected, rtol=1e-9, atol=1e-12)


def test_what_is_observed_of_it_is_h_sigma_h():
    fitted, operator = fit_covariance(FIELDS, 0.9), block_mean((1, 4, 4), (2, 2))
    h = operator.apply(torch.eye(D).double().view(D, 1, 4, 4)).T
    torch.testing.assert_close(fitted.observed(operator), h @ dense(fitted) @ h.T)


@pytest.mark.parametrize("variance", [1e-8, 0.1, 1e8])
def test_what_is_observed_of_the_posterior_is_that_of_the_dense_one(variance):
    posterior, operator = fit_covariance(FIELDS, 0.9).posterior(variance), block_mean((1, 4, 4), (2, 2))
    h = operator.apply(torch.eye(D).double().view(D, 1, 4, 4)).T
    torch.testing.assert_close(posterior.observed(operator), h @ dense(posterior) @ h.T, rtol=1e-9, atol=1e-14)


def test_a_posterior_keeps_no_patterns_of_its_own():
    fitted = fit_covariance(FIELDS, 0.9)
    posterior = fitted.posterior(0.1)
    assert posterior.prior is fitted
    assert values_kept(fitted) == sum(t.numel() for t in (posterior.weight, posterior.diagonal, posterior.root))
    moved = posterior.on(fitted.to(torch.device("cpu")))
    torch.testing.assert_close(dense(moved), dense(posterior), rtol=0, atol=0)


@dataclass(frozen=True)
class Opaque:
    """An operator of which only the protocol is known."""

    operator: object

    @property
    def shape(self):
        return self.operator.shape

    @property
    def rows(self):
        return self.operator.rows

    def apply(self, x):
        return self.operator.apply(x)

    def adjoint(self, v):
        return self.operator.adjoint(v)


SEEN = (1, 12, 16)
STATIONS = points(
    SEEN, 11 * torch.rand(150, 2, generator=torch.Generator().manual_seed(0))
)  # more than a few rows at a time


@pytest.mark.parametrize(
    "operator",
    [
        STATIONS,
        block_mean(SEEN, (4, 4)),
        mask(torch.arange(192).view(SEEN) % 5 == 0),
        mask(torch.zeros(SEEN, dtype=torch.bool)),
        Stack((STATIONS, block_mean(SEEN, (3, 4)))),
        Stack((STATIONS, Blur(SEEN, 1.5))),
    ],
    ids=["points", "means", "mask", "nothing", "stack", "stack with a blur"],
)
def test_products_of_operators_are_the_same_by_sparse_matrices(operator):
    diagonal = torch.rand(192, generator=torch.Generator().manual_seed(1)).double()
    found, expected = gram(operator, diagonal), gram(Opaque(operator), diagonal)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    assert found.shape == (operator.rows, operator.rows)
    patterns = torch.randn(192, 11, generator=torch.Generator().manual_seed(2)).double()
    covariance = Covariance(torch.zeros(192).double(), patterns, diagonal)
    for law in (covariance, covariance.posterior(0.3)):
        torch.testing.assert_close(law.observed(operator), law.observed(Opaque(operator)), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("part", [1, 40, 192 * 11])  # values at a time
def test_a_posterior_in_parts_is_the_whole_one(monkeypatch, part):
    g = torch.Generator().manual_seed(2)
    covariance = Covariance(torch.zeros(192).double(), torch.randn(192, 11, generator=g).double(), torch.rand(192, generator=g).double())  # fmt: skip
    whole = covariance.posterior(0.3)
    monkeypatch.setattr("levy_core.observations.covariance.PART", part)
    parts = covariance.posterior(0.3)
    torch.testing.assert_close(parts.root, whole.root, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(parts.observed(STATIONS), whole.observed(STATIONS), rtol=1e-12, atol=1e-12)
    assert values_made(covariance) == max(8 * 192, part)


def test_a_constant_cell_keeps_a_little_variance():
    fields = FIELDS.clone()
    fields[:, 0, 0, 0] = 7
    assert fit_covariance(fields).diagonal.min() > 0


def test_it_survives_a_file_and_other_files_are_refused(tmp_path):
    fitted = fit_covariance(FIELDS, 0.9)
    fitted.save(tmp_path / "covariance.safetensors")
    read = Covariance.load(tmp_path / "covariance.safetensors")
    assert all(torch.equal(getattr(read, name), getattr(fitted, name)) for name in ("mean", "patterns", "diagonal"))
    (tmp_path / "other").write_text("no tensors")
    with pytest.raises(LevyError, match="cannot be read as safetensors"):
        Covariance.load(tmp_path / "other")


@pytest.mark.parametrize(
    ("fields", "share", "says"),
    [
        (torch.zeros(1, 4), 0.9, "give two or more"),
        (torch.full((3, 4), torch.nan), 0.9, "with NaN or infinity"),
        (torch.ones(3, 4), 0.9, "all the same"),
        (torch.randn(3, 4), 0.0, r"must lie in \(0, 1\]"),
    ],
)
def test_fields_without_a_covariance_are_refused(fields, share, says):
    with pytest.raises(LevyError, match=says):
        fit_covariance(fields, share)
