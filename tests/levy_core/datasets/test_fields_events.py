"""Events of fields in words are numbers of fields in physical units, and what makes no sense is refused in a line."""

from dataclasses import replace

import numpy as np
import pytest

from levy_core.base.errors import LevyError
from levy_core.base.samples import RECORDED, Samples
from levy_core.datasets.fields.config import Variable
from levy_core.datasets.fields.events import read_event
from levy_core.datasets.fields.normal_scores import NormalScores
from tests.support.events import LATITUDE, RAIN, T2M, make_codec

ALL = Samples("fields", ("all",), **RECORDED["fields"])
SEASONAL = Samples("fields", ("DJF", "JJA"), **RECORDED["fields"])
CODEC = make_codec()


@pytest.fixture(scope="module")
def drawn():
    """Fields as the network has them, their times, and physical ones as files have them."""
    x = np.random.default_rng(0).standard_normal((6, 2, 4, 4)).astype(np.float32)
    times = read_event("t2m max > 0 degC", CODEC, ALL).times(np.zeros(6, dtype=int))
    values = CODEC.decode(x, times)
    return x, times, np.stack([values[:, 0], values[:, 1].clip(min=0)], 1)


def measured(words, drawn, codec=CODEC):
    event = read_event(words, codec, ALL)
    return event.measure(drawn[1])(drawn[0].reshape(6, -1)[:, event.cells], np.arange(6))


def test_a_value_at_a_place_is_bilinear_between_physical_values(drawn):
    values = drawn[2]
    assert np.allclose(measured("t2m at 52,0 > 38 degC", drawn), values[:, 0, 1, 2])
    assert np.allclose(measured("t2m at 52, 360 > 38 degC", drawn), values[:, 0, 1, 2])
    between = (values[:, 1, 1, 1] + values[:, 1, 1, 2] + values[:, 1, 2, 1] + values[:, 1, 2, 2]) / 4
    assert np.allclose(measured("tp at 51,-1.0 > 5 mm day-1", drawn), between)


def test_each_field_has_the_cycle_of_its_own_time(drawn):
    event, turned = read_event("t2m at 52,0 > 38 degC", CODEC, ALL), np.array([5, 0, 0, 3, 2, 1])
    expected = CODEC.decode(drawn[0], drawn[1][turned])[:, 0, 1, 2]
    assert np.array_equal(event.measure(drawn[1])(drawn[0].reshape(6, -1)[:, event.cells], turned), expected)


def test_means_are_weighted_by_area_over_all_cells_or_a_box_with_its_order_as_one_likes(drawn):
    values, area = drawn[2], np.cos(np.deg2rad(LATITUDE))
    assert np.allclose(measured("tp mean > 5 mm day-1", drawn), (values[:, 1].mean(2) * area).sum(1) / area.sum())
    inner = (values[:, 0, 1:3, 1:].mean(2) * area[1:3]).sum(1) / area[1:3].sum()
    for box in ("50..52,-2..2", "52..50,-2..2", "49.1..53,358..362"):
        assert np.allclose(measured(f"t2m mean of {box} > 5 degC", drawn), inner)


def test_a_box_of_one_longitude_is_its_column(drawn):
    assert np.allclose(measured("t2m max of 49..55,-2..-2 > 5 degC", drawn), drawn[2][:, 0, :3, 1].max(1))


def test_extremes_are_those_of_all_cells_that_have_values(drawn):
    values = drawn[2]
    assert np.allclose(measured("t2m max > 30 degC", drawn), values[:, 0].max((1, 2)))
    assert np.allclose(measured("t2m min of 53..55,-5..3 < -5 degC", drawn), values[:, 0, 0].min(1))
    valid = np.ones((2, 4, 4), dtype=bool)
    valid[:, 0] = False
    assert np.allclose(measured("t2m max > 30 degC", drawn, replace(CODEC, valid=valid)), values[:, 0, 1:].max((1, 2)))


def test_stations_are_named(drawn):
    names = ("London", "Oslo", "Bergen", "Rome")
    stations = replace(
        CODEC, latitude=None, longitude=None, climatology=None, valid=np.ones((2, 1, 4), dtype=bool), places=names
    )
    x = drawn[0][:, :, :1]
    event = read_event("t2m at Oslo > 30 degC", stations, ALL)
    assert np.allclose(
        event.measure(None)(x.reshape(6, -1)[:, event.cells], np.arange(6)), stations.decode(x)[:, 0, 0, 1]
    )
    assert event.times(np.zeros(6, dtype=int)) is None


@pytest.mark.parametrize(
    ("words", "threshold", "above"),
    [
        ("t2m max > 38 degC", 38, True),
        ("t2m max > 311.15 K", 38, True),
        ("t2m max > 1.004e2 degF", 38, True),
        ("  t2m   max<-5.5degC ", -5.5, False),
        ("tp mean > 1 m day-1", 1000, True),
        ("tp mean > 1e-4 kg m-2 s-1", 8.64, True),
    ],
)
def test_units_become_those_of_the_model(words, threshold, above):
    event = read_event(words, CODEC, ALL)
    assert event.threshold == pytest.approx(threshold)
    assert event.above is above


def test_a_moment_says_the_season_and_is_that_of_every_sample():
    event = read_event("t2m max > 30 degC", CODEC, SEASONAL, "2019-07-25T12")
    assert event.label == 1
    assert {(t.month, t.day, t.hour) for t in event.times(np.zeros(5, dtype=int))} == {(7, 25, 12)}
    assert event.text == "t2m max > 30 degC at 2019-07-25 12:00:00"
    of_year = read_event("t2m max > 30 degC", CODEC, SEASONAL)
    assert of_year.label is None
    assert {t.month for t in of_year.times(np.full(40, 1))} == {6, 7, 8}


def test_a_moment_says_no_season_to_a_model_that_was_never_told_any_and_names_who_asks_where_it_cannot():
    words = "t2m max > 30 degC"
    assert read_event(words, CODEC, replace(SEASONAL, label_dropout=1.0), "2019-05-02").label is None
    with pytest.raises(LevyError, match=r"the event 't2m max > 30 degC': 2019-05-02 .*lies in MAM"):
        read_event(words, CODEC, SEASONAL, "2019-05-02")
    with pytest.raises(
        LevyError, match="the event 't2m max > 30 degC': the model's classes calm, storm are no seasons"
    ):
        read_event(words, CODEC, replace(SEASONAL, classes=("calm", "storm")), "2019-05-02")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("warm", r"the event 'warm' cannot be read: VARIABLE \[at LAT,LON"),
        ("t2m max > 38", "has no units: write them as in 'degC'"),
        ("t2m max > 38 C", "degrees Celsius or coulombs"),
        ("t2m max > 38 mm", "the threshold is given in 'mm', which cannot become 'degC'"),
        ("t2m max > 38 quux", "has units 'quux', which are not known"),
        ("snow max > 3 m", "is of 'snow': the model has t2m, tp"),
        ("t2m > 38 degC", "says of no place where"),
        ("t2m at 52,1e9 > 38 degC", r"lies at longitude 1e\+09, but -180 to 360 degrees are expected"),
        ("t2m median > 38 degC", "cannot be read at 'median'"),
        ("t2m mean of 50..52 > 38 degC", "cannot be read at 'mean of 50..52'"),
        ("t2m at London > 38 degC", "cannot be read at 'at London'"),
        ("t2m at 70,0 > 38 degC", r"lies at latitude 70, longitude 0, outside the model's fields"),
        ("t2m at 52,30 > 38 degC", "outside the model's fields"),
        (
            "t2m mean of 10..20,0..2 > 38 degC",
            r"no cell of the model's fields lies \(latitude 48 to 54, longitude -4 to 2\)",
        ),
        ("t2m mean of 50..52,180..-180 > 38 degC", r"all around the globe is -180\.\.180"),
        ("tp max < 0 mm day-1", "cannot happen: tp is 0 mm day-1 or more"),
        ("tp max > -1 mm day-1", "always happens"),
        ("t2m max > 380 degC", "cannot be meant: 380 degC is beyond what air_temperature is anywhere, 130 to 350 K"),
    ],
)
def test_what_is_no_event_of_the_model_is_refused(words, message):
    with pytest.raises(LevyError, match=message):
        read_event(words, CODEC, ALL)


def test_places_and_times_that_the_model_does_not_have_are_refused():
    gone = np.ones((2, 4, 4), dtype=bool)
    gone[0, 1, 2] = False
    with pytest.raises(LevyError, match="lies where the model's fields have no values of t2m"):
        read_event("t2m at 52,0 > 38 degC", replace(CODEC, valid=gone), ALL)
    tiles = replace(CODEC, latitude=None, longitude=None, climatology=None)
    with pytest.raises(LevyError, match="ask for mean, max or min"):
        read_event("t2m at 52,0 > 38 degC", tiles, ALL)
    with pytest.raises(LevyError, match="does not know where its fields lie: leave it out"):
        read_event("t2m max of 50..52,0..2 > 38 degC", tiles, ALL)
    with pytest.raises(LevyError, match="the time 2019-07-25 is given, but the model's fields do not depend on it"):
        read_event("t2m max > 38 degC", tiles, ALL, "2019-07-25")
    with pytest.raises(LevyError, match="none of the model's calendar"):
        read_event("t2m max > 38 degC", CODEC, ALL, "soon")
    with pytest.raises(LevyError, match="'Lima': the model has Rome"):
        read_event("t2m at Lima > 38 degC", replace(tiles, valid=np.ones((2, 1, 1), dtype=bool), places=("Rome",)), ALL)


def test_a_variable_whose_lowest_values_are_equal_is_never_below_them():
    values = np.concatenate([np.zeros(500), np.random.default_rng(0).exponential(5, 500)])
    rain = Variable("rain", "mm day-1", transform="normal-score", scores=NormalScores.fit(values))
    with pytest.raises(LevyError, match="cannot happen: rain is 0 mm day-1 or more"):
        read_event("rain max < -1 mm day-1", replace(CODEC, variables=(T2M, rain)), ALL)
    assert read_event("tp max > 0 mm day-1", replace(CODEC, variables=(T2M, RAIN)), ALL).threshold == 0
