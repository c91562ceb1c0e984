"""The made-up weather is what it says. Statistical tests: fixed seeds, and bands of four standard errors or p > 1e-4."""

from dataclasses import replace
from itertools import islice
from math import asin, pi, sqrt

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from levy_core.base.errors import LevyError
from levy_core.datasets import starter
from levy_core.datasets.synthetic import TIME, Synthetic, blocks

N = 4000
SMALL = Synthetic(("t2m",), shape=(6, 8), persistence=0.0, slope=2.5)


def draw(config, n=N):
    return np.stack(list(islice(config.anomalies(), n)))


def sign_product(r):
    """E sign(x) sign(y) of jointly Gaussian x and y of correlation r; a shared scale changes no sign."""
    return 2 / pi * asin(r)


@pytest.fixture(scope="module")
def drawn():
    return draw(SMALL)


@pytest.mark.parametrize("nu", [3.0, 4.5])
def test_anomalies_of_a_cell_are_exactly_student_t(nu):
    x = draw(replace(SMALL, nu=nu))
    for row, column in ((0, 0), (3, 5)):
        assert stats.kstest(x[:, 0, row, column], stats.t(nu).cdf).pvalue > 1e-4


def test_every_weighted_sum_of_cells_has_the_same_tail_index(drawn):
    r = SMALL.correlation()
    weights = {(0, 0): 1.0, (2, 1): -0.5, (5, 3): 2.0}
    variance = sum(
        a * b * r[abs(p[0] - q[0]), abs(p[1] - q[1])] for p, a in weights.items() for q, b in weights.items()
    )
    total = sum(a * drawn[:, 0, row, column] for (row, column), a in weights.items())
    assert stats.kstest(total / sqrt(variance), stats.t(SMALL.nu).cdf).pvalue > 1e-4


@pytest.mark.parametrize("box", [None, (40.0, 60.0, -10.0, 20.0)])
def test_correlation_in_space_is_the_stated_one(box):
    config = replace(SMALL, box=box)
    signs, r = np.sign(draw(config)[:, 0]), config.correlation()
    assert r[0, 0] == pytest.approx(1)
    for rows, columns in ((0, 1), (2, 0), (3, 7)):
        # pairs of one step are dependent: the standard error from the steps' means
        products = (signs[:, : 6 - rows, : 8 - columns] * signs[:, rows:, columns:]).mean((1, 2))
        assert products.mean() == pytest.approx(sign_product(r[rows, columns]), abs=4 * products.std() / sqrt(N))


def test_round_the_globe_the_last_column_is_a_neighbour_of_the_first():
    globe, box = SMALL.correlation(), replace(SMALL, box=(0.0, 50.0, 0.0, 70.0)).correlation()
    assert globe[0, 7] == pytest.approx(globe[0, 1])
    assert box[0, 7] < box[0, 1] - 0.2


@pytest.mark.parametrize("slope", [2.0, 3.0])
def test_power_falls_with_the_stated_slope(slope):
    size = 64
    x = draw(replace(SMALL, shape=(size, size), box=(0.0, 63.0, 0.0, 63.0), slope=slope), 60)[:, 0]
    x = x / x.std((1, 2), keepdims=True)  # one heavy step would own the mean
    window = np.hanning(size)[:, None] * np.hanning(size)
    power = (np.abs(np.fft.fft2(x * window)) ** 2).mean(0)
    k = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size))
    inside = (k > 4 / size) & (k < 0.4)
    fitted = -np.polyfit(np.log(k[inside]), np.log(power[inside]), 1)[0]
    assert fitted == pytest.approx(slope, abs=0.1)  # eight seeds: within 0.05


def test_one_step_remembers_the_one_before():
    signs = np.sign(draw(replace(SMALL, persistence=0.6))[:, 0])
    for lag in (1, 2):
        products = (signs[lag:] * signs[:-lag]).mean((1, 2))
        error = products.std() / sqrt(N) * 3  # neighbours in time depend on each other, over about nine steps
        assert products.mean() == pytest.approx(sign_product(0.6**lag), abs=4 * error)


@pytest.mark.parametrize("shared", [0.0, 1.0])
def test_variables_share_their_extremes_as_stated(shared):
    x = draw(replace(SMALL, variables=("t2m", "u10"), shared=shared), 12_000)[:, :, 2, 3]
    common = special.polygamma(1, SMALL.nu / 2) / 4  # variance of log sqrt(chi2), beside pi**2 / 8 of log |g|
    expected = shared * common / (common + pi**2 / 8)
    assert np.corrcoef(np.log(np.abs(x.T)))[0, 1] == pytest.approx(expected, abs=4 / sqrt(12_000))


def test_a_field_is_its_cycles_plus_scaled_anomalies():
    config = Synthetic(("t2m", "u10"), shape=(4, 6), hours=6)
    whole = xr.concat(list(blocks(config, 50, block=50)), TIME)
    for i, name in enumerate(config.variables):
        rest = whole[name].values - config.cycles(name, config.times(50))
        assert np.allclose(rest / config.scale(name), draw(config, 50)[:, i], atol=1e-4)


def test_rain_is_never_negative_and_its_quantiles_are_exact():
    config = Synthetic(("tp",), shape=(4, 4), persistence=0.0, nu=3.0)
    rain = np.concatenate([part["tp"].values for part in blocks(config, N, block=500)])
    assert rain.min() == 0
    for level in (0.5, 0.9, 0.99):
        # a share of N steps in each cell, 16 cells that are not independent
        share = (rain <= config.quantile("tp", level)).mean()
        dry = stats.t.cdf(0.5, 3.0)
        assert share == pytest.approx(max(level, dry), abs=4 * sqrt(0.25 / N))


def test_seasons_and_hours_turn_as_on_earth():
    config = Synthetic(("t2m",), shape=(4, 8), hours=1, start="2001-01-01T00")
    year = config.times(365 * 24)
    cycle = config.cycles("t2m", year).reshape(365, 24, 4, 8)
    warmest = cycle.mean(1).argmax(0)
    assert (warmest[:2] == 199).all()  # 19 July in the north
    assert (np.abs(warmest[2:] - 16) <= 1).all()  # half a year away in the south
    for column, longitude in enumerate(config.longitude):
        local = (cycle[100, :, 1, column].argmax() + longitude / 15) % 24
        assert local == pytest.approx(15, abs=0.5)
    assert cycle.mean((0, 1))[1].mean() > cycle.mean((0, 1))[0].mean() + 10


def test_fields_do_not_depend_on_the_block_or_on_how_many_follow():
    config = Synthetic(shape=(4, 8))
    whole = xr.concat(list(blocks(config, 30, block=30)), TIME)
    assert whole.identical(xr.concat(list(blocks(config, 30, block=7)), TIME))
    assert whole.isel({TIME: slice(11)}).identical(next(blocks(config, 11, block=100)))
    assert not np.array_equal(draw(config, 1), draw(replace(config, seed=1), 1))


def test_a_file_says_that_it_is_made_up_and_how():
    data = next(blocks(Synthetic(nu=3.5), 2, block=2))
    assert "Synthetic" in data.attrs["title"]
    assert "nu 3.5" in data.attrs["comment"]
    assert [data[v].attrs["units"] for v in ("t2m", "u10", "tp")] == ["K", "m s**-1", "m"]
    assert data["tp"].attrs["standard_name"] == "lwe_thickness_of_precipitation_amount"
    assert data["latitude"].values[0] > data["latitude"].values[-1]
    assert {data[c].attrs["standard_name"] for c in data.coords} == {"time", "latitude", "longitude"}


@given(
    st.floats(0.01, 1e3),
    st.floats(-1e3, 1e3),
    st.integers(0, 2**32 - 1),
    st.sampled_from([2.0**-5, 2.0**-18]),
)
def test_packing_truncates_nothing_and_keeps_zero(scale, shift, seed, precision):
    values = (np.random.default_rng(seed).standard_t(2, 50) * scale + shift).astype(np.float32)
    packing = starter.packing(values, precision)
    step, offset = packing["scale_factor"], packing["add_offset"]
    stored = np.rint((values.astype(float) - offset) / step)
    assert np.abs(stored).max() < 32767
    assert np.abs(stored * step + offset - values).max() <= step / 2
    assert (offset / step).is_integer()


def test_the_starter_weather_is_written_in_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(starter, "DAYS", 40)
    for name in ("a.nc", "b.nc"):
        starter.write_weather(tmp_path / name)
    assert (tmp_path / "a.nc").read_bytes() == (tmp_path / "b.nc").read_bytes()
    with xr.open_dataset(tmp_path / "a.nc") as packed:
        plain = next(blocks(starter.WEATHER, 40, block=40))
        for name, precision in starter.PRECISION.items():
            assert np.abs(packed[name] - plain[name]).max() <= 0.501 * precision  # xarray packs in float32
        assert float(packed["tp"].min()) == 0
        assert packed.attrs == plain.attrs


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variables": ("t2m", "rain")}, "unknown variable 'rain': choose one of t2m, tp, u10"),
        ({"nu": 0.0}, "nu is 0.0, but must be above 0"),
        ({"persistence": 1.0}, "persistence is 1.0"),
        ({"shared": 1.5}, "shared is 1.5, but must be from 0 to 1"),
        ({"hours": 0}, "hours is 0, but must be at least 1"),
        ({"box": (60.0, 40.0, 0.0, 10.0)}, "box is .* but must be south, north, west, east"),
    ],
)
def test_settings_that_make_no_field_are_refused(settings, message):
    with pytest.raises(LevyError, match=message):
        Synthetic(**settings)
