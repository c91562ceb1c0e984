"""Fields that need not fit into memory are measured part by part, and on a part of their cells where there are too many."""

import numpy as np
import pytest
from scipy import stats

from levy_core.base import rows as base_rows
from levy_core.base.rows import Converted, Joined
from levy_core.metrics.fields import summary
from levy_core.metrics.fields.measures import FieldsMeasures, FieldsReference, measure_fields
from levy_core.metrics.fields.summary import Frame, Summary, summarise

NAMES, FEW = ("t2m", "tp"), FieldsMeasures(resamples=20)
AREAS = np.cos(np.deg2rad(np.linspace(80, 20, 9)))


def fields(n, seed, holes=0.0):
    rng = np.random.default_rng(seed)
    values = rng.standard_t(4, (n, 2, 9, 12)) + rng.standard_normal((n, 1, 1, 1))
    values[rng.random(values.shape) < holes] = np.nan
    values[:, 1, :2] = np.nan  # land
    return values.astype(np.float32)


def labels(n):
    return np.arange(n) % 2


@pytest.mark.parametrize("holes", [0.0, 0.03])
def test_parts_say_what_the_whole_says(monkeypatch, holes):
    real, generated = fields(130, 0, holes), fields(70, 1).astype(np.float64)
    rows = []
    for part in (10**9, 5 * 2 * 9 * 12):
        monkeypatch.setattr(base_rows, "PART", part)
        reference = FieldsReference.of(real, labels(130), NAMES, AREAS, FEW)
        rows.append(measure_fields(generated, labels(70), {"test": reference}))
        assert (reference.frame.holes is None) == (holes == 0)
        assert np.array_equal(reference.frame.valid, ~np.isnan(real).all(0))
    assert rows[0] == pytest.approx(rows[1], rel=1e-12, nan_ok=True)


def test_only_cells_that_real_fields_lack_are_left_out_of_generated_ones():
    real, generated = fields(40, 0, 0.1), np.ones((20, 2, 9, 12))
    reference = FieldsReference.of(real, labels(40), NAMES, AREAS, FEW)
    masked = reference.frame.masked(generated[5:9], reference.frame.holes.choose(labels(20))[5:9])
    chosen = [9, 12, 13, 16]  # the k-th of a label has the holes of the 2 k-th real one
    assert np.array_equal(np.isnan(masked), np.isnan(real[chosen]))


def test_samples_lack_what_real_fields_of_their_label_lack():
    """Cells are missing in winter alone; samples of a winter, in whatever order they come, are then as far as they would be from whole fields."""
    values, winter = fields(400, 0), np.arange(400) // 50 % 2
    values[winter == 1, :, :, 6:] = np.nan
    generated, own = fields(300, 1), np.random.default_rng(2).permutation(labels(300))
    generated[..., 6:] *= 5
    reference = FieldsReference.of(values, winter, NAMES, AREAS, FEW)
    read = FieldsReference.read(reference.tensors(), reference.description())
    for its in (reference, read):
        seen = summarise(generated, {"": its.frame}, own)[""]
        east = seen.values[:, 0, its.frame.pooled % 12 >= 6]
        assert np.array_equal(np.isnan(east).all(1), own == 1)
        assert np.array_equal(np.isnan(east).any(1), own == 1)


def test_few_fields_of_the_mask_are_kept_where_fields_are_large(monkeypatch):
    monkeypatch.setattr("levy_core.metrics.fields.reference.HOLES", 10 * 2 * 9 * 12)
    real = fields(40, 0, 0.1)
    reference = FieldsReference.of(real, labels(40), NAMES, AREAS, FEW)
    assert len(reference.frame.holes.packed) == 10
    masked = reference.frame.masked(np.ones((10, 2, 9, 12)), np.arange(10))
    assert np.array_equal(np.isnan(masked), np.isnan(real[::4]))


def test_fields_are_read_once_where_it_is_known_which_cells_have_values(monkeypatch):
    monkeypatch.setattr(base_rows, "PART", 10 * 2 * 9 * 12)
    values, seen = fields(60, 0), []
    real = Converted(values, values.shape, lambda read, rows: seen.extend(rows) or read)
    FieldsReference.of(real, labels(60), NAMES, AREAS, FEW, valid=~np.isnan(values).all(0))
    assert sorted(seen) == sorted([*range(10), *range(60)])
    seen.clear()
    FieldsReference.of(real, labels(60), NAMES, AREAS, FEW)
    assert sorted(seen) == sorted([*range(60)] * 2)  # land is only known in the end


def test_a_part_of_the_cells_says_what_all_say_about_quantiles(monkeypatch):
    """300 fields of 64 x 64, nu = 4, of which 1,000 cells are pooled, against the exact quantile: 4 standard errors of
    independent values, a false alarm in 16,000 runs, were the seed free; means and maxima are those of all cells."""
    monkeypatch.setattr(summary, "POOLED", 300 * 1000)
    monkeypatch.setattr(summary, "FIELDS", 300)
    values = np.random.default_rng(0).standard_t(4, (300, 1, 64, 64)).astype(np.float32)
    reference = FieldsReference.of(values, np.zeros(300, int), ("t2m",), None, FEW)
    its = reference.summary
    assert its.values.shape == (300, 1, 1000)
    exact = stats.t.ppf(0.999, 4)
    error = np.sqrt(0.001 * 0.999 / 300_000) / stats.t.pdf(exact, 4)
    assert reference.estimates["t2m"]["quantiles"]["0.999"]["value"] == pytest.approx(exact, abs=4 * error)
    assert np.allclose(its.means[:, 0], values.mean((1, 2, 3), dtype=np.float64))
    assert np.array_equal(its.maxima[:, 0], values.max((1, 2, 3)))
    rows, columns = np.divmod(reference.frame.pooled, 64)
    counts = [np.bincount(axis // 16, minlength=4) for axis in (rows, columns)]
    assert stats.chisquare(np.concatenate(counts)).pvalue > 1e-4  # spread over the grid, whatever its rows are


def test_values_that_float32_does_not_reach_count_as_far_out_as_it_does():
    """The inverse of log1p makes them of heavy-tailed noise: infinite, they would be left out, and the tail be as good as the real one."""
    generated = fields(130, 1).astype(np.float64)
    generated[np.random.default_rng(2).random(generated.shape) < 0.004] = 1e40
    reference = FieldsReference.of(fields(130, 0), labels(130), NAMES, AREAS, FEW)
    row = measure_fields(generated, labels(130), {"test": reference})
    assert row["distance/test"] > 10
    assert row["tail_error/test/t2m"] > 100


def test_all_cells_are_pooled_where_there_are_few():
    frame = Frame(np.ones((2, 9, 12), dtype=bool), AREAS, 2000)
    assert np.array_equal(frame.pooled, np.flatnonzero(frame.even))


def test_summaries_of_parts_are_joined_and_taken_by_rows():
    frame, values = Frame(np.ones((2, 9, 12), dtype=bool), AREAS, 30), fields(30, 0)
    whole = frame.look(values)
    joined = Summary.join([frame.look(values[:11]), frame.look(values[11:])]).rows(np.arange(5, 25))
    for name in ("values", "means", "maxima", "power"):
        np.testing.assert_allclose(getattr(joined, name), getattr(whole, name)[5:25], rtol=1e-12)
    assert all(np.array_equal(a, b[5:25], equal_nan=True) for a, b in zip(joined.beside, whole.beside, strict=True))


def test_pairs_are_those_of_the_cells_they_stand_for():
    frame = Frame(np.ones((2, 9, 12), dtype=bool), None, 30)
    values = np.arange(2 * 9 * 12, dtype=np.float64).reshape(1, 2, 9, 12)
    its = summarise(values, {"": frame})[""]
    for c, classes in enumerate(frame.pairs):
        for d, (a, b) in enumerate(classes):
            first, second = (its.beside[c][0, side].astype(int) - c * 108 for side in (a, b))
            apart = np.hypot(first // 12 - second // 12, first % 12 - second % 12)
            assert ((apart >= 2**d) & (apart < 2 ** (d + 1))).all()


def test_arrays_are_read_as_one():
    arrays = [np.arange(6).reshape(3, 2), np.arange(6, 10).reshape(2, 2), np.arange(10, 12).reshape(1, 2)]
    joined, rows = Joined(arrays), np.array([5, 0, 3, 3, 2])
    assert len(joined) == 6
    assert np.array_equal(joined[rows], np.concatenate(arrays)[rows])


def test_cells_of_more_fields_are_among_those_of_fewer(monkeypatch):
    monkeypatch.setattr(summary, "POOLED", 40 * 100)
    monkeypatch.setattr(summary, "FEWEST", 10)
    monkeypatch.setattr(summary, "FIELDS", 40)
    few, many = (Frame(np.ones((2, 9, 30), dtype=bool), None, most).pooled for most in (40, 160))
    assert (len(few), len(many)) == (100, 25)
    assert np.isin(many, few).all()
