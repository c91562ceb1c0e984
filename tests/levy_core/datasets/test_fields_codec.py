"""Transforms, units, climatologies and the codec: exact both ways, equal to closed forms and to trusted libraries."""

import itertools
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from levy_core.base.errors import LevyError
from levy_core.datasets.fields.climatology import Climatology, Fit, design
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import FieldsConfig, Variable
from levy_core.datasets.fields.normal_scores import NormalScores
from levy_core.datasets.fields.transforms import TRANSFORMS
from levy_core.datasets.fields.units import Conversion, conversion, conversion_from

RAIN = Variable("tp", "mm day-1", transform="log1p", minimum=0.0, scale=0.5)
T2M = Variable("t2m", "degC")


SCORES = NormalScores.fit(np.random.default_rng(0).gamma(0.5, 20, 10_000))


def parameters(scale, exponent):
    return SimpleNamespace(scale=scale, exponent=exponent, scores=SCORES)


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(sorted(TRANSFORMS)),
    values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20),
    scale=st.floats(1e-3, 1e3),
    exponent=st.floats(0.1, 3),
)
def test_every_transform_is_inverted_to_the_last_digits(name, values, scale, exponent):
    x = np.array(values)
    if name == "log1p":
        x = np.abs(x)
    x[np.abs(x) < 1e-9] = 0  # powers of smaller numbers leave the range of float64
    of = parameters(scale, exponent)
    there = TRANSFORMS[name].forward(x, of)
    close = {"rtol": 1e-9, "atol": 1e-6} if name == "normal-score" else {"rtol": 1e-12, "atol": 1e-15}
    assert np.allclose(TRANSFORMS[name].inverse(there, of), x, **close)


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(sorted(TRANSFORMS)), a=st.floats(0, 1e6), b=st.floats(0, 1e6), scale=st.floats(1e-3, 1e3))
def test_every_transform_keeps_order(name, a, b, scale):
    low, high = TRANSFORMS[name].forward(np.array(sorted([a, b])), parameters(scale, 0.5))
    assert low <= high


LAWS = {
    "temperature": lambda rng: 280 + 5 * rng.standard_normal(100_000),
    "rain, dry on most days": lambda rng: np.maximum(rng.standard_t(4, 100_000) - 0.5, 0),
    "heavy tails": lambda rng: rng.standard_t(3, 100_000),
    "bounded": lambda rng: rng.random(100_000),
    "packed": lambda rng: np.round(3 * rng.standard_normal(100_000)),
}


@pytest.mark.parametrize("name", LAWS)
def test_normal_scores_are_normal_and_give_the_values_back(name):
    x = LAWS[name](np.random.default_rng(1))
    scores = NormalScores.fit(np.append(x, np.nan))
    z = scores.forward(x)
    assert np.abs(scores.inverse(z) - x).max() < 1e-9 * np.abs(x).max()
    above = x > np.quantile(x, 0.7)  # beyond the dry days
    if name != "packed":  # whose ranks are those of many equal values
        found = np.searchsorted(np.sort(z[above]), stats.norm.ppf([0.9, 0.95, 0.99])) / above.sum()
        assert found == pytest.approx(1 - (1 - np.array([0.9, 0.95, 0.99])) / above.mean(), abs=0.02)
    beyond = np.array([3 * x.max() + 10, 100 * x.max() + 10])  # values that training never saw
    assert np.allclose(scores.inverse(scores.forward(beyond)), beyond, rtol=1e-9)
    assert scores.forward(beyond)[0] > z.max()
    if name == "rain, dry on most days":
        assert (x == 0).mean() > 0.6
        assert np.unique(z[x == 0]).size == 1
        assert (scores.inverse(np.linspace(-8, z[x == 0][0], 50)) == 0).all()  # a dry day, however low the score


def test_normal_scores_have_nothing_beyond_highest_values_that_are_equal():
    """A cover of cloud, of which a fifth is full."""
    cover = np.random.default_rng(3).normal(0.5, 0.6, 100_000).clip(0, 1)
    scores = NormalScores.fit(cover)
    drawn = scores.inverse(np.random.default_rng(4).standard_normal(100_000))
    assert (drawn.min(), drawn.max()) == (0, 1)
    assert drawn.mean() == pytest.approx(cover.mean(), abs=0.01)
    assert scores.inverse(scores.forward(np.array([0.0, 1.0]))).tolist() == [0, 1]


def test_normal_scores_have_the_tail_that_was_there():
    x = np.random.default_rng(2).standard_t(3, 1_000_000)
    far = NormalScores.fit(x).inverse(stats.norm.isf([1e-3, 1e-5]))
    # a generalised Pareto law from the 95 % quantile on is not quite the t's: measured -0.001 and -0.15 in logarithms
    assert np.log(far) == pytest.approx(np.log(stats.t.isf([1e-3, 1e-5], 3)), abs=0.25)
    assert NormalScores.fit(-x).inverse(stats.norm.ppf(1e-5)) == pytest.approx(-far[1], rel=1e-6)


def test_signed_log_is_odd_and_log1p_where_that_exists():
    x, of = np.linspace(-5, 5, 11), parameters(0.5, 0.5)
    there = TRANSFORMS["signed-log"].forward(x, of)
    assert np.array_equal(there, -there[::-1])
    assert np.array_equal(there[5:], TRANSFORMS["log1p"].forward(x[5:], of))


UNITS = [
    ("K", "degC", {}, 273.15, 0.0),
    ("degC", "K", {}, -273.15, 0.0),
    ("Celsius", "K", {}, 0.0, 273.15),
    ("degrees_C", "degF", {}, 100.0, 212.0),
    ("K", "K", {}, 281.3, 281.3),
    ("m", "mm", {}, 0.002, 2.0),
    ("kg m-2", "mm", {}, 2.0, 2.0),
    ("m of water equivalent", "kg m-2", {}, 0.002, 2.0),
    ("kg m-2 s-1", "mm day-1", {}, 1.0, 86400.0),
    ("kg m**-2 s**-1", "mm s-1", {}, 1.0, 1.0),
    ("mm s-1", "mm day-1", {}, 1.0, 86400.0),
    ("mm/h", "kg m-2 s-1", {}, 3600.0, 1.0),
    ("mm day-1", "m s-1", {}, 86.4e6, 1.0),
    ("m", "mm day-1", {"accumulated": "1h"}, 0.001, 24.0),
    ("m", "mm h-1", {"accumulated": "6h"}, 0.006, 1.0),
    ("kg m-2", "mm day-1", {"accumulated": "3h"}, 1.0, 8.0),
    ("J m**-2", "W m-2", {"accumulated": "1h"}, 3600.0, 1.0),
    ("Pa", "hPa", {}, 101325.0, 1013.25),
    ("millibars", "Pa", {}, 1.0, 100.0),
    ("m s**-1", "km h-1", {}, 10.0, 36.0),
    ("m**2 s**-2", "m2 s-2", {}, 5.0, 5.0),
    ("%", "1", {}, 50.0, 0.5),
    ("(0 - 1)", "%", {}, 0.5, 50.0),
    ("degree", "degree", {}, 90.0, 90.0),
    (None, "K", {"source_units": "degC"}, 0.0, 273.15),
    ("1", "%", {"source_units": "1"}, 0.5, 50.0),
    ("1", "%", {"source_units": "%"}, 50.0, 50.0),
]


@pytest.mark.parametrize(("source", "target", "said", "before", "after"), UNITS)
def test_units_become_each_other(source, target, said, before, after):
    convert = conversion(Variable("x", target, **said), source, "a.nc")
    assert convert(np.array([before], dtype=np.float32 if before == 281.3 else np.float64))[0] == pytest.approx(
        after, rel=1e-7, abs=1e-9
    )


def test_equal_units_leave_the_bits_alone():
    values = np.random.default_rng(0).normal(280, 10, 1000).astype(np.float32)
    assert np.array_equal(conversion(Variable("x", "K"), "kelvin", "a.nc")(values), values)
    assert conversion(Variable("x", "K"), "kelvin", "a.nc") == Conversion()


TIMES = {
    "hours of two years": pd.date_range("2001-01-01", "2002-12-31T23", freq="h").to_numpy(),
    "360-day years": xr.date_range(
        "2001-01-01", periods=720 * 4, freq="6h", calendar="360_day", use_cftime=True
    ).to_numpy(),
}


@pytest.mark.parametrize("name", ["C", "K", "F", "Celsius", "celsius", "Kelvin", "Fahrenheit"])
@pytest.mark.parametrize(
    "degree", ["degrees ", "degree ", "deg ", "Degrees ", "deg. ", "degrees_", "degrees", "deg", "°", "° "]
)
def test_degrees_of_temperature_are_no_angles_however_they_are_written(degree, name):
    kelvin = {"C": Conversion(1.0, 273.15), "K": Conversion(), "F": Conversion(5 / 9, 459.67 * 5 / 9)}[name[0].upper()]
    for text in [degree + name] + [name] * (len(name) > 1):
        found = conversion_from(text, "K", "x")
        assert np.allclose([found.factor, found.offset], [kelvin.factor, kelvin.offset], rtol=1e-14)
    rate = conversion_from(f"{degree}{name} day-1", "K day-1", "x")
    assert rate.offset == 0
    assert np.isclose(rate.factor, kelvin.factor)


def test_units_that_would_need_a_guess_become_nothing():
    """Angles are no numbers, pressures no water, months no length; logarithms are not linear, and differences no temperatures."""
    for source, target in (
        ("m degree", "m"), ("rad s-1", "s-1"), ("degree", "1"), ("degree K", "degree m"), ("m2 s-2", "hPa"), ("kg m-3", "1"),
        ("mm month-1", "mm day-1"), ("dB", "1"), ("1", "dB"), ("delta_degC", "degC"), ("degC day-1", "degC"),
    ):  # fmt: skip
        with pytest.raises(LevyError, match=f"cannot become {target!r}"):
            conversion_from(source, target, "x")
        for accumulated in (None, "1h"):
            with pytest.raises(LevyError, match=repr(source)):
                conversion(Variable("x", target, accumulated=accumulated), source, "a.nc")
    with pytest.raises(LevyError, match="28 to 31 days"):
        conversion(Variable("pr", "mm day-1"), "mm/month", "a.nc")
    assert conversion_from("mm/month", "mm month-1", "x") == Conversion()


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("kind", ["none", "day", "hour", "day-hour"])
def test_a_climatology_of_its_own_form_is_found_exactly_whatever_the_blocks(times, kind):
    times, rng = TIMES[times], np.random.default_rng(0)
    terms = design(kind, times)
    assert terms.shape[1] == {"none": 1, "day": 7, "hour": 5, "day-hour": 19}[kind]
    truth = rng.standard_normal((terms.shape[1], 6))
    values = terms @ truth
    for size in (len(times), 977):
        fit = Fit(terms.shape[1], 6)
        for a in range(0, len(times), size):
            fit.add(terms[a : a + size], values[a : a + size])
        found, residuals = fit.solve()
        assert np.allclose(terms @ found, values, atol=1e-8)
        assert abs(residuals).max() < 1e-6


@pytest.mark.parametrize("cuts", [(), (1400, 2700)])  # spans in which some cells have no value at all
def test_a_climatology_with_gaps_is_that_of_least_squares_cell_by_cell(cuts):
    times = TIMES["hours of two years"][::5]
    rng, terms = np.random.default_rng(1), design("day", times)
    values = rng.standard_normal((len(times), 8)) + terms @ rng.standard_normal((7, 8))
    values[rng.random(values.shape) < 0.05] = np.nan
    values[:1500, 1] = np.nan  # begins late
    values[:, 2] = np.nan  # never there
    values[:, 3] = np.where(np.isnan(values[:, 3]), 0, values[:, 3])  # never missing
    values[-900:, 4] = np.nan  # ends early
    fit = Fit(7, 8)
    for first, last in itertools.pairwise((0, *cuts, len(times))):
        span = Fit(7, 8)
        for a in range(first, last, 611):
            span.add(terms[a : min(a + 611, last)], values[a : min(a + 611, last)])
        fit.merge(span)
    found, residuals = fit.solve()
    total = 0.0
    for cell in range(8):
        there = ~np.isnan(values[:, cell])
        if there.any():
            expected, squares, *_ = np.linalg.lstsq(terms[there], values[there, cell], rcond=None)
            assert np.allclose(found[:, cell], expected, atol=1e-9)
            total += squares.item()
    assert np.all(found[:, 2] == 0)
    assert residuals.sum() == pytest.approx(total, rel=1e-9)
    assert np.array_equal(fit.count, (~np.isnan(values)).sum(0))


def test_terms_that_few_fields_a_day_do_not_tell_apart_are_harmless():
    times = TIMES["360-day years"]  # 4 per day: the second sine of the day is 0 at all of them
    fit = Fit(5, 1)
    hour = np.tile([0.0, 3.0, -1.0, 2.0], len(times) // 4)
    fit.add(design("hour", times), hour[:, None])
    found, residuals = fit.solve()
    assert np.allclose(design("hour", times) @ found, hour[:, None], atol=1e-9)
    assert abs(found).max() < 10
    assert abs(residuals).max() < 1e-6


def codec(kind=None, **changes):
    rng = np.random.default_rng(0)
    valid = np.ones((2, 3, 4), dtype=bool)
    valid[1, 0, 0] = False
    cycle = (
        None
        if kind is None
        else Climatology(kind, rng.standard_normal((2, design(kind, TIMES["hours of two years"][:1]).shape[1], 3, 4)))
    )
    parts = {
        "variables": (T2M, RAIN),
        "mean": np.array([9.0, 0.7]),
        "std": np.array([5.0, 0.8]),
        "valid": valid,
        "latitude": np.array([52.0, 51.0, 50.0]),
        "longitude": np.array([0.0, 1.0, 2.0, 3.0]),
        "climatology": cycle,
        "attributes": ({"standard_name": "air_temperature"}, {"long_name": "rain"}),
    }
    return Codec(**{**parts, **changes})


def physical(n, seed=0):
    rng = np.random.default_rng(seed)
    values = np.stack([rng.normal(9, 5, (n, 3, 4)), rng.exponential(4, (n, 3, 4))], axis=1)
    values[:, 1, 0, 0] = np.nan
    return values


@pytest.mark.parametrize("kind", [None, "day", "day-hour"])
def test_decoding_undoes_encoding(kind):
    times, values = TIMES["hours of two years"][:50], physical(50)
    it = codec(kind)
    x = it.encode(values, times)
    assert x.dtype == np.float32
    assert np.allclose(it.decode(x, times), values, rtol=1e-5, atol=1e-5, equal_nan=True)  # float32 in between
    assert np.isnan(it.decode(np.zeros_like(x), times)).sum() == 50  # the cell that is always missing


@pytest.mark.parametrize("per_cell", [False, True])
@pytest.mark.parametrize("transform", ["identity", "log1p", "signed-log", "power", "asinh", "normal-score"])
def test_dry_cells_come_back_dry_and_what_is_above_stays_above(transform, per_cell):
    """Without it half of them would have 1e-7 mm, as float32 rounds, once a cycle was taken off: samples and files counted as dry half as often."""
    scores = NormalScores.fit(physical(500)[:, 1]) if transform == "normal-score" else None
    rain = replace(RAIN, transform=transform, exponent=0.5, scores=scores)
    std = np.random.default_rng(0).uniform(0.2, 2, (2, 3, 4)) if per_cell else np.array([5.0, 0.8])
    mean = np.ones((2, 3, 4)) if per_cell else np.array([9.0, 0.7])
    it, times, values = (
        codec("day", variables=(T2M, rain), std=std, mean=mean),
        TIMES["hours of two years"][:400],
        physical(400),
    )
    dry = np.random.default_rng(1).random((400, 3, 4)) < 0.6
    values[:, 1][dry] = np.where(np.isnan(values[:, 1][dry]), np.nan, 0.0)
    x = it.encode(values, times)
    found, seen = it.decode(x, times)[:, 1], ~np.isnan(values[:, 1])
    assert np.array_equal(found[seen] == 0, values[:, 1][seen] == 0)
    assert (it.unbounded(x, times)[:, 1][seen & dry] > 0).mean() > 0.2  # what is not in question: rounding does it
    cells = np.flatnonzero(it.valid[1])
    some = it.decode_cells(1, cells, times)(x[:, 1].reshape(400, -1)[:, cells].astype(np.float64), np.arange(400))
    assert np.array_equal(some == 0, values[:, 1].reshape(400, -1)[:, cells] == 0)


def test_equal_lowest_values_above_the_minimum_are_not_taken_for_it():
    """Freezing sea water is 271.35 K in a third of the cells, and the minimum, of a variable in K, is 0."""
    sst = np.maximum(np.random.default_rng(0).normal(273, 3, (300, 1, 3, 4)), 271.35)
    water = Variable("sst", "K", transform="normal-score", minimum=0.0, scores=NormalScores.fit(sst))
    it = Codec((water,), np.zeros(1), np.ones(1), np.ones((1, 3, 4), dtype=bool))
    found = it.decode(it.encode(sst))
    assert found.min() == 271.35
    assert np.allclose(found, sst, atol=1e-3)
    some = it.decode_cells(0, np.arange(12), None)(np.full((1, 12), -3.0), np.zeros(1, dtype=int))
    assert (some == 271.35).all()


def test_values_are_raised_to_the_minimum_and_nothing_else_is_clamped():
    it = codec()
    x = np.full((1, 2, 3, 4), -9.0, dtype=np.float32)
    assert it.decode(x)[0, 0].max() == 9 - 45  # degC
    assert it.decode(x)[0, 1, 1].max() == 0  # 0.5 (exp(0.7 - 7.2) - 1) mm/day without a minimum
    unbounded = replace(it, variables=(it.variables[0], replace(it.variables[1], transform="signed-log", minimum=None)))
    assert unbounded.decode(x)[0, 1, 1].max() < 0
    assert it.decode(-20 * x)[0, 1, 1, 1] > 1e60


def test_anomalies_are_transformed_values_without_the_climatology():
    values, times = physical(20), TIMES["hours of two years"][:20]
    seasonal = codec("day")
    assert seasonal.units == ("degC", "mm day-1")
    anomalies = seasonal.anomalies(seasonal.encode(values, times))
    expected = np.stack([values[:, 0], np.log1p(values[:, 1] / 0.5)], axis=1) - seasonal.climatology.at(times)
    assert np.allclose(anomalies, expected, atol=1e-5, equal_nan=True)
    assert seasonal.anomaly_units == ("K", "log1p of mm day-1")


def test_wrong_shapes_and_missing_times_are_refused():
    with pytest.raises(LevyError, match=r"\[N, 2, 3, 4\] is expected"):
        codec().encode(np.zeros((5, 2, 4, 3)))
    with pytest.raises(LevyError, match="5 fields with 0 times"):
        codec("day").decode(np.zeros((5, 2, 3, 4)))


@pytest.mark.parametrize("form", ["grid", "places"])
def test_a_codec_is_the_same_after_saving(form, tmp_path):
    it = codec("day-hour")
    if form == "places":
        located = {
            "latitude": None,
            "longitude": None,
            "places": ("a", "b", "ü", "d"),
            "locations": np.arange(8.0).reshape(2, 4),
        }
        it = codec(
            "day",
            valid=np.ones((2, 1, 4), dtype=bool),
            climatology=Climatology("day", np.ones((2, 7, 1, 4))),
            calendar="noleap",
            **located,
        )
    it.save(tmp_path)
    again = Codec.load(tmp_path)
    for name in ("variables", "places", "calendar", "attributes", "names", "shape"):
        assert getattr(again, name) == getattr(it, name)
    for name in ("mean", "std", "valid", "latitude", "longitude", "locations"):
        mine, theirs = getattr(it, name), getattr(again, name)
        assert (mine is None and theirs is None) or (np.array_equal(mine, theirs) and mine.dtype == theirs.dtype)
    assert again.climatology.kind == it.climatology.kind
    assert np.array_equal(again.climatology.coefficients, it.climatology.coefficients)
    first = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    again.save(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == first


def test_a_damaged_codec_is_refused(tmp_path):
    with pytest.raises(LevyError, match="again"):
        Codec.load(tmp_path)
    codec().save(tmp_path)
    (tmp_path / "codec.json").write_text("{}")
    with pytest.raises(LevyError, match="prepare"):
        Codec.load(tmp_path)


@pytest.mark.parametrize(
    ("longitude", "wraps"),
    [
        (np.arange(0, 360, 2.5), True),
        (np.arange(-180, 180, 1.0), True),
        (np.arange(0, 357, 2.5), False),
        (np.array([3.0]), False),
    ],
)
def test_it_knows_whether_fields_go_round_the_globe(longitude, wraps):
    it = codec(longitude=longitude, latitude=np.array([0.0]), valid=np.ones((2, 1, len(longitude)), dtype=bool))
    assert it.wraps is wraps


def test_settings_survive_json():
    settings = FieldsConfig((T2M, RAIN), box=(1, 2, 3, 4), period=("2001", "2002"), patch=(3, 4), gap="1D")
    assert FieldsConfig.from_mapping(json.loads(json.dumps(settings.to_mapping()))) == settings
    with pytest.raises(LevyError, match=r"unknown settings boks.*box"):
        FieldsConfig.from_mapping({"variables": [], "boks": 1})
