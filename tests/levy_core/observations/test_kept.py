"""The covariance that is kept with a model."""

import numpy as np
import pytest
import torch

from levy_core.base.errors import LevyError
from levy_core.observations import covariance as saved
from levy_core.observations import kept
from levy_core.observations.covariance import fit_covariance
from levy_core.observations.kept import FILE, keep_covariance, read_covariance


def test_it_is_kept_of_samples_small_enough_and_of_no_others(tmp_path):
    data = torch.randn(40, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    keep_covariance(data, 50_000_001, tmp_path)  # values per sample
    assert not list(tmp_path.iterdir())
    keep_covariance(data, 4, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    torch.testing.assert_close(read_covariance(tmp_path).mean, data.flatten(1).double().mean(0))


class Stored:
    """Samples as a store gives them, with missing values."""

    def __init__(self, data):
        self._data = data

    def __len__(self):
        return len(self._data)

    def __getitem__(self, rows):
        return self._data[rows]


def test_what_is_fitted_in_parts_through_a_disk_is_what_is_fitted_in_memory(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    data = (rng.standard_normal((40, 6)) @ rng.standard_normal((6, 210))).reshape(40, 1, 14, 15).astype(np.float32)
    data[3, 0, 2, 2] = np.nan
    monkeypatch.setattr(kept, "VALUES", 500)  # two samples, or twelve columns
    monkeypatch.setattr(saved, "EXACT", 100)
    keep_covariance(Stored(data), 210, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    found = read_covariance(tmp_path)
    expected = fit_covariance(torch.nan_to_num(torch.from_numpy(data)), 0.95, 256)
    torch.testing.assert_close(found.mean, expected.mean)
    torch.testing.assert_close(found.diagonal, expected.diagonal, rtol=1e-8, atol=1e-12)
    assert found.patterns.dtype == torch.float64
    torch.testing.assert_close(
        found.patterns @ found.patterns.T, expected.patterns @ expected.patterns.T, rtol=1e-5, atol=1e-5
    )


def test_large_samples_have_fewer_patterns(tmp_path, monkeypatch):
    data = torch.randn(40, 1, 14, 15, generator=torch.Generator().manual_seed(0))
    monkeypatch.setattr(kept, "KEPT", 3 * 210 + 5)
    keep_covariance(data, 210, tmp_path)
    assert read_covariance(tmp_path).patterns.shape == (210, 3)


def test_a_covariance_that_memory_does_not_hold_is_not_read(tmp_path, monkeypatch):
    keep_covariance(torch.randn(40, 1, 2, 2, generator=torch.Generator().manual_seed(0)), 4, tmp_path)
    monkeypatch.setattr(kept, "free_memory", lambda: 10)
    with pytest.raises(LevyError, match="takes up to 0 MiB of memory, of which 0 MiB are free"):
        read_covariance(tmp_path)
