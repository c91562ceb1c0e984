"""Tails against exact laws: Hill, generalised Pareto, return levels, and the tail index with its interval."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from levy_core.base.rows import thin_rows
from levy_core.metrics.common import extremes, tail_index
from levy_core.metrics.common.bootstrap import block_rows, interval, rank_intervals
from levy_core.metrics.common.intervals import count_exceedances, estimates
from levy_core.metrics.common.marginal import Tail
from levy_core.metrics.common.tail_index import tail_index as estimate
from levy_core.metrics.fields.amplitudes import PATTERNS, amplitudes


def spherical(n, nu, rng, modes=24, cells=32):
    """Fields [n, cells] whose cells share one chi-square: exactly Student-t, and as many extremes as fields."""
    mix = np.random.default_rng(99).standard_normal((modes, cells)) * np.arange(1, modes + 1)[:, None] ** -0.7
    z = rng.standard_normal((n, modes)) @ (mix / np.sqrt((mix**2).sum(0)))
    return z * np.sqrt(nu / rng.chisquare(nu, (n, 1))) if nu else z


def smooth(n, rng, side=16, slope=3.0):
    """Gaussian fields [n, side, side] of a power-law spectrum."""
    k = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    k[0, 0] = 1 / side
    z = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((n, side, side))) * k ** (-slope / 2), s=(side, side))
    return z / z.std()


def test_nu_is_that_of_whole_fields_and_local_storms_are_no_heavy_tail_of_a_field():
    rng, nu, n = np.random.default_rng(0), 4, 1500
    z = smooth(n, rng)
    together = z * np.sqrt(nu / rng.chisquare(nu, (n, 1, 1)))
    local = z * np.sqrt(nu / sum(smooth(n, rng) ** 2 for _ in range(nu)))  # each cell is Student-t, with its own scale
    assert 3.2 < estimate(amplitudes(together), block=1, resamples=40).nu < 5.2  # measured over 12 sets: 3.9 to 4.6
    assert 3.5 < estimate(local, block=1, resamples=40).nu < 4.5  # of pooled cells: 3.9 to 4.1
    assert estimate(amplitudes(local), block=1, resamples=40).nu > 12  # 22 to 56


@pytest.mark.parametrize(("n", "cells"), [(40, 12), (12, 40)])
def test_amplitudes_are_the_mean_and_the_principal_components(n, cells):
    values = np.random.default_rng(0).standard_normal((n, cells))
    centred = values - values.mean(0)
    left, strength, _ = np.linalg.svd(centred, full_matrices=False)
    found = amplitudes(values)
    assert found.shape == (n, 1 + PATTERNS)
    assert np.allclose(found[:, 0], centred.mean(1))
    assert np.allclose(np.abs(found[:, 1:]), np.abs(left * strength)[:, :PATTERNS])
    values[3, 5] = np.nan
    assert np.isfinite(amplitudes(values)).all()
    assert np.isfinite(amplitudes(np.zeros((n, cells)))).all()


@pytest.mark.parametrize(("events", "cells"), [(0.01, 1), (0.05, 1), (0.05, 40)])
def test_exceedances_that_come_together_count_as_one_event(events, cells):
    """7,200 fields, of which each independent event is one: its cells exceed the level together, as in a storm."""
    counts = [
        extremes.independent_exceedances(cells * (np.random.default_rng(seed).random(7200) < events), 10)
        for seed in range(50)
    ]
    # relative deviation of one count sqrt(2 / 720) of the variance and that of the mean: at most 0.14; of 50, 0.02; 5 sigma
    assert np.mean(counts) == pytest.approx(7200 * events / (1 - events), rel=0.1)


def test_a_storm_of_several_days_is_one_event_and_few_blocks_are_none():
    storms = np.zeros(1000)
    storms[100:104], storms[505:508] = 30, 30
    assert 1 < extremes.independent_exceedances(storms, 10) < 3
    one = np.zeros(1000)
    one[100:104] = 30
    assert extremes.independent_exceedances(one, 10) == pytest.approx(1, rel=0.01)
    assert extremes.independent_exceedances(np.zeros(1000), 10) == 0
    assert extremes.independent_exceedances(np.ones(1000), 10) == 1000  # never more than there are fields
    assert np.isnan(extremes.independent_exceedances(np.ones(19), 10))


@settings(max_examples=50, deadline=None)
@example(n=30, share=1.0, level=0.0, seed=0)
@given(n=st.integers(30, 3000), share=st.floats(0.02, 1), level=st.floats(0, 1), seed=st.integers(0, 2**31))
def test_quantiles_of_a_tail_are_numpys(n, share, level, seed):
    values = np.random.default_rng(seed).exponential(size=n)
    ordered = np.sort(values)
    for tail, all_of_them in (
        (Tail.of(values, share), values),
        (Tail.reach(ordered, 0.7, share), np.abs(values - 0.7)),
    ):
        found = tail.quantile(level)
        if n * (1 - level) >= 10 and level >= 1 - share:
            assert found == pytest.approx(np.quantile(all_of_them, level), rel=1e-9)
        elif n * (1 - level) < 9.99:
            assert np.isnan(found)
        else:
            assert np.isnan(found) or found == pytest.approx(np.quantile(all_of_them, level), rel=1e-9)


def test_hill_of_exact_pareto_quantiles_is_the_index():
    """The largest k of n Pareto values have log spacings of mean 1 / nu; at the expected quantiles to 1 / (2 k)."""
    for nu in (1.5, 3, 5):
        values = (1 - (np.arange(100_000) + 0.5) / 100_000) ** (-1 / nu)
        assert extremes.hill(Tail.of(values), 0.05) == pytest.approx(nu, rel=2e-3)
        assert extremes.hill(Tail.of(values * 273), 0.05) == pytest.approx(nu, rel=2e-3)  # units do not matter


def test_generalised_pareto_parameters_are_found_from_exact_quantiles():
    p = (np.arange(200_000) + 0.5) / 200_000
    for xi in (-0.3, 0.0, 0.2, 0.33):
        excesses = stats.genpareto.ppf(p, xi, scale=2.5)
        found_xi, found_sigma = extremes.pareto(excesses)
        assert found_xi == pytest.approx(xi, abs=0.005)
        assert found_sigma == pytest.approx(2.5, rel=0.01)


def test_l_moments_are_closer_than_maximum_likelihood_for_few_peaks_of_a_heavy_tail():
    """Why L-moments: 50 sets of 60 peaks, xi = 0.25. The ratio of mean squared errors is 0.77 +- 0.09 over such fifties, so
    that 1 or more would be a false alarm in some 200 runs, were the seed free."""
    rng = np.random.default_rng(0)
    sets = stats.genpareto.rvs(0.25, size=(50, 60), random_state=rng)
    ours = np.array([extremes.pareto(s)[0] for s in sets])
    theirs = np.array([stats.genpareto.fit(s, floc=0)[0] for s in sets])
    assert np.mean((ours - 0.25) ** 2) < np.mean((theirs - 0.25) ** 2)


def test_return_levels_are_the_quantiles_of_the_law_of_maxima():
    """Exact quantiles of the GEV and of Student-t, N = 20,000: what is beyond the 10-field level is extrapolated."""
    p = (np.arange(20_000) + 0.5) / 20_000
    periods = (2.0, 10.0, 100.0, 1000.0)
    for law in (stats.genextreme(-0.2, 10, 3), stats.genextreme(0.1), stats.gumbel_r(280, 5), stats.t(4)):
        exact = law.ppf(1 - 1 / np.array(periods))
        found = extremes.return_levels(law.ppf(p), periods)
        spread_ = law.ppf(0.999) - law.ppf(0.5)
        assert found[:2] == pytest.approx(exact[:2], abs=1e-3 * spread_)
        assert found[2:] == pytest.approx(exact[2:], abs=0.03 * spread_)


def test_return_levels_follow_units_and_end_at_ten_times_the_fields():
    largest = np.random.default_rng(0).gumbel(size=500)
    largest[7] = np.nan
    levels = extremes.return_levels(largest, (5.0, 20.0, 500.0))
    assert np.array_equal(levels, extremes.return_levels(np.delete(largest, 7), (5.0, 20.0, 500.0)))
    assert levels[0] == np.nanquantile(largest, 0.8)
    assert extremes.return_levels(3 * largest + 273.15, (5.0, 20.0, 500.0)) == pytest.approx(3 * levels + 273.15)
    assert np.isnan(extremes.return_levels(largest, (4991.0,))).all()


PERIODS = (2.0, 5.0, 10.0, 30.0, 400.0, 3000.0)


def library_levels(values):
    """Of one series, with numpy's quantiles, scipy's L-moments and scipy's law."""
    values = values[~np.isnan(values)]
    if not len(values):
        return np.full(len(PERIODS), np.nan)
    threshold = np.quantile(values, 0.9)
    peaks = values[values > threshold] - threshold
    if len(peaks) < 10:
        return np.full(len(PERIODS), np.nan)
    first, second = stats.lmoment(peaks, order=[1, 2], standardize=False)
    law = stats.genpareto(2 - first / second, scale=first * (first / second - 1))
    beyond = lambda period: threshold + law.isf(len(values) / (period * len(peaks)))
    found = [np.quantile(values, 1 - 1 / p) if p <= 10 else beyond(p) for p in PERIODS]
    return np.where(np.array(PERIODS) > 10 * len(values), np.nan, found)


def test_return_levels_of_each_series_are_those_of_libraries():
    rng = np.random.default_rng(0)
    values = rng.gumbel(size=(430, 3, 5))
    values[rng.random(values.shape) < 0.1] = np.nan
    values[:, 0, 0] = rng.standard_t(3, 430)
    values[:, 0, 1] = np.maximum(values[:, 0, 1], 3)  # dry most of the time
    values[:, 0, 2], values[:400, 0, 3], values[:, 0, 4] = np.nan, np.nan, 7.0
    values[:, 1, 0] = rng.uniform(size=430)  # a bounded law
    found = extremes.return_levels(values, PERIODS)
    each = [library_levels(series) for series in values.reshape(430, -1).T]
    assert found == pytest.approx(np.transpose(each).reshape(-1, 3, 5), rel=1e-9, nan_ok=True)
    alone = [extremes.return_levels(series, PERIODS) for series in values.reshape(430, -1).T]
    assert found == pytest.approx(np.transpose(alone).reshape(-1, 3, 5), rel=1e-12, nan_ok=True)
    assert np.isnan(found[:, 0, 2:]).all()
    assert np.isfinite(found[:, 1:]).all()
    assert extremes.return_levels(np.empty((0, 4)), PERIODS) == pytest.approx(np.full((6, 4), np.nan), nan_ok=True)


def test_return_levels_of_any_number_of_values_are_those_of_libraries():
    """Whole numbers, so that thresholds lie on values: which of these are peaks is decided as by numpy's quantile."""
    rng = np.random.default_rng(1)
    for n in (*range(90, 132), 1001, 2000):
        for values in (rng.gumbel(size=n), np.floor(10 * rng.exponential(size=n))):
            levels = extremes.return_levels(values, PERIODS)
            assert levels == pytest.approx(library_levels(values), rel=1e-9, nan_ok=True), n


def test_generalised_pareto_laws_are_those_of_scipys_l_moments():
    rng = np.random.default_rng(2)
    excesses = stats.genpareto.rvs(0.2, size=(60, 40), random_state=rng)
    excesses[rng.random(excesses.shape) < np.linspace(0, 0.95, 40)] = np.nan
    xi, sigma = extremes.pareto(excesses)
    for k, own in enumerate(excesses.T):
        own = own[~np.isnan(own)]
        first, second = stats.lmoment(own, order=[1, 2], standardize=False) if len(own) >= 10 else (np.nan, np.nan)
        assert xi[k] == pytest.approx(2 - first / second, rel=1e-9, nan_ok=True)
        assert sigma[k] == pytest.approx(first * (1 - xi[k]), rel=1e-9, nan_ok=True)
    assert 0 < np.isnan(xi).sum() < 20
    assert np.isnan(extremes.pareto(np.full(20, 3.0))).all()  # all equal


def test_intervals_of_ranks_are_those_of_many_draws():
    """4,000 resamples of 40 values: an end lies at another value where the chance is nearer to 5 % than 4 standard errors, 1.4 %."""
    ordered = np.sort(np.random.default_rng(0).standard_normal(40))
    drawn = np.sort(np.random.default_rng(1).choice(ordered, (4000, 40)), axis=1)
    low, high = rank_intervals(ordered)
    assert ((drawn < low).mean(0) < 0.05 + 0.014).all()
    assert ((drawn <= low).mean(0) > 0.05 - 0.014).all()
    assert ((drawn > high).mean(0) < 0.05 + 0.014).all()
    assert ((drawn >= high).mean(0) > 0.05 - 0.014).all()
    assert high[-1] == ordered[-1]
    assert (low <= ordered).all()
    assert (ordered <= high).all()
    assert all(len(side) == 0 for side in rank_intervals(np.empty(0)))


def test_too_few_values_have_no_index():
    few = Tail.of(np.arange(1.0, 100.0))
    assert np.isnan([extremes.hill(few, 0.01), extremes.pareto_shape(few, 0.01)]).all()
    assert np.isnan(extremes.return_levels(np.arange(50.0), (10.0, 100.0))).all()
    assert np.isnan(extremes.return_levels(np.full(50, np.nan), (10.0,))).all()
    assert np.isnan(extremes.hill(Tail.of(np.ones(5000)), 0.01))  # all equal
    assert np.isnan(estimate(np.full((20, 3), np.nan)).nu)
    assert np.isnan(estimate(np.ones((200, 3))).nu)  # constant cells
    assert np.isnan(estimate(np.empty((0, 4, 4))).nu)
    assert np.isnan(estimate(np.random.default_rng(0).standard_normal((90, 1))).nu)


def test_the_expected_hill_estimate_of_student_t_is_its_integral():
    for share in tail_index.SHARES:
        table = tail_index._expected(share)
        assert (np.diff(table) > 0).all()
        for nu in (2.5, 4.0, 30.0):
            u = stats.t.isf(share / 2, nu)
            exact = (
                integrate.quad(lambda x, nu=nu: 2 * stats.t.sf(x, nu) / x, u, np.inf, epsabs=0, epsrel=1e-8)[0] / share
            )
            assert np.interp(1 / nu, tail_index.XI, table) == pytest.approx(exact, rel=1e-3)
        u = stats.norm.isf(share / 2)
        exact = integrate.quad(lambda x: 2 * stats.norm.sf(x) / x, u, 40)[0] / share
        assert table[0] == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("nu", [3, 4, 5])
def test_nu_of_exact_student_t_quantiles_is_found_where_hill_is_biased(nu):
    found = estimate(stats.t.ppf((np.arange(40_000) + 0.5) / 40_000, nu), resamples=20)
    assert found.nu == pytest.approx(nu, rel=0.02)
    assert found.hill < 0.85 * nu
    assert (found.n, found.k) == (40_000, 4_000)


def test_values_that_are_student_t_only_far_out_are_looked_at_far_out():
    """An exponential tail is no Student-t's: its largest 10 % alone look like nu = 2.6, further out it is ever lighter."""
    values = np.random.default_rng(8).exponential(size=50_000)
    found = estimate(values, block=1, resamples=50)
    assert found.k <= 0.02 * found.n
    assert found.low > 3.5
    assert found.gpd_xi == pytest.approx(0, abs=0.1)  # 0 exactly; 3 standard errors of 500 peaks


def test_a_gaussian_has_a_large_nu():
    rng = np.random.default_rng(3)
    for values in (rng.standard_normal(20_000), spherical(1000, None, rng)):
        found = estimate(values, block=1, resamples=50)
        assert found.low > 15
        assert found.gpd_xi < 0.1


def test_nu_needs_no_units_and_no_equal_cells():
    values = spherical(800, 4, np.random.default_rng(4))
    found = estimate(values, resamples=20)
    uneven = values * np.geomspace(0.1, 10, 32) + np.linspace(-300, 300, 32)
    assert estimate(uneven, resamples=20).nu == pytest.approx(found.nu, rel=1e-9)
    holes = values.copy()
    holes[:, 5] = np.nan
    assert estimate(holes, resamples=20).nu == pytest.approx(found.nu, rel=0.05)


def test_resampled_rows_are_blocks_of_the_circle_and_kept_rows_are_spread():
    rows = block_rows(103, 10, 50, np.random.default_rng(0))
    assert rows.shape == (50, 103)
    steps = np.diff(rows.reshape(50, -1), axis=1) % 103
    assert (steps == 1).sum() >= 50 * (103 - 11)
    assert (np.bincount(rows.reshape(-1), minlength=103) > 0).all()
    assert np.array_equal(thin_rows(50, 60, 10), np.arange(50))
    assert thin_rows(50, 0, 1).shape == (0,)
    kept = thin_rows(1000, 100, 10)
    assert (len(kept), kept[0], kept[-1], len(np.unique(kept))) == (100, 0, 999, 100)
    assert (np.diff(kept.reshape(10, 10), axis=1) == 1).all()
    assert np.isnan(interval(np.full(9, np.nan))).all()


RUNS = st.lists(st.integers(1, 40), min_size=1, max_size=6).map(lambda lengths: np.repeat(range(len(lengths)), lengths))


@given(runs=RUNS, block=st.integers(1, 15), most=st.integers(0, 120), seed=st.integers(0, 2**31 - 1))
def test_no_block_lies_in_two_runs_and_one_run_is_a_series(runs, block, most, seed):
    n, drawn = len(runs), lambda runs: block_rows(len(runs), block, 8, np.random.default_rng(seed), runs)
    length = min(block, n)
    starts = drawn(runs)[:, ::length]
    for row in drawn(runs):
        for at in range(0, n, length):
            part = row[at : at + length]
            own = np.flatnonzero(runs == runs[part[0]])
            assert part.tolist() == np.resize(np.roll(own, own[0] - part[0]), len(part)).tolist()
    assert np.array_equal(
        starts, np.random.default_rng(seed).integers(0, n, starts.shape)
    )  # each as often as any other
    once = np.zeros(n)
    assert np.array_equal(drawn(once), block_rows(n, block, 8, np.random.default_rng(seed)))

    kept = thin_rows(n, most, block, runs)
    assert len(kept) <= most or len(kept) == n
    assert (np.diff(kept) > 0).all()
    if n > most:
        shares = np.diff(most * np.append(0, np.bincount(runs).cumsum()) // n)
        for run, share in enumerate(shares):
            own = kept[runs[kept] == run]
            first = np.flatnonzero(runs == run)[0]
            assert np.array_equal(own - first, thin_rows(int((runs == run).sum()), int(share), block))
    assert np.array_equal(thin_rows(n, most, block, once), thin_rows(n, most, block))


def test_exceedances_of_years_that_lie_apart_are_counted_in_blocks_of_each():
    """K = B m^2 / s^2 of the whole blocks of all years, as if each were alone."""
    rng = np.random.default_rng(0)
    years = [rng.poisson(0.3, 365) for _ in range(4)]
    sums = np.concatenate([[year[at : at + 10].sum() for at in range(0, 360, 10)] for year in years])
    expected = len(sums) * sums.mean() ** 2 / sums.var(ddof=1)
    runs = np.repeat(range(4), 365)
    assert extremes.independent_exceedances(np.concatenate(years), 10, runs) == pytest.approx(expected, rel=1e-12)
    assert np.isnan(extremes.independent_exceedances(np.ones(18), 10, np.repeat([0, 1], 9)))  # no block is whole


def test_estimates_of_years_that_lie_apart_are_those_of_a_series_but_for_what_rests_on_blocks():
    rng = np.random.default_rng(1)
    values = rng.standard_normal((2 * 400, 5))
    runs = np.repeat([0, 1], 400)
    one, two, joined = (
        estimates(values, values.max(1), values.mean(1), (0.95,), 0.05, 10, 50, runs=r) for r in (runs, runs + 7, None)
    )
    assert one == two
    assert one["quantiles"]["0.95"]["value"] == joined["quantiles"]["0.95"]["value"]
    assert one["quantiles"]["0.95"]["low"] != joined["quantiles"]["0.95"]["low"]
    count = count_exceedances(
        values, values.max(1), (0.95,), 30, runs
    )  # 13 blocks of each and 10 left, not 26 and 20 left
    away = np.abs(values - np.median(values))
    sums = (away > np.quantile(away, 0.95)).sum(1).reshape(2, 400)[:, :390].reshape(26, 30).sum(1)
    assert count["exceedances"]["0.95"] == pytest.approx(26 * sums.mean() ** 2 / sums.var(ddof=1))


def test_blocks_widen_the_interval_of_persistent_weather():
    """An AR(1) of 0.95 has about 39 times less information than its length says; 10 of the interval's widths are wide."""
    rng = np.random.default_rng(5)
    noise = rng.standard_normal(4000)
    x = np.empty(4000)
    x[0] = noise[0]
    for i in range(1, 4000):
        x[i] = 0.95 * x[i - 1] + np.sqrt(1 - 0.95**2) * noise[i]
    width = {}
    for block in (1, 100):
        means = x[block_rows(len(x), block, 400, np.random.default_rng(0))].mean(1)
        low, high = interval(means)
        width[block] = (high - low) / 3.29
    assert width[1] == pytest.approx(1 / np.sqrt(4000), rel=0.15)
    assert width[100] == pytest.approx(np.sqrt(39 / 4000), rel=0.35)


COVERS = 30


@pytest.mark.parametrize("nu", [3, 4, 5])
def test_the_interval_covers_the_index_of_fields_whose_cells_share_their_extremes(nu):
    """1,500 fields each, 30 sets. Measured coverage is 0.85 or more where 0.9 is meant: fewer than 19 of 30 would be a
    false alarm in some 2,000 runs, were the seed free."""
    rng = np.random.default_rng(6)
    found = [estimate(spherical(1500, nu, rng), block=1, resamples=40) for _ in range(COVERS)]
    assert sum(e.low <= nu <= e.high for e in found) >= 19
    assert 1 / np.median([1 / e.nu for e in found]) == pytest.approx(
        nu, rel=0.12
    )  # 1.2 % a standard error of the median
