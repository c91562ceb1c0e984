"""The covariance that is kept with a model."""

import torch

from levy_core.observations.kept import FILE, keep_covariance, read_covariance


def test_it_is_kept_of_samples_small_enough_and_of_no_others(tmp_path):
    data = torch.randn(40, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    keep_covariance(data, 20_000_001, tmp_path)  # values per sample
    assert not list(tmp_path.iterdir())
    keep_covariance(data, 4, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    torch.testing.assert_close(read_covariance(tmp_path).mean, data.flatten(1).double().mean(0))
