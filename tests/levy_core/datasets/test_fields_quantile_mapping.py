"""Quantile mapping: ranks are kept, values become those of the training period, and what was observed is found again."""

import json
from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from levy_core.base.errors import LevyError
from levy_core.base.samples import CORRECTION, RECORDED, Samples
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import FieldsConfig, Variable
from levy_core.datasets.fields.correction import fit_mappings
from levy_core.datasets.fields.events import read_event
from levy_core.datasets.fields.labels import SEASONS, seasons_of
from levy_core.datasets.fields.observed import look_behind, read_observed
from levy_core.datasets.fields.prepare import inspect
from levy_core.datasets.fields.quantile_mapping import QuantileMapping
from tests.support.fields import temperature, write

RNG = np.random.default_rng(0)
NORMAL = RNG.normal(2, 3, 200_000)
RAIN = np.where(RNG.random(100_000) < 0.7, 0.0, RNG.gamma(0.6, 8.0, 100_000))
HEAVY = RNG.standard_t(4, 100_000)


@pytest.mark.parametrize("real", [RAIN, HEAVY, NORMAL], ids=["rain", "heavy", "normal"])
def test_new_values_of_the_model_get_the_law_of_the_real_ones(real):
    """Of 200,000 values a share of 0.001 has a standard error of 7 %; the largest is not told."""
    mapping = QuantileMapping.fit(NORMAL, real)
    mapped = mapping.forward(np.random.default_rng(1).normal(2, 3, 200_000))
    for share in (0.01, 0.25, 0.5, 0.72, 0.9, 0.99, 0.999):
        level = np.quantile(real, share)
        assert (mapped > level).mean() == pytest.approx((real > level).mean(), rel=0.2, abs=2e-4)
        assert (mapped < level).mean() == pytest.approx((real < level).mean(), abs=0.01)
    assert mapped.max() < 3 * np.abs(real).max()


def test_it_is_monotone_and_comes_back_but_from_equal_values():
    x = np.sort(np.concatenate([np.random.default_rng(2).normal(2, 3, 1000), [-50.0, -12.0, 16.0, 60.0]]))
    for real in (RAIN, HEAVY):
        mapping = QuantileMapping.fit(NORMAL, real)
        assert (np.diff(mapping.forward(x)) >= 0).all()
    np.testing.assert_allclose(mapping.inverse(mapping.forward(x)), x, rtol=1e-7, atol=1e-6)
    rain = QuantileMapping.fit(NORMAL, RAIN)
    wet = rain.forward(x) > 1e-3
    np.testing.assert_allclose(rain.inverse(rain.forward(x))[wet], x[wet], rtol=1e-6, atol=1e-6)
    assert rain.forward(rain.inverse(np.array([0.0]))) == 0
    assert stats.norm.cdf(rain.inverse(np.array([0.0])), 2, 3) == pytest.approx(0.35, abs=0.03)  # the middle of the dry
    assert np.isnan(rain.forward(np.array([np.nan]))).all()


def test_nothing_lies_beyond_real_values_that_are_equal_at_their_ends():
    """A cover of cloud, of which a fifth is none at all and a fifth is full."""
    cover = np.random.default_rng(4).normal(0.5, 0.6, 100_000).clip(0, 1)
    mapping = QuantileMapping.fit(NORMAL, cover)
    mapped = mapping.forward(np.append(NORMAL, [-100.0, 100.0]))
    assert (mapped.min(), mapped.max()) == (0, 1)
    for end in (0, 1):
        assert (mapped == end).mean() == pytest.approx((cover == end).mean(), abs=0.005)
    middles = stats.norm.cdf(mapping.inverse(np.array([0.0, 1.0])), 2, 3)  # of the ranks of the equal values
    np.testing.assert_allclose(middles, [(cover == 0).mean() / 2, 1 - (cover == 1).mean() / 2], atol=0.005)
    assert (mapping.forward(mapping.inverse(np.array([0.0, 1.0]))) == [0, 1]).all()
    assert QuantileMapping.from_mapping(json.loads(json.dumps(asdict(mapping)))) == mapping


def test_the_law_of_the_training_period_itself_stays_as_it_is():
    mapping = QuantileMapping.fit(HEAVY, HEAVY)
    x = np.linspace(-30, 30, 601)
    np.testing.assert_allclose(mapping.forward(x), x, rtol=1e-9, atol=1e-9)


def test_it_goes_through_json():
    mapping = QuantileMapping.fit(NORMAL, RAIN)
    assert QuantileMapping.from_mapping(json.loads(json.dumps(asdict(mapping)))) == mapping


WHOLE = asdict(QuantileMapping.fit(NORMAL, RAIN))


@pytest.mark.parametrize(
    "changes",
    [
        {"real": None},
        {"real": WHOLE["real"][:-1]},
        {"generated": WHOLE["generated"][::-1]},
        {"generated": (), "real": ()},
        {"upper": [[1.0], [2.0]]},
        {"upper": "NA"},
        {"lowest": float("nan")},
        {"highest": "x"},
        {"real": (*WHOLE["real"][:-1], float("inf"))},
    ],
)
def test_a_damaged_mapping_is_refused(changes):
    with pytest.raises(LevyError, match=r"a quantile mapping is damaged .*: run the tune stage again"):
        QuantileMapping.from_mapping({**WHOLE, **changes})
    with pytest.raises(LevyError, match="a quantile mapping is damaged"):
        QuantileMapping.from_mapping({key: value for key, value in WHOLE.items() if key != next(iter(changes))})


@pytest.mark.parametrize(
    ("made", "real"),
    [
        (np.ones(100), RAIN),
        (np.array([np.inf, 1.0]), RAIN),
        (np.array([]), RAIN),
        (NORMAL, np.array([])),
        (NORMAL, np.append(RAIN, np.inf)),
        (np.append(np.zeros(1000), 5.0), RAIN),  # all but one of which are equal
    ],
)
def test_values_without_a_law_are_refused(made, real):
    with pytest.raises(LevyError, match="give no quantile mapping: finite values that vary are expected"):
        QuantileMapping.fit(made, real)


T2M = Variable("t2m", "degC")
TP = Variable("tp", "mm day-1", transform="log1p", minimum=0.0, quantile_mapping=True)
PLAIN = Codec((T2M, TP), np.array([10.0, 0.4]), np.array([3.0, 0.8]), np.ones((2, 4, 5), dtype=bool))
DRAWN = np.random.default_rng(3).standard_normal((2000, 2, 4, 5)).astype(np.float32)
REAL = np.stack([RNG.normal(10, 3, (2000, 4, 5)), RAIN[:40_000].reshape(2000, 4, 5)], 1)


def test_a_codec_maps_what_was_asked_for_and_nothing_else(tmp_path):
    mappings = fit_mappings(PLAIN, DRAWN, None, REAL)
    assert list(mappings) == ["tp"]
    codec = PLAIN.corrected(mappings)
    before, after = PLAIN.decode(DRAWN), codec.decode(DRAWN)
    np.testing.assert_array_equal(after[:, 0], before[:, 0])
    assert (before[:, 1] > 1).mean() > 1.5 * (REAL[:, 1] > 1).mean()
    assert (after[:, 1] > 1).mean() == pytest.approx((REAL[:, 1] > 1).mean(), rel=0.02)
    # as the codec of the data set has them
    np.testing.assert_allclose(PLAIN.decode(PLAIN.recode(DRAWN, None, codec)), after, rtol=1e-5, atol=1e-4)
    wet = after[:, 1] > 0.01
    np.testing.assert_allclose(codec.encode(after)[:, 1][wet], DRAWN[:, 1][wet], rtol=1e-4, atol=1e-4)
    codec.save(tmp_path)
    assert Codec.load(tmp_path).variables == PLAIN.variables
    (tmp_path / CORRECTION).write_text(json.dumps(mappings))
    np.testing.assert_array_equal(Codec.load(tmp_path).decode(DRAWN), after)
    which = np.arange(len(DRAWN))
    cells = codec.decode_cells(1, np.array([3, 11]), None)(DRAWN[:, 1].reshape(-1, 20)[:, [3, 11]], which)
    np.testing.assert_allclose(cells, after[:, 1].reshape(-1, 20)[:, [3, 11]])


def test_a_correction_of_other_variables_or_damaged_is_refused(tmp_path):
    mappings = fit_mappings(PLAIN, DRAWN, None, REAL)
    with pytest.raises(LevyError, match="a quantile mapping of wind, but the variables are t2m, tp"):
        PLAIN.corrected({"wind": mappings["tp"]})
    PLAIN.save(tmp_path)
    (tmp_path / CORRECTION).write_text("{}{")
    with pytest.raises(LevyError, match="has no readable codec of fields"):
        Codec.load(tmp_path)


def test_means_of_what_is_mapped_are_not_linear_and_are_seen_in_their_units():
    plain = replace(PLAIN, variables=(T2M, replace(TP, transform="identity")))
    codec = plain.corrected(fit_mappings(plain, DRAWN, None, REAL))
    cells, weights = np.array([[20, 21, 25, 26]]), np.full((1, 4), 0.25)
    behind = look_behind(codec, np.zeros(codec.shape), np.array([1]), cells, weights)
    seen = (behind.inside(DRAWN.reshape(len(DRAWN), -1)[:, cells]) * weights).sum(-1)
    np.testing.assert_allclose(seen, (codec.decode(DRAWN).reshape(len(DRAWN), -1)[:, cells] * weights).sum(-1))
    back = codec.variables[1].mapping.forward(behind.outside(seen) * plain.std[1] + plain.mean[1])
    np.testing.assert_allclose(back[seen > 0.01], seen[seen > 0.01], rtol=1e-6)
    assert look_behind(plain, np.zeros(plain.shape), np.array([1]), cells, weights) is None


SEASONAL = replace(
    PLAIN,
    variables=(T2M, replace(TP, quantile_mapping="season")),
    latitude=np.array([53.0, 52.0, 51.0, 50.0]),
    longitude=np.arange(5.0),
)
DAYS = pd.date_range("2001-01-01", periods=2000).to_numpy()  # of both, in the same order
WETTER = REAL * np.where(seasons_of(DAYS) == "JJA", 3.0, 1.0)[:, None, None, None]


@pytest.fixture(scope="module")
def by_season():
    return fit_mappings(SEASONAL, DRAWN, DAYS, WETTER, seasons=seasons_of(DAYS))


def test_each_season_has_the_mapping_of_its_own_fields_to_the_bit(by_season, tmp_path):
    assert list(by_season) == ["tp"]
    assert list(by_season["tp"]) == list(SEASONS)
    codec, own = SEASONAL.corrected(by_season), seasons_of(DAYS)
    decoded, cells = codec.decode(DRAWN, DAYS), np.array([3, 11])
    flat = DRAWN[:, 1].reshape(-1, 20)[:, cells]
    np.testing.assert_array_equal(
        codec.decode_cells(1, cells, DAYS)(flat, np.arange(2000)), decoded[:, 1].reshape(-1, 20)[:, cells]
    )
    for season in SEASONS:
        rows = own == season
        pooled = PLAIN.corrected(fit_mappings(PLAIN, DRAWN[rows], None, WETTER[rows]))
        np.testing.assert_array_equal(decoded[rows], pooled.decode(DRAWN[rows]))
        np.testing.assert_array_equal(codec.encode(decoded[rows], DAYS[rows]), pooled.encode(decoded[rows]))
        assert decoded[rows, 1].mean() == pytest.approx(WETTER[rows, 1].mean(), rel=0.02)
    plain = replace(PLAIN, latitude=SEASONAL.latitude, longitude=SEASONAL.longitude)
    np.testing.assert_allclose(plain.decode(plain.recode(DRAWN, DAYS, codec)), decoded, rtol=1e-5, atol=1e-4)
    codec.save(tmp_path)
    (tmp_path / CORRECTION).write_text(json.dumps(by_season))
    np.testing.assert_array_equal(Codec.load(tmp_path).decode(DRAWN, DAYS), decoded)


def test_what_was_observed_and_events_are_of_the_season_of_their_time(by_season, tmp_path):
    codec = SEASONAL.corrected(by_season)
    samples = Samples("fields", SEASONS, **RECORDED["fields"], shares=(0.25,) * 4)
    row = {"variable": "tp", "latitude": 51.0, "longitude": 2.0, "value": 9.0, "std": 0.0}
    pd.DataFrame([row]).to_csv(tmp_path / "a.csv", index=False)
    for time, season in (("2019-07-25", "JJA"), ("2019-12-25", "DJF")):
        found = read_observed(tmp_path / "a.csv", codec, samples, {}, time=time)
        mapping = QuantileMapping.from_mapping(by_season["tp"][season])
        expected = (np.log1p(mapping.inverse(np.array([9.0]))) - PLAIN.mean[1]) / PLAIN.std[1]
        np.testing.assert_allclose(found.values, expected)
        x = np.zeros((1, 2, 4, 5), np.float32)
        x[0, 1, 2, 2] = found.values[0]
        assert found.reported.decode(x)[0, 1, 2, 2] == pytest.approx(9.0, rel=1e-5)
    event = read_event("tp mean > 4 mm day-1", codec, samples)
    labels = np.repeat(np.arange(4), 25)
    times, which = event.times(labels), np.arange(100)
    seen = event.measure(times)(DRAWN[:100].reshape(100, -1)[:, event.cells], which)
    areas = np.cos(np.deg2rad(codec.latitude))
    means = (codec.decode(DRAWN[:100], times)[:, 1].mean(2) * areas).sum(1) / areas.sum()
    np.testing.assert_allclose(seen, means)
    assert seen[50:75].mean() > 2 * np.delete(seen, np.s_[50:75]).mean()


def test_seasons_without_times_or_fields_are_refused(by_season, tmp_path):
    codec = SEASONAL.corrected(by_season)
    with pytest.raises(LevyError, match="4 fields with 0 times: values are mapped by season, so each needs its time"):
        codec.decode(DRAWN[:4])
    winters = SEASONAL.corrected({"tp": {"DJF": by_season["tp"]["DJF"]}})
    with pytest.raises(LevyError, match=r"tp is mapped by season, and nothing is known of JJA.* \(it has DJF\)"):
        winters.decode(DRAWN, DAYS)
    with pytest.raises(LevyError, match="a quantile mapping is damaged"):
        SEASONAL.corrected({"tp": {"DJF": {}, "JJA": by_season["tp"]["JJA"]}})
    tp = Variable("t2m", "K", quantile_mapping="season")
    with pytest.raises(LevyError, match="quantile_mapping is 'season', but samples have no season"):
        FieldsConfig((tp,), climatology="hour")
    days = write(tmp_path / "days", temperature(160, freq="D"))
    with pytest.raises(LevyError, match=r"has 4 fields of JJA: a mapping of a season needs at least 50"):
        inspect(days, FieldsConfig((tp,), season="season", train_until="2001-06-04"))
    with pytest.raises(
        LevyError, match=r"has fields of MAM alone, of which one mapping is the same: set quantile_mapping to true"
    ):
        inspect(days, FieldsConfig((tp,), season="season", period=("2001-03-01", "2001-05-31")))


def test_it_is_true_or_false_or_by_season():
    for wrong in ("yes", 1, "month"):
        with pytest.raises(LevyError, match="quantile_mapping of variable 'tp' is"):
            FieldsConfig.from_mapping({"variables": [{"name": "tp", "units": "mm", "quantile_mapping": wrong}]})
    with pytest.raises(LevyError, match="unknown settings mapping of fields"):
        FieldsConfig.from_mapping({"variables": [{"name": "tp", "units": "mm", "mapping": None}]})
