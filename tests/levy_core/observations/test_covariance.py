"""The data's covariance: what its fit keeps, Woodbury against dense matrices, files."""

import pytest
import torch

from levy_core.base.errors import LevyError
from levy_core.observations.covariance import Covariance, fit_covariance
from levy_core.observations.operators import block_mean
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
