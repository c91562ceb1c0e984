"""`levy event`: members of an event whose probability is known, with files that say where they are from, and refusals in a line."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from typer.testing import CliRunner

from flows import cli
from levy_core.base.errors import LevyError
from levy_core.datasets.fields.events import read_event
from levy_core.serving.registered import RegisteredModel
from tests.support.events import SAMPLES, make_codec, save_fields
from tests.support.registered import register, registry_in

WORDS = "t2m at 52,0 > 26 degC"


@pytest.fixture(scope="module")
def weather(tmp_path_factory):
    """A folder with a registry in which the fields of ``tests.support.events`` are levy-weather."""
    folder = tmp_path_factory.mktemp("weather")
    with registry_in(folder):
        register(folder, save=save_fields, name="levy-weather")
        yield folder


def ask(folder, *options, out="out"):
    answer = CliRunner().invoke(cli.app, ["event", str(folder / out), *options])
    if answer.exception and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    return answer


def test_members_are_in_the_event_and_its_probability_is_that_of_the_law(weather):
    answer = ask(weather, "--where", WORDS, "-n", "12", "--particles", "600", "--time", "2019-07-02T12", "--seed", "1")
    assert answer.exit_code == 0
    said, curve = json.loads((weather / "out/event.json").read_text()), pd.read_csv(weather / "out/thresholds.csv")
    with xr.open_dataset(weather / "out/samples.nc") as members:
        here = members.t2m.sel(latitude=52, longitude=0)
        assert here.sizes == {"realization": 12}
        assert float(here.min()) > 26
        assert len(np.unique(here)) == 12
        assert set(members.time.dt.strftime("%m-%d %H").values) == {"07-02 12"}
        about = members.attrs
    # The middle of July is 10 degC warmer than the mean of 10 degC, with a deviation of 3 degC.
    true = stats.norm.sf(2.0)
    assert said["probability"] == pytest.approx(true, rel=0.35)
    assert said["low"] < said["probability"] < said["high"]
    assert said["return_period"] == pytest.approx(1 / said["probability"])
    assert said["return_years"][0] == pytest.approx(said["return_period"])  # one such moment per year
    assert about["levy_event"] == said["event"] == WORDS + " at 2019-07-02 12:00:00"
    assert float(about["levy_probability"]) == pytest.approx(said["probability"], rel=1e-5)
    assert f"given {WORDS}" in about["comment"]
    assert json.loads(about["levy_sampler"])["family"] == "sde-e"
    assert about["levy_seed"] == "1"
    assert any(key.startswith("levy_") and "levy-weather" in value for key, value in about.items())
    assert curve.probability.is_monotonic_decreasing
    assert curve.threshold.is_monotonic_increasing
    assert 26 in set(curve.threshold)
    assert "with 1 independent sample per year" in answer.output
    assert re.search(r"return period: [\d,.]+ independent samples", answer.output)
    assert f"effective sample size: {said['effective']:.0f} of 600 particles; 12 members come from" in answer.output
    assert said["sampler"] == "SDE-E(0.5) 3m-data, 40 evaluations"
    named = f"of the model as drawn by {said['sampler']}; `levy sample` draws by {said['default_sampler']}, whose extremes may differ: "
    assert named + "docs/events.md\n" in answer.output


def test_in_python_rare_cold_of_a_season_comes_with_years_where_they_are_said(weather, tmp_path):
    model = RegisteredModel(weather / "model")
    request = {"n": 5, "class": "DJF", "seed": 1, "steps": 20}
    found = model.event(request, "t2m at 52,0 < -4 degC", tmp_path, 400, per_year=20)
    assert found.return_years[0] == pytest.approx(found.return_period / 20)
    assert "with 20 independent samples per year" in str(found)
    days = read_event(found.event, codec := make_codec(), SAMPLES).times(np.zeros(40, dtype=int))
    usual = codec.decode(np.zeros((40, 2, 4, 4), dtype=np.float32), days)[:, 0, 1, 2]
    assert found.low < stats.norm.cdf((-4 - usual) / 3).mean() < found.high  # of a free seed in 9 of 10 runs
    with xr.open_dataset(tmp_path / "samples.nc") as members:
        assert float(members.t2m.sel(latitude=52, longitude=0).max()) < -4
        assert set(members.time.dt.month.values) <= {12, 1, 2}
    curve = [row["probability"] for row in found.thresholds]
    assert curve == sorted(curve, reverse=True)
    assert found.thresholds[0]["threshold"] > -4  # the mildest first


def test_rain_is_steered_on_the_scale_of_its_logarithm(weather, tmp_path):
    request = {"n": 10, "seed": 0}  # with 20 steps the tail would be 1.3 times as heavy
    found = RegisteredModel(weather / "model").event(request, "tp max > 40 mm day-1", tmp_path, 1000)
    assert found.low < 1 - stats.norm.cdf(np.log1p(40) - 0.5) ** 16 < found.high  # of a free seed in 9 of 10 runs
    assert len(found.thresholds) > 4
    with xr.open_dataset(tmp_path / "samples.nc") as members:
        assert float(members.tp.max(("latitude", "longitude")).min()) > 40


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--where", "warm"), "the event 'warm' cannot be read"),
        (("--where", "snow max > 3 m"), "the model has t2m, tp"),
        (("--where", "t2m at 70,0 > 30 degC"), "outside the model's fields"),
        (("--where", "t2m max > 30 mm"), "cannot become 'degC'"),
        (("--where", "tp max < 0 mm day-1"), "cannot happen"),
        (
            ("--where", "t2m max > 76 degC", "--particles", "200", "--steps", "10"),
            "do not reach the event|the equivalent of",
        ),
        (
            ("--where", "t2m at 52,0 > 34 degC", "--particles", "200", "--steps", "20"),
            "raise the particles or the steps",
        ),
        (
            ("--where", WORDS, "-n", "390", "--particles", "400", "--steps", "20"),
            "390 members of the event are asked for, but",
        ),
        (("--where", WORDS, "--particles", "405"), "405 particles are asked for, .* give 400 or 410"),
        (
            ("--where", WORDS, "--particles", "1000000000000"),
            "1,000,000,000,000 particles are asked for, but the memory that is free holds",
        ),
        (("--where", WORDS, "--steps", "1000000000"), "steps is 1,000,000,000, but 100,000 are the most"),
        (("--where", WORDS, "--particles", "100"), "100 particles are asked for, .* give at least 200"),
        (
            ("--where", WORDS, "--eta", "0"),
            "eta is 0, so that no noise comes back and copies of a particle would stay copies",
        ),
        (("--where", WORDS, "--per-year", "-1"), "samples per year are -1, but must be a positive number"),
        (
            ("--where", WORDS, "--time", "2019-07-02", "--per-year", "9"),
            "the time says the season, and comes once per year",
        ),
        (("--where", WORDS, "--time", "2019-07-02", "--class", "JJA"), "the time says the season"),
        (
            ("--where", WORDS, "--time", "2019-05-02"),
            "2019-05-02 lies in MAM, of which the model knows nothing: it has DJF, JJA",
        ),
        (("--where", WORDS, "--class", "MAM"), "unknown class 'MAM'"),
        (("--where", WORDS, "--model", "models:/levy-weather/007"), "models:/levy-weather/007"),
    ],
)
def test_what_cannot_be_asked_is_refused_and_nothing_is_written(weather, options, message):
    with pytest.raises(LevyError, match=message) as refused:
        ask(weather, *options, out="none")
    assert "\n" not in str(refused.value)
    assert not (weather / "none").exists()


def test_a_sampler_of_ones_own_is_refused(weather, tmp_path):
    model = RegisteredModel(weather / "model")
    for request in ({"n": 2, "solver": "ode"}, {"n": 2, "boost": 2.0}):
        with pytest.raises(LevyError, match="events choose nothing of a sampler but steps and eta"):
            model.event(request, WORDS, tmp_path / "none")
    for request in ({"n": 2, "classes": "balanced"}, {"n": 2, "classes": "DJF=1,JJA=1"}):
        with pytest.raises(LevyError, match=r"classes is .* but an event is asked of one class"):
            model.event(request, WORDS, tmp_path / "none")
    with pytest.raises(LevyError, match="unknown request key 'm'"):
        model.event({"m": 2}, WORDS, tmp_path / "none")
    with pytest.raises(LevyError, match="n is missing"):
        model.event({}, WORDS, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_folder_that_cannot_be_written_to_is_refused_before_anything_is_drawn(weather, tmp_path):
    model, taken = RegisteredModel(weather / "model"), tmp_path / "taken"
    taken.touch()
    model._model.predictor.register_forward_pre_hook(lambda *_: pytest.fail("drawn"))
    with pytest.raises(LevyError, match="taken cannot be written to"):
        model.event({"n": 2}, WORDS, taken)


def test_a_request_gives_the_members_and_numbers_that_the_command_writes(weather, tmp_path):
    model = RegisteredModel(weather / "model")
    request = {"n": 4, "seed": 2, "steps": 20}
    found = model.event(request, WORDS, tmp_path, 400, time="2019-07-02T12")
    answer = model.predict({**request, "event": {"where": WORDS, "particles": 400, "time": "2019-07-02T12"}})
    samples = answer.pop("samples")
    assert json.loads(json.dumps(answer)) == json.loads((tmp_path / "event.json").read_text())
    assert answer["probability"] == found.probability
    with xr.open_dataset(tmp_path / "samples.nc") as members:
        np.testing.assert_array_equal(samples[:, 0], members.t2m.transpose("realization", ...).squeeze())


EVENT = {"where": WORDS, "particles": 400}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"n": 2, "event": EVENT}, {"n": 1}], "an event is asked for in one of 2 rows"),
        ([{"n": 2, "event": WORDS}], "event is .* but an object is expected"),
        ([{"n": 2, "event": {}}], "event has no where"),
        ([{"n": 2, "event": {**EVENT, "where": None}}], "event has no where"),
        ([{"n": 2, "event": {**EVENT, "place": "here"}}], "event has the unknown key 'place'"),
        ([{"n": 2, "event": {**EVENT, "particles": 400.5}}], "event.particles is 400.5, but a whole number"),
        ([{"n": 2, "event": {**EVENT, "per_year": "60"}}], "event.per_year is '60', but a finite number"),
        ([{"n": 2, "event": {**EVENT, "particles": 401}}], "401 particles are asked for"),
        ([{"event": EVENT}], "n is missing: say how many members"),
        ([{"n": 2, "solver": "ode", "event": EVENT}], "events choose nothing of a sampler but steps and eta"),
        ([{"n": 2, "observed": {"std": 0}, "event": EVENT}], "observed is given, but events choose"),
        ([{"n": 2, "steps": 1_001, "event": EVENT}], "asks for 1,001 steps, but 1,000 is the limit"),
        ([{"n": 2, "steps": 1000, "event": {**EVENT, "particles": 4000}}], "10,000,000 network evaluations"),
    ],
)
def test_a_request_that_cannot_be_met_is_refused(weather, rows, message):
    with pytest.raises(LevyError, match=message):
        RegisteredModel(weather / "model").predict(pd.DataFrame(rows))


def test_a_request_whose_time_is_over_is_given_up(weather, monkeypatch):
    monkeypatch.setenv("LEVY_MAX_SECONDS", "0")
    with pytest.raises(LevyError, match="the drawing was given up after 0 s"):
        RegisteredModel(weather / "model").predict({"n": 2, "event": EVENT})


@pytest.mark.parametrize("key", ["class", "seed", "event"])
def test_half_a_letter_in_a_row_is_refused(weather, key):
    with pytest.raises(LevyError, match=f"{key} is '.*expected"):
        RegisteredModel(weather / "model").predict([{"n": 2, "steps": 5, "event": EVENT, key: "\ud800"}])
