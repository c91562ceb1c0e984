"""No measure of fields is better for a degraded sample: real fields are drawn and measured, then degraded and measured again.

Student's t of the paired differences over 12 draws; a degraded sample that is really as good would alarm at t < -4 in 1 of 1,000 cases,
of which there are 28.
"""

import numpy as np
import pytest

from levy_core.base.measure import measure_of
from levy_core.metrics.fields.measures import FieldsMeasures, FieldsReference, measure_fields
from tasks.kinds.fields.measures import MEASURES
from tests.levy_core.metrics.test_fields import fields

METRICS = [f"{name}/test/t2m" for name in ("joint_error", "mean95_ratio", "q999_ratio", "tail_error")]
DEGRADED = {
    "noise": lambda z, rng: z + 0.5 * rng.standard_normal(z.shape),
    "shrunk": lambda z, rng: 0.7 * z,
    "grown": lambda z, rng: 1.4 * z,
    "smoothed": lambda z, rng: (z + np.roll(z, 1, -1) + np.roll(z, -1, -1)) / 3,
    "clipped": lambda z, rng: np.clip(z, -1.5, 1.5),
    "cells shuffled": lambda z, rng: rng.permuted(z.reshape(*z.shape[:2], -1), axis=2).reshape(z.shape),
    "mixed": lambda z, rng: (z + z[::-1]) / 2**0.5,
}


def errors(samples, reference):
    row = measure_fields(samples, np.zeros(len(samples), dtype=int), {"test": reference})
    return [measure_of(metric, MEASURES).error(row[metric]) for metric in METRICS]


@pytest.fixture(scope="module")
def drawn():
    """The reference of 1,500 real fields, 12 draws of 200 further ones, and their errors."""
    reference = FieldsReference.of(
        fields(1500, 0, channels=1), np.zeros(1500, dtype=int), ("t2m",), None, FieldsMeasures(resamples=20)
    )
    draws = [fields(200, seed, channels=1) for seed in range(1, 13)]
    return reference, draws, np.array([errors(draw, reference) for draw in draws])


@pytest.mark.parametrize("name", DEGRADED)
def test_no_degraded_sample_scores_better(drawn, name):
    reference, draws, whole = drawn
    rng = np.random.default_rng(0)
    worse = np.array([errors(DEGRADED[name](draw, rng), reference) for draw in draws]) - whole
    t = worse.mean(0) / (worse.std(0, ddof=1) / len(draws) ** 0.5 + 1e-12)
    assert dict(zip(METRICS, t > -4, strict=True)) == dict.fromkeys(METRICS, True)
    assert t.max() > 4  # and some measure sees it
