"""Observations in a request are what a file of them is, and cost, end and fail as requests do."""

import copy
import json
import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from PIL import Image

from levy_core.base.errors import LevyError
from levy_core.nets.unet import UNetConfig
from levy_core.observations.covariance import fit_covariance
from levy_core.observations.guides import OBSERVATION_GUIDES
from levy_core.observations.kept import FILE
from levy_core.serving.registered import RegisteredModel
from levy_core.serving.workload import CLIENT_LEFT
from tests.conftest import save_untrained
from tests.support.events import LATITUDE, LONGITUDE, SAMPLES, make_codec, save_fields, save_normal
from tests.support.served import save_sampler

TIME = "2019-07-25T12"
STATIONS = [
    {"variable": "t2m", "latitude": 52.5, "longitude": -1.0, "value": 24.0, "std": 0.5},
    {"variable": "t2m", "latitude": 49.0, "longitude": 1.5, "value": 28.0, "std": 0.0},
    {"variable": "tp", "latitude": 50.1, "longitude": 0.0, "value": 1.0, "std": 0.1},
]
SPACE = {"latitude": LATITUDE, "longitude": LONGITUDE}


def keep_covariance(folder, shape):
    """Of noise, so that kriging has something to say."""
    data = torch.randn(60, *shape, generator=torch.Generator().manual_seed(0))
    fit_covariance(data).save(folder / FILE)


@pytest.fixture(scope="module")
def weather(tmp_path_factory):
    folder = save_fields(tmp_path_factory.mktemp("weather") / "model")
    save_sampler(folder)
    keep_covariance(folder, (2, 4, 4))
    return RegisteredModel(folder)


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = save_untrained(tmp_path_factory.mktemp("images"), UNetConfig((3, 8, 8), 2, (8,)), ("a", "b"))
    save_sampler(folder)
    keep_covariance(folder, (3, 8, 8))
    return RegisteredModel(folder)


def grid(shape=(4, 4), seed=0):
    """A data set of temperatures with gaps, on the model's grid."""
    rng = np.random.default_rng(seed)
    values = np.where(rng.random(shape) < 0.4, np.nan, rng.normal(20, 3, shape))
    return xr.Dataset({"t2m": (("latitude", "longitude"), values, {"units": "degC"})}, SPACE)


def as_json(data):
    """What a person sends of a data set: null for what was not observed."""
    return json.loads(json.dumps(data.to_dict(), default=str).replace("NaN", "null"))


def ask(model, observed, **request):
    return model.predict([json.loads(json.dumps({"n": 3, "seed": 5, **request, "observed": observed}))])


def from_file(model, folder, path, std, steps=10, n=3, **options):
    model.infill({"n": n, "seed": 5, "steps": steps}, path, folder / "out", std, **options)
    with xr.open_dataset(folder / "out" / "samples.nc") as drawn:
        return np.stack([drawn[name].transpose("realization", ...).to_numpy() for name in ("t2m", "tp")], 1)


def test_stations_are_those_of_a_table(weather, tmp_path):
    pd.DataFrame(STATIONS).to_csv(tmp_path / "a.csv", index=False)
    drawn = ask(weather, {"stations": STATIONS, "time": TIME})
    assert drawn.shape == (3, 2, 4, 4)
    assert drawn.dtype == np.float32
    assert np.allclose(drawn, from_file(weather, tmp_path, tmp_path / "a.csv", {}, time=TIME), atol=1e-5)
    seen = xr.DataArray(drawn[:, 0], SPACE, ("n", "latitude", "longitude")).interp(latitude=49.0, longitude=1.5)
    assert np.allclose(seen, 28.0, atol=1e-4)  # without error: in every sample, in degrees of the time's season


def test_cells_are_those_of_a_file(weather, tmp_path):
    data = grid().assign_coords(time=pd.Timestamp(TIME))
    data.to_netcdf(tmp_path / "a.nc")
    of_file = from_file(weather, tmp_path, tmp_path / "a.nc", {"t2m": 0.5})
    said = as_json(data)
    assert np.allclose(ask(weather, {"cells": said, "std": {"t2m": 0.5}}), of_file, atol=1e-5)
    assert np.allclose(ask(weather, {"cells": said, "std": 0.5}), of_file, atol=1e-5)
    del said["coords"]["time"]
    assert np.allclose(ask(weather, {"cells": said, "std": 0.5, "time": TIME}), of_file, atol=1e-5)


def test_a_data_set_of_arrays_is_that_of_lists(weather):
    data = grid().assign_coords(height=2.0)
    request = {"n": 3, "seed": 5, "observed": {"cells": data.to_dict(data="array"), "std": 0.5, "time": TIME}}
    assert np.array_equal(weather.predict([request]), ask(weather, {"cells": as_json(data), "std": 0.5, "time": TIME}))
    request["observed"]["cells"] = data.assign_coords(time=pd.Timestamp(TIME)).to_dict(data="array")
    with pytest.raises(LevyError, match=r"coords.time.data is .*datetime64.*, but text is expected"):
        weather.predict([request])


def test_means_are_those_of_a_file(weather, tmp_path):
    values = np.array([[20.0, np.nan], [22.0, 25.0]])
    coarse = {"latitude": [53.0, 49.0], "longitude": [-3.0, 1.0]}
    data = xr.Dataset({"t2m": (("latitude", "longitude"), values + 273.15, {"units": "K"})}, coarse)
    data.to_netcdf(tmp_path / "a.nc")
    of_file = from_file(weather, tmp_path, tmp_path / "a.nc", {"": 0.0}, means=True, time=TIME)
    drawn = ask(weather, {"means": as_json(data), "std": 0, "time": TIME})
    assert np.allclose(drawn, of_file, atol=1e-5)
    area = np.cos(np.deg2rad(LATITUDE[:2]))[:, None] * np.ones(2)
    assert np.allclose((drawn[:, 0, :2, :2] * area).sum((1, 2)) / area.sum(), 20.0, atol=1e-4)


@pytest.mark.parametrize("steps", [5, 10])
def test_rain_whose_logarithm_the_network_sees_has_the_means_and_stations_that_were_observed(weather, tmp_path, steps):
    """In mm per day, from dry to 60, to the rounding of float32."""
    amounts = np.array([[0.0, 0.02], [3.0, 60.0]])
    coarse = {"latitude": [53.0, 49.0], "longitude": [-3.0, 1.0]}
    data = xr.Dataset({"tp": (("latitude", "longitude"), amounts, {"units": "mm day-1"})}, coarse)
    data.to_netcdf(tmp_path / "a.nc")
    options = {"std": {"": 0.0}, "time": TIME}
    drawn = from_file(weather, tmp_path, tmp_path / "a.nc", means=True, steps=steps, n=40, **options)[:, 1]
    area = np.cos(np.deg2rad(LATITUDE))[:, None] * np.ones(4)
    sums = lambda values: values.reshape(-1, 2, 2, 2, 2).sum((2, 4))
    np.testing.assert_allclose(
        sums(drawn * area) / sums(area), np.broadcast_to(amounts, (40, 2, 2)), rtol=2e-6, atol=1e-6
    )
    places = [(52.5, -1.0, 0.0), (49.0, 1.5, 0.3), (50.9, -3.2, 12.0)]
    rows = [{"variable": "tp", "latitude": a, "longitude": b, "value": v} for a, b, v in places]
    pd.DataFrame(rows).to_csv(tmp_path / "a.csv", index=False)
    drawn = from_file(weather, tmp_path, tmp_path / "a.csv", steps=steps, n=40, **options)[:, 1]
    fields = xr.DataArray(drawn, SPACE, ("n", "latitude", "longitude"))
    for latitude, longitude, value in places:
        seen = fields.interp(latitude=latitude, longitude=longitude)
        np.testing.assert_allclose(seen, value, rtol=2e-6, atol=1e-6)


def test_pixels_are_those_of_a_picture(images, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3))
    seen = np.arange(8)[:, None] < np.array([5] * 4 + [3] * 4)
    Image.fromarray(np.dstack([pixels, 255 * seen]).astype(np.uint8), "RGBA").save(tmp_path / "a.png")
    images.infill({"n": 3, "seed": 5}, tmp_path / "a.png", tmp_path / "out", {"": 4.0})
    of_file = np.stack([np.asarray(Image.open(tmp_path / "out" / f"{i:05d}.png")) for i in range(3)])
    said = [[level.tolist() if ok else [None] * 3 for level, ok in zip(*row, strict=True)] for row in zip(pixels, seen, strict=True)]  # fmt: skip
    assert np.array_equal(ask(images, {"pixels": said, "std": 4}), of_file)
    exact = ask(images, {"pixels": said})
    assert np.abs(exact[:, seen].astype(int) - pixels[seen]).max() <= 1


def test_a_request_of_several_rows_may_have_observations_in_some(weather):
    observed = {"stations": STATIONS, "time": TIME}
    rows = [{"n": 2, "seed": 1}, {"n": 3, "seed": 5, "observed": observed}, {"n": 1, "seed": 2, "observed": None}]
    together = weather.predict(rows)
    assert np.allclose(together[2:5], ask(weather, observed), atol=1e-5)
    assert np.allclose(together[:2], weather.predict([rows[0]]), atol=1e-5)


@pytest.mark.parametrize("guide", OBSERVATION_GUIDES)
def test_the_limit_of_evaluations_counts_what_a_guide_asks_for(images, monkeypatch, guide):
    counted = []
    hook = images._model.predictor.register_forward_hook(lambda *_: counted.append(1))
    observed = {"pixels": np.full((8, 8, 3), 30).tolist(), "std": 2.0, "guide": guide}
    most = OBSERVATION_GUIDES[guide].most
    try:
        monkeypatch.setenv("LEVY_MAX_EVALUATIONS", str(4 * most))
        with pytest.raises(LevyError, match=rf"asks for {5 * most} network evaluations .*but {4 * most} is the limit"):
            ask(images, observed, n=1, steps=5)
        assert counted == []
        ask(images, observed, n=1, steps=4)
    finally:
        hook.remove()
    assert len(counted) <= 4 * most  # a backward pass counts as two, and is no call


def test_values_and_memory_are_limited_before_anything_is_made_of_them(weather, monkeypatch):
    monkeypatch.setenv("LEVY_MAX_OBSERVED", "2")
    with pytest.raises(LevyError, match="the request asks for 3 observed values at once, but 2 is the limit"):
        ask(weather, {"stations": STATIONS, "time": TIME})
    monkeypatch.delenv("LEVY_MAX_OBSERVED")
    monkeypatch.setattr("levy_core.serving.workload.free_memory", lambda device: 10 * 2**20)
    many = [{**STATIONS[0], "latitude": 48.0 + row / 400} for row in range(1_500)]
    with pytest.raises(LevyError, match=r"^n is 3, but drawing even one takes about [\d,]+ MiB, and 10 MiB of memory"):
        ask(weather, {"stations": many, "time": TIME})


def test_a_client_that_leaves_ends_the_drawing(weather):
    left, counted = threading.Event(), []
    hook = weather._model.predictor.register_forward_hook(lambda *_: counted.append(1) or left.set())
    token = CLIENT_LEFT.set(left)
    try:
        with pytest.raises(LevyError, match="the client has left: its drawing was given up"):
            ask(weather, {"stations": STATIONS, "time": TIME}, steps=50)
    finally:
        CLIENT_LEFT.reset(token)
        hook.remove()
    assert len(counted) == 1


def change(station, **changes):
    return {"stations": [STATIONS[0], {**STATIONS[station], **changes}], "time": TIME}


def changed_grid(way="cells", **changes):
    said = copy.deepcopy(as_json(grid()))
    said["data_vars"]["t2m"] |= changes
    return {way: said, "std": 0.5, "time": TIME}


EXACT = {**STATIONS[1], "latitude": 50.0, "longitude": 0.0}
BAD = {
    "no object": ([1], "observed is [1], but an object is expected"),
    "text": ("warm", "observed is 'warm', but an object is expected"),
    "nothing": ({}, "observed has no values, but one of stations, cells, means is expected"),
    "two ways": ({"stations": STATIONS, "cells": {}}, "observed has stations and cells, but one of"),
    "an unknown key": ({"stations": STATIONS, "times": TIME}, "observed has the unknown key 'times'"),
    "pixels of fields": ({"pixels": [[1]]}, "observed has the unknown key 'pixels'"),
    "no stations": ({"stations": [], "time": TIME}, "observed.stations is [], but a list of objects"),
    "a station that is none": ({"stations": [3], "time": TIME}, "observed.stations[0] is 3, but an object"),
    "no value": ({"stations": [{"variable": "t2m", "latitude": 50, "longitude": 0}]}, "observed.stations[0] has no value"),
    "some without std": (
        {"stations": [STATIONS[0], {k: v for k, v in STATIONS[1].items() if k != "std"}]}, "observed.stations[1] has no std",
    ),
    "one with a std": (
        {"stations": [{k: v for k, v in STATIONS[1].items() if k != "std"}, STATIONS[0]]}, "observed.stations[1] has a std, and",
    ),
    "no std": ({"stations": [{k: v for k, v in STATIONS[1].items() if k != "std"}], "time": TIME}, "no std of the observed values of t2m"),
    "no time": ({"stations": STATIONS}, "observed.stations does not say when it was observed"),
    "another calendar": ({"stations": STATIONS, "time": "2019-02-30"}, "the time 2019-02-30 is none of the model's calendar"),
    "a time that is no text": ({"stations": STATIONS, "time": 2019}, "observed.time is 2019, but text is expected"),
    "a season that the model has not": ({"stations": STATIONS, "time": "2019-04-01"}, "lies in MAM, of which the model knows nothing"),
    "outside": (change(1, latitude=70), "observed.stations[1] lies at latitude 70, longitude 1.5, outside the model's fields"),
    "no longitude": (change(1, longitude=1e30), "observed.stations[1] lies at longitude 1e+30, but"),
    "an unknown variable": (change(1, variable="wind"), "unknown variable 'wind': the model has t2m, tp"),
    "null": (change(1, value=None), "observed.stations[1].value is None, but a finite number is expected"),
    "NaN": (change(1, value=float("nan")), "observed.stations[1].value is nan, but a finite number"),
    "infinity": (change(1, value=float("inf")), "observed.stations[1].value is inf, but a finite number"),
    "text for a number": (change(1, value="28"), "observed.stations[1].value is '28', but a finite number is expected"),
    "true": (change(1, value=True), "observed.stations[1].value is True, but a finite number is expected"),
    "a number of 400 digits": (change(1, value=10**400), "but a finite number is expected"),
    "1e308": (change(1, value=1e308), "variable 't2m' has the value 1e+308, which looks like a fill value"),
    "a std of 1e308": (change(1, std=1e308), "the std of t2m is 1e+308, but must be from 0 to 1e+15"),
    "a std below 0": (change(1, std=-1), "the std of t2m is -1, but must be from 0"),
    "rain below 0": (change(2, value=-1), "tp has -1 mm day-1, but its minimum is 0"),
    "a contradiction": ({"stations": [EXACT, {**EXACT, "value": 27}], "time": TIME}, "exact observations contradict each other"),
    "an unknown guide": ({"stations": STATIONS, "time": TIME, "guide": "none"}, "unknown guide towards observations 'none'"),
    "a guide that is no text": ({"stations": STATIONS, "time": TIME, "guide": 1}, "observed.guide is 1, but text is expected"),
    "a grid that is a list": ({"cells": [[1]], "std": 0}, "observed.cells is [[1]], but an object is expected"),
    "no data": ({"cells": {"data_vars": {"t2m": {"dims": []}}}}, "observed.cells.data_vars.t2m has no data"),
    "other units": (changed_grid(attrs={"units": "m"}), "observed.cells: variable 't2m' is given in 'm', which cannot become 'degC'"),
    "values of other units": (change(1, value=295.1), "t2m has 295.1 degC, beyond what air_temperature is anywhere, 130 to 350 K"),
    "half a letter": (change(1, variable="\ud800"), "but text is expected"),
    "more lists than dims": (changed_grid(data=[[[1]] * 4] * 4), "has 2 dims, but lists in lists of data make 3"),
    "no units": (changed_grid(attrs={}), "has no units"),
    "units that are none": (changed_grid(attrs={"units": 5}), "has no units"),
    "another shape": (changed_grid(data=[[1, 2], [3, 4]]), "observed.cells is no data set (conflicting sizes for dimension"),
    "unequal rows": (changed_grid(data=[[1, 2], [3]]), "has the entry [3] where a list of 2 is expected"),
    "a list for a number": (changed_grid(data=[[1, [2]], [3, 4]]), "has the entry [2], but numbers are expected"),
    "text in a grid": (changed_grid(data=[["1", 2], [3, 4]]), "has the entry '1', but numbers are expected"),
    "dims that are none": (changed_grid(dims=3), "observed.cells.data_vars.t2m.dims is 3, but a list of names"),
    "lists in lists": (changed_grid(data=[[[[[[[[[[[1]]]]]]]]]]]), "has lists in lists in more than 8 levels"),
    "null everywhere": (changed_grid(data=[[None] * 4] * 4), "observed.cells has no observed value of t2m or tp"),
    "1e308 in a grid": (changed_grid(data=[[1e308] * 4] * 4), "which looks like a fill value"),
    "means on the model's own grid": (changed_grid("means"), "which are not means over whole cells of the model's"),
    "a std of no variable": ({**changed_grid(), "std": {"wind": 1}}, "std is given of wind, but the model has t2m, tp"),
    "a std that is text": ({**changed_grid(), "std": "0.5"}, "observed.std is '0.5', but a finite number is expected"),
    "a std of a variable that is text": ({**changed_grid(), "std": {"t2m": "1"}}, "observed.std.t2m is '1', but a finite number"),
    "a std of a variable below 0": ({**changed_grid(), "std": {"t2m": -1}}, "observed.std.t2m is -1, but must be 0 or more"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_refused_in_a_line_before_anything_is_drawn(weather, name):
    observed, message = BAD[name]
    counted = []
    hook = weather._model.predictor.register_forward_hook(lambda *_: counted.append(1))
    try:
        with pytest.raises(LevyError) as refused:
            weather.predict([{"n": 1}, {"n": 3, "observed": observed}])
    finally:
        hook.remove()
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert counted == []


LEVELS = np.full((8, 8, 3), 30).tolist()


@pytest.mark.parametrize(
    ("observed", "message"),
    [
        ({}, "observed has no pixels"),
        ({"pixels": LEVELS[:7]}, r"observed.pixels are \[7, 8, 3\], but the model draws \[8, 8, 3\]"),
        ({"pixels": [[30] * 8] * 8}, r"observed.pixels are \[8, 8\], but the model draws \[8, 8, 3\]"),
        ({"pixels": [[[None] * 3] * 8] * 8}, "observed.pixels are null everywhere"),
        ({"pixels": [[[256] * 3] * 8] * 8}, "observed.pixels reach from 256 to 256, but grey levels from 0 to 255"),
        ({"pixels": [[[1e308] * 3] * 8] * 8}, "observed.pixels reach from 1e"),
        ({"pixels": [[["1"] * 3] * 8] * 8}, "observed.pixels has the entry '1', but numbers are expected"),
        ({"pixels": LEVELS, "std": 1e308}, "the std is 1e.308, but must be from 0 to 255 grey levels"),
        ({"pixels": LEVELS, "std": {"a": 1}}, "observed.std is {'a': 1}, but a finite number is expected"),
        ({"pixels": LEVELS, "time": TIME}, "observed has the unknown key 'time'"),
        ({"pixels": LEVELS, "stations": []}, "observed has the unknown key 'stations'"),
    ],
)
def test_pixels_that_cannot_be_used_are_refused(images, observed, message):
    with pytest.raises(LevyError, match=message):
        ask(images, observed)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"solver": "ode"}, "solver is given, but samples that agree with observations choose nothing but steps"),
        (
            {"guide": "interpolation"},
            "guide is given, but samples that agree with observations choose nothing but steps",
        ),
        ({"class": "DJF"}, "the observed moment lies in JJA, but another class is asked for"),
        ({"n": 0}, "n is 0"),
        ({"n": 1.5}, "n is 1.5, but a whole number"),
        ({"steps": 10_000}, "asks for 10,000 steps, but 1,000 is the limit"),
    ],
)
def test_the_rest_of_a_request_is_read_as_without_observations(weather, request_, message):
    with pytest.raises(LevyError, match=message):
        ask(weather, {"stations": STATIONS, "time": TIME}, **request_)


def test_observations_are_asked_for_where_samples_agree_with_them(weather, tmp_path):
    with pytest.raises(LevyError, match="observed is given, but these samples are drawn without observations"):
        weather.write({"n": 1, "observed": {"stations": STATIONS}}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_of_places_is_infilled_at_them(tmp_path):
    names, locations = (
        ("Iqaluit", "Toronto", "Vancouver", "Whitehorse"),
        np.array([[64.0, 44, 49, 61], [-69, -80, -123, -135]]),
    )
    save_normal(tmp_path / "model", (2, 1, 4), SAMPLES)
    save_sampler(tmp_path / "model")
    keep_covariance(tmp_path / "model", (2, 1, 4))
    grid, valid = make_codec(), np.ones((2, 1, 4), dtype=bool)
    replace(grid, valid=valid, latitude=None, longitude=None, climatology=None, places=names, locations=locations).save(
        tmp_path / "model"
    )
    (tmp_path / "seen.csv").write_text("variable,place,value\nt2m,Toronto,12\ntp,Iqaluit,3\n")
    model = RegisteredModel(tmp_path / "model")
    model.infill({"n": 40, "seed": 1}, tmp_path / "seen.csv", tmp_path / "out", {"": 0.0}, time=TIME)
    with xr.open_dataset(tmp_path / "out/samples.nc") as drawn:
        assert np.allclose(drawn.t2m.sel(place="Toronto"), 12, atol=1e-2)
        assert np.allclose(drawn.tp.sel(place="Iqaluit"), 3, atol=1e-2)
        assert float(drawn.t2m.sel(place="Iqaluit").std()) > 1  # of 3 degC
