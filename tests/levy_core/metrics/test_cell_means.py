"""The bias of single cells: exact where it is known, blind to the number of samples, and seen where pooled values are right."""

import numpy as np
import pytest

from levy_core.metrics.fields.cell_means import cell_bias
from levy_core.metrics.fields.measures import measure_fields
from levy_core.metrics.fields.reference import FieldsMeasures, FieldsReference


def test_shifts_of_cells_are_their_root_mean_square_in_units_and_in_standard_deviations():
    real = np.random.default_rng(0).standard_normal((400, 4)).astype(np.float32) * 3
    shift = np.array([0.0, 2.0, -2.0, 1.0], dtype=np.float32)
    many = np.concatenate([real] * 400) + shift  # so that nothing is left to chance
    bias, share = cell_bias(many, real)
    assert bias == pytest.approx(1.5, rel=1e-4)
    assert share == pytest.approx(1.5 / np.sqrt(real.astype(float).var(0).mean()), rel=1e-4)


def test_missing_values_and_cells_are_left_out():
    real = np.random.default_rng(0).standard_normal((400, 3)).astype(np.float32)
    gaps = np.concatenate([real] * 400) + np.float32([1, 1, 9])
    gaps[:80_000, 0], gaps[:, 2] = np.nan, np.nan
    assert cell_bias(gaps, real)[0] == pytest.approx(1, abs=1e-3)
    assert np.isnan(cell_bias(np.full_like(real, np.nan), real)).all()
    assert np.isnan(cell_bias(real[:19], real)).all()


@pytest.mark.parametrize("n", [50, 5000])
def test_perfect_samples_have_no_bias_however_few_they_are(n):
    """The mean over 2,000 cells of d^2 - var / N has a standard deviation of sqrt(2 / 2000) / N = 0.032 / N: five of them are a false alarm in 10^6."""
    rng = np.random.default_rng(1)
    generated = rng.standard_normal((n, 2000), dtype=np.float32)
    real = np.tile([[-1.0], [1.0]], (10, 2000)).astype(np.float32)  # a mean of exactly 0
    assert cell_bias(generated, real)[0] <= np.sqrt(0.16 / n)


@pytest.mark.parametrize("degrade", ["one wild field", "noise", "wider"])
def test_no_worse_samples_have_less_bias(degrade):
    """Of 400 perfect fields the bias of 500 cells is below 0.05; a wild value once made it 0, with what it would have been of the others."""
    rng = np.random.default_rng(3)
    real, perfect = (
        rng.standard_normal((4000, 500), dtype=np.float32),
        rng.standard_normal((400, 500), dtype=np.float32),
    )
    worse = {
        "one wild field": np.where(np.arange(400)[:, None] == 7, np.float32(1e6), perfect),
        "noise": perfect + rng.standard_normal(perfect.shape, dtype=np.float32),
        "wider": 3 * perfect,
    }[degrade]
    assert cell_bias(perfect, real)[0] < 0.05
    assert cell_bias(worse, real)[0] > max(0.04, cell_bias(perfect, real)[0])


def test_cells_that_have_each_others_climate_are_seen_though_all_together_are_right():
    rng, wet = np.random.default_rng(2), np.linspace(0.2, 5, 12)
    draw = lambda n, scale: rng.exponential(scale.reshape(1, 1, 3, 4), (n, 1, 3, 4))
    labels = np.zeros(600, dtype=int)
    real = FieldsReference.of(draw(600, wet), labels, ("tp",), None, FieldsMeasures(resamples=2))
    right, wrong = (measure_fields(draw(600, scale), labels, {"test": real}) for scale in (wet, wet[::-1]))
    assert wrong["ks/test/tp"] < 0.05
    assert wrong["cell_bias/test/tp"] == pytest.approx(np.sqrt(np.mean((wet - wet[::-1]) ** 2)), rel=0.1)
    assert right["cell_bias/test/tp"] < 0.05 * wrong["cell_bias/test/tp"] + 0.15
