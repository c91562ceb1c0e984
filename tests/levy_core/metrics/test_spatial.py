"""Spectra, correlations and dependence of fields against exact laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from levy_core.base.errors import LevyError
from levy_core.metrics.fields import spatial

SHAPES = st.tuples(st.integers(1, 24), st.integers(1, 24))


def power_law(n, side, slope, rng):
    """Periodic fields whose power of a mode falls as wavenumber**-slope."""
    k = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    k[0, 0] = np.inf
    return np.fft.irfft2(np.fft.rfft2(rng.standard_normal((n, side, side))) * k ** (-slope / 2), s=(side, side))


@settings(max_examples=60, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 2**31))
def test_the_power_of_all_modes_is_the_variance_of_the_field(shape, seed):
    """Parseval."""
    values = np.random.default_rng(seed).standard_normal((3, *shape)) * 7 + 280
    power = spatial.field_power(values)
    wavenumber, ring = spatial.rings(shape)
    modes = np.bincount(ring.reshape(-1), minlength=len(wavenumber) + 1)[1:]
    assert power.shape == (3, len(wavenumber))
    assert power @ modes == pytest.approx(values.var((1, 2)), rel=1e-9)
    assert spatial.variances(power, shape) == pytest.approx(values.var((1, 2)), rel=1e-9)


def test_white_noise_has_the_same_power_at_every_wavenumber():
    """400 fields of 16 x 24, a ring of at least 3 modes: 4 % a standard error at the slowest; 5 sigma."""
    wavenumber, power = spatial.spectrum(np.random.default_rng(0).standard_normal((400, 16, 24)))
    assert wavenumber[0] == 0.5
    assert power * 16 * 24 == pytest.approx(np.ones(len(power)), abs=0.2)


@pytest.mark.parametrize("slope", [2, 3])
def test_the_slope_of_a_power_law_field_is_found_in_a_box_that_is_no_period(slope):
    """Boxes of 32 x 32 cut from fields of 128 x 128; fitted over 2 to 10 waves across the box."""
    fields = power_law(60, 128, slope, np.random.default_rng(1))[:, 20:52, 50:82]
    wavenumber, power = spatial.spectrum(fields)
    middle = (wavenumber >= 2) & (wavenumber <= 10)
    found = np.polyfit(np.log(wavenumber[middle]), np.log(power[middle]), 1)[0]
    assert found == pytest.approx(-slope, abs=0.2)


def test_a_field_alone_shows_its_scale():
    x = np.arange(64)
    wave = np.cos(2 * np.pi * 8 * (x + 0.5) / 64)[None, None].repeat(32, axis=1)
    wavenumber, power = spatial.spectrum(wave)
    assert wavenumber[np.argmax(power)] == 4  # 8 waves across 64 cells are 4 across the shorter side of 32


def test_places_and_holes_have_a_spectrum_too():
    values = np.random.default_rng(2).standard_normal((50, 1, 5))
    assert len(spatial.spectrum(values)[0]) == 4
    values[:, 0, 2] = np.nan
    values[3] = np.nan
    assert np.isfinite(spatial.spectrum(values)[1]).all()
    assert spatial.field_power(values)[3].sum() == 0
    assert len(spatial.spectrum(np.ones((2, 1, 1)))[0]) == 0
    few = values[:3]
    mean = np.where(np.isnan(few), np.nanmean(few, axis=(1, 2), keepdims=True), few)
    assert spatial.field_power(few) == pytest.approx(spatial.field_power(mean))


def test_damped_power_counts_calm_fields_by_power_and_stormy_ones_by_shape():
    power = np.abs(np.random.default_rng(3).standard_normal((6, 4)))
    calm, stormy = np.full(6, 1e-9), np.full(6, 1e9)
    assert spatial.damped_power(power, calm, 1.0) == pytest.approx(power.mean(0))
    assert spatial.damped_power(1e9 * power, 1e9 * np.ones(6), 1.0) == pytest.approx(power.mean(0), rel=1e-6)
    assert (spatial.damped_power(power, stormy, 1.0) < 1e-8).all()


@settings(max_examples=30, deadline=None)
@given(shape=SHAPES, seed=st.integers(0, 2**31))
def test_pairs_of_cells_are_as_far_apart_as_their_class_says(shape, seed):
    valid = np.random.default_rng(seed).random(shape) < 0.8
    classes = spatial.pairs_by_distance(valid, seed)
    for first, second in classes:
        ends = [np.stack(np.unravel_index(side, shape)) for side in (first, second)]
        apart = np.hypot(*(ends[0] - ends[1]))
        octave = np.floor(np.log2(apart) + 1e-12)
        assert len(set(octave)) == 1
        assert len(apart) <= spatial.PAIRS
        assert len({*zip(first, second, strict=True)}) == len(first)
        assert valid.reshape(-1)[first].all()
        assert valid.reshape(-1)[second].all()


def test_neighbours_and_far_cells_all_have_their_class():
    assert len(spatial.pairs_by_distance(np.ones((32, 32), bool))) == 5  # 1, 2, 4, 8, 16 cells
    assert [len(first) for first, _ in spatial.pairs_by_distance(np.ones((1, 5), bool))] == [4, 5, 1]  # all 10 pairs


def test_rank_correlations_are_scipys_and_need_no_units():
    rng = np.random.default_rng(4)
    values = rng.standard_normal((80, 1, 4)).cumsum(2)
    pairs = (np.array([0, 0, 2]), np.array([1, 3, 3]))
    exact = [stats.spearmanr(values[:, 0, a], values[:, 0, b]).statistic for a, b in zip(*pairs, strict=True)]
    assert spatial.rank_correlation(values, pairs) == pytest.approx(exact)
    assert spatial.rank_correlation(np.exp(values), pairs) == pytest.approx(exact)
    assert np.isnan(spatial.rank_correlation(values[:10], pairs)).all()
    values[:, 0, 1] = 1
    values[:70, 0, 2] = np.nan
    found = spatial.rank_correlation(values, pairs)
    assert np.isnan(found[[0, 2]]).all()
    assert found[1] == pytest.approx(exact[1])


def test_extremes_of_variables_that_rise_together_have_chi_1_and_of_independent_ones_5_percent():
    """2,000 fields of 8 x 8: 128,000 pairs of which 5 % of 5 % are joint; 6 % a standard error of chi = 0.05: 4 sigma."""
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((2, 2000, 8, 8))
    chi = spatial.joint_extremes(np.stack([a, np.exp(3 * a) * 100, b], 1))
    assert chi[0, 1] == pytest.approx(1)
    assert chi[0, 2] == pytest.approx(0.05, rel=0.24)
    assert np.array_equal(chi, chi.T)
    assert np.isnan(spatial.joint_extremes(np.stack([a, b], 1)[:10])).all()


def test_fields_that_were_cut_off_have_no_joint_extremes_and_not_those_of_the_cells_that_are_left():
    rng = np.random.default_rng(5)
    a = rng.standard_normal((2000, 1, 8, 8))
    both = np.concatenate([a, a + 0.1 * rng.standard_normal(a.shape)], 1)
    cut = np.minimum(both, 1.0)  # a sixth of all values is 1
    cut[:, :, 0] = both[:, :, 0]  # but for one row
    assert spatial.joint_extremes(both)[0, 1] > 0.8
    assert spatial.joint_extremes(cut)[0, 1] < 0.15
    pairs = np.arange(64), np.arange(64)
    assert spatial.joint_exceedance(cut[:, 0], pairs) == pytest.approx(1 / 8, abs=0.01)


def test_chi_of_student_t_variables_is_that_of_the_bivariate_law():
    """nu = 4, correlation 0.5; 20,000 fields of 20 independent cells: 0.0024 a standard error, measured; 4 sigma."""
    rng = np.random.default_rng(6)
    z = rng.standard_normal((20_000, 2, 1, 20))
    z[:, 1] = 0.5 * z[:, 0] + np.sqrt(0.75) * z[:, 1]
    t = z * np.sqrt(4 / rng.chisquare(4, (20_000, 1, 1, 20)))
    law = stats.multivariate_t(shape=[[1, 0.5], [0.5, 1]], df=4, seed=0)
    exact = law.cdf([stats.t.ppf(0.05, 4)] * 2) / 0.05  # the joint lower tail is the joint upper one
    assert exact == pytest.approx(0.337, abs=0.003)  # by quasi-random integration
    assert spatial.joint_extremes(t)[0, 1] == pytest.approx(exact, abs=0.012)


def test_thresholds_are_numpys_quantiles_of_the_known_values():
    rng = np.random.default_rng(7)
    values = rng.standard_normal((60, 2, 3, 3))
    values[rng.random(values.shape) < 0.3] = np.nan
    values[:, 1, 2, 2] = np.nan
    threshold = np.full(values.shape[1:], np.nan)
    known = ~np.isnan(values).all(0)
    threshold[known] = np.nanquantile(values[:, known], 0.95, axis=0)
    assert np.allclose(spatial._quantile(values, (~np.isnan(values)).sum(0), 0.95), threshold, equal_nan=True)


def test_kept_cells_stand_for_equal_areas():
    latitude = np.linspace(-89, 89, 90)
    share = np.cos(np.deg2rad(latitude))
    cells = spatial.even_cells(share, (90, 180))
    assert cells.sum(1) == pytest.approx(180 * share / share.max(), abs=0.51 + 0.5)
    assert cells[0].sum() >= 1
    rows = np.flatnonzero(cells[20])
    assert np.ptp(np.diff(rows)) <= 1  # evenly along the row
    assert spatial.even_cells(None, (3, 4)).all()
    assert spatial.even_cells(np.array([45.0, 50, 60]), (1, 3)).all()  # places
    with pytest.raises(LevyError, match=r"areas \[2\] for fields of 3 rows"):
        spatial.even_cells(np.array([45.0, 50]), (3, 4))


def test_kept_cells_of_a_curved_grid_stand_for_equal_areas():
    areas = 1 + 3 * np.random.default_rng(0).random((60, 80)) + np.linspace(0, 4, 80)
    cells = spatial.even_cells(areas, (60, 80))
    assert cells.sum() == np.floor(areas.sum() / areas.max())
    place = np.arange(80.0)[None] + np.zeros((60, 1))
    assert place[cells].mean() == pytest.approx((place * areas).sum() / areas.sum(), abs=0.5)
    assert abs(place.mean() - (place * areas).sum() / areas.sum()) > 5
    assert spatial.even_cells(np.full((3, 4), 2.0), (3, 4)).all()


def test_two_cells_are_extreme_at_once_as_often_as_their_law_says():
    """20,000 fields of 2 x 40 cells; Gaussian rows with correlation 0.5, and their sum of powers nu = 4, as for joint extremes."""
    rng, n = np.random.default_rng(0), 20_000
    first = rng.standard_normal((n, 40))
    second = 0.5 * first + np.sqrt(0.75) * rng.standard_normal((n, 40))
    heavy = np.sqrt(4 / rng.chisquare(4, (n, 1, 1)))
    gaussian = np.stack([first, second], axis=1)
    pairs = np.arange(40), np.arange(40, 80)  # a cell of the first row and the one below it
    z = stats.norm.ppf(0.95)
    law = stats.multivariate_normal.cdf([-z, -z], cov=[[1, 0.5], [0.5, 1]]) / 0.05
    assert spatial.joint_exceedance(gaussian, pairs) == pytest.approx(law, abs=0.012)  # error 0.002 measured
    assert spatial.joint_exceedance(gaussian * heavy, pairs) > law + 0.05  # extremes come together
    along = np.arange(39), np.arange(1, 40)
    assert spatial.joint_exceedance(gaussian, along) == pytest.approx(0.05, abs=0.006)
    same = np.arange(40), np.arange(40)
    assert spatial.joint_exceedance(gaussian, same) == pytest.approx(1)


def test_joint_exceedance_leaves_gaps_out_and_needs_fields():
    rng = np.random.default_rng(1)
    values = np.repeat(rng.standard_normal((2000, 1, 1)), 4, axis=2)
    values[rng.random(values.shape) < 0.2] = np.nan
    pairs = np.array([0, 1]), np.array([2, 3])
    assert spatial.joint_exceedance(values, pairs) == pytest.approx(
        1, abs=0.08
    )  # thresholds of cells differ by their gaps
    assert np.isnan(spatial.joint_exceedance(values[:10], pairs))
    assert spatial.joint_exceedance(np.ones((50, 1, 4)), pairs) == 0  # nothing exceeds anything
