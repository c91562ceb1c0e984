"""Models of places: observed values and events are at these places, by name, by coordinates nearby, and in boxes, and nowhere between."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.base.samples import RECORDED, Samples
from levy_core.datasets.fields.cf import dataset
from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.config import Variable
from levy_core.datasets.fields.described import parse_observed
from levy_core.datasets.fields.events import read_event
from levy_core.datasets.fields.observed import read_observed

ALL = Samples("fields", ("all",), **RECORDED["fields"])
NAMES = ("Iqaluit", "Toronto", "Vancouver", "Whitehorse")
LOCATIONS = np.array([[63.75, 43.68, 49.2, 60.72], [-68.52, -79.63, -123.18, -135.07]])
VARIABLES = (Variable("t2m", "degC"), Variable("pr", "mm day-1", transform="log1p", minimum=0.0))
CODEC = Codec(
    VARIABLES, np.array([5.0, 0.7]), np.array([10.0, 0.8]), np.ones((2, 1, 4), dtype=bool), places=NAMES, locations=LOCATIONS,
    attributes=({}, {}),
)  # fmt: skip
NAMELESS = replace(CODEC, locations=None)
STD = {"": 0.5}


def observe(tmp_path, text, codec=CODEC):
    path = tmp_path / "stations.csv"
    path.write_text(text)
    return read_observed(path, codec, ALL, STD)


def seen(observed):
    return list(zip(observed.cells[:, 0].tolist(), observed.reported.values.tolist(), strict=True))


@pytest.mark.parametrize(
    "text",
    [
        "variable,place,value\nt2m,Toronto,12\npr,Iqaluit,3\nt2m,Whitehorse,-4\n",
        "variable,latitude,longitude,value\nt2m,43.7,-79.6,12\npr,63.75,291.5,3\nt2m,60.7,-135.1,-4\n",
        "place,latitude,longitude,variable,value\nToronto,0,0,t2m,12\nIqaluit,0,0,pr,3\nWhitehorse,0,0,t2m,-4\n",
    ],
)
def test_a_table_has_places_by_name_or_nearby_coordinates(tmp_path, text):
    found = observe(tmp_path, text)
    assert seen(found) == [(1, 12.0), (3, -4.0), (4, 3.0)]
    assert found.values == pytest.approx([(12 - 5) / 10, (-4 - 5) / 10, (np.log1p(3) - 0.7) / 0.8])
    assert (found.weights == 1).all()
    assert found.behind is None  # single places are met as they are


def test_a_request_has_places_by_name(tmp_path):
    rows = [{"variable": "t2m", "place": "Toronto", "value": 12.0}]
    assert seen(parse_observed({"stations": rows, "std": 0.5}, CODEC, ALL)) == [(1, 12.0)]


@pytest.mark.parametrize(
    ("text", "codec", "message"),
    [
        ("variable,place,value\nt2m,Lima,12\n", CODEC, r"line 2 is at 'Lima': the model has Iqaluit, Toronto, Vanc"),
        (
            "variable,latitude,longitude,value\nt2m,43.68,-79.63,1\nt2m,45.5,-73.6,12\n",
            CODEC,
            r"line 3 lies at latitude 45.5, longitude -73.6, 518 km from Toronto, the nearest .* knows nothing between them: give values at Iq",
        ),
        (
            "variable,latitude,longitude,value\nt2m,43.68,-79.63,1\n",
            NAMELESS,
            "line 2 is given by latitude and longitude, but the model does not know where its places lie: name one of Iq",
        ),
        (
            "variable,value\nt2m,12\n",
            CODEC,
            "no column latitude, longitude: .* or for a model of places variable, place",
        ),
    ],
)
def test_what_is_at_none_of_the_places_is_refused(tmp_path, text, codec, message):
    with pytest.raises(LevyError, match=message):
        observe(tmp_path, text, codec)


def test_names_mean_nothing_on_a_grid_and_tiles_and_curved_grids_say_what_they_are(tmp_path):
    degrees = np.array([50.0]), np.array([0.0, 1.0, 2.0, 3.0])
    text = "variable,place,value\nt2m,Toronto,12\n"
    bare = replace(CODEC, places=None, locations=None)
    for codec, message in (
        (
            replace(bare, latitude=degrees[0], longitude=degrees[1]),
            "line 2 is of a place by its name, but .* on a grid",
        ),
        (bare, "stations.csv: the model's fields are tiles of larger ones"),
        (replace(bare, latitude=np.ones((1, 4)), longitude=np.ones((1, 4))), "lie on a curved grid, on which nothing"),
    ):
        with pytest.raises(LevyError, match=message):
            observe(tmp_path, text, codec)


def test_a_file_of_samples_of_places_is_read_back(tmp_path):
    x = np.random.default_rng(0).standard_normal((1, 2, 1, 4)).astype(np.float32)
    x[0, 1, 0, 3] = 1.0
    made = dataset(CODEC, x, None, {})
    unnamed = made.drop_vars("place").isel(place=[3, 0])
    partly = made.isel(place=[2, 1])
    partly["t2m"][0, 0] = np.nan
    for name, data, cells in (
        ("whole.nc", made, range(8)),
        ("unnamed.nc", unnamed, [3, 0, 7, 4]),
        ("partly.nc", partly, [1, 6, 5]),
    ):
        data.to_netcdf(tmp_path / name)
        found = read_observed(tmp_path / name, CODEC, ALL, STD)
        assert found.cells[:, 0].tolist() == list(cells)
        assert found.values == pytest.approx(x.reshape(-1)[list(cells)], abs=1e-5)


def test_files_of_other_places_of_several_fields_and_means_are_refused(tmp_path):
    made = dataset(CODEC, np.zeros((2, 2, 1, 4), dtype=np.float32), None, {})
    one = made.isel(realization=[0])
    renamed = one.drop_vars(["latitude", "longitude"]).assign_coords(place=["a", "b", "c", "d"])
    for data, message in (
        (made, "has 2 entries along realization: choose one"),
        (
            renamed,
            r"dimensions realization \(1\), place \(4\): one is expected along which there are names of the model's places",
        ),
    ):
        data.to_netcdf(tmp_path / "a.nc")
        with pytest.raises(LevyError, match=message):
            read_observed(tmp_path / "a.nc", CODEC, ALL, STD)
    one.to_netcdf(tmp_path / "b.nc")
    with pytest.raises(LevyError, match="values at places, which have no area"):
        read_observed(tmp_path / "b.nc", CODEC, ALL, STD, means=True)


def test_events_of_a_box_take_the_places_in_it_alike_and_of_a_point_the_place_there():
    x = np.random.default_rng(0).standard_normal((6, 2, 1, 4)).astype(np.float32)
    values = CODEC.decode(x)[:, :, 0]

    def measured(words):
        event = read_event(words, CODEC, ALL)
        return event.measure(None)(x.reshape(6, -1)[:, event.cells], np.arange(6))

    assert np.allclose(measured("t2m mean of 40..50,-130..-70 > 5 degC"), values[:, 0, 1:3].mean(1))
    assert np.allclose(measured("pr max of 60..70,-140..-60 > 5 mm day-1"), values[:, 1, [0, 3]].max(1))
    assert np.allclose(measured("t2m at 43.7,-79.6 > 5 degC"), values[:, 0, 1])
    assert np.allclose(measured("t2m at Vancouver > 5 degC"), values[:, 0, 2])
    for words, codec, message in (
        ("t2m at 50,-100 > 5 degC", CODEC, r"the event '.*' lies at latitude 50, .* the nearest of the model's places"),
        ("t2m mean of 0..1,0..1 > 5 degC", CODEC, "a box in which no place of the model's fields lies"),
        ("t2m mean of 40..50,-130..-70 > 5 degC", NAMELESS, "does not know where its places lie: leave it out"),
    ):
        with pytest.raises(LevyError, match=message):
            read_event(words, codec, ALL)


def test_a_file_with_one_time_is_of_that_field(tmp_path):
    made = dataset(CODEC, np.zeros((1, 2, 1, 4), dtype=np.float32), None, {}).isel(realization=0, drop=True)
    made = made.expand_dims(time=np.array(["2019-07-25"], dtype="datetime64[ns]"))
    assert len(observe_file(tmp_path, made).values) == 8


def observe_file(tmp_path, data: xr.Dataset):
    data.to_netcdf(tmp_path / "c.nc")
    return read_observed(tmp_path / "c.nc", CODEC, ALL, STD)
