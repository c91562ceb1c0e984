"""What a network of fields is told beside the fields, from file to the model that draws without it."""

import shutil
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.base.files import write_json
from levy_core.base.manifest import write_manifest
from levy_core.sampling.solver import Solver
from levy_core.serving.registered import RegisteredModel
from levy_core.serving.requests import SAMPLER
from levy_core.training.checkpoint import load_model
from tasks.evaluate import evaluate
from tasks.prepare import prepare
from tasks.reference import reference
from tasks.runtime import paths
from tasks.runtime.checksums import hashes_of
from tasks.sample import sample
from tasks.train import train
from tasks.tune import tune
from tests.conftest import ROOT
from tests.support.fields import temperature
from tests.tasks.test_field_stages import T2M, begin

STARTER = ROOT / "data/weather/era5-style.nc"


def with_sampler(folder):
    """A trained model as a registered one."""
    write_json(folder / SAMPLER, {"default": 4, "samplers": {"4": asdict(Solver("ode", "2m-data", "karras", 4))}})
    write_manifest(folder)
    return RegisteredModel(folder)


def test_a_model_that_was_told_static_fields_draws_without_them(tmp_path, monkeypatch):
    said = {"variables": [T2M], "test_share": 0.5, "static": {"files": "static.nc", "variables": ["z"]}}
    read = begin(tmp_path, monkeypatch, said, STARTER, designs=["edm"])
    with xr.open_dataset(STARTER) as raw:
        height = np.random.default_rng(0).gamma(1.0, 500.0, (raw.sizes["latitude"], raw.sizes["longitude"]))
        grid = raw[["latitude", "longitude"]].load()
    grid["z"] = (("latitude", "longitude"), height)
    grid.to_netcdf(paths.raw("weather") / "static.nc")
    prepare(read, "weather")
    train(read, "weather", "edm")
    model = load_model(paths.model("weather", "edm"))
    assert (model.net.coordinates, model.net.static) == (False, 1)
    told = dict(model.predictor.named_buffers())["net.static"]
    assert np.allclose(told, (height - height.mean()) / height.std(), atol=1e-5)
    shutil.rmtree(paths.raw("weather"))
    shutil.rmtree(paths.prepared("weather"))
    drawn = with_sampler(paths.model("weather", "edm")).predict({"n": [2], "seed": [3]})
    assert drawn.shape == (2, 1, *height.shape)
    assert np.isfinite(drawn).all()


def test_designs_with_eofs_are_not_told_static_fields(tmp_path, monkeypatch):
    said = {"variables": [T2M], "static": {"files": "static.nc", "variables": ["z"]}}
    message = "models.edm-eofs.eofs is 0.9: weather has `static`, but a network of coefficients sees no cells"
    with pytest.raises(LevyError, match=message):
        begin(tmp_path, monkeypatch, said, STARTER, designs=["edm", "edm-eofs"])


def test_what_a_network_is_told_is_decided_by_what_was_prepared(tmp_path, monkeypatch):
    """Or DVC would keep the model of a data set whose coordinates are asked for later."""
    kept = {}
    for told in (False, True):
        (tmp_path / str(told)).mkdir()
        said = {"variables": [T2M], "test_share": 0.5, "coordinates": told}
        read = begin(tmp_path / str(told), monkeypatch, said, STARTER, designs=["edm"])
        prepare(read, "weather")
        kept[told] = hashes_of(paths.prepared("weather") / "statistics.json")
        data = read.kind("weather").training_data(paths.prepared("weather"), read.data["weather"])
        assert (data.net["coordinates"], "latitude" in data.net_inputs) == (told, told)
    assert {*kept[False].values()} != {*kept[True].values()}


def test_samples_are_asked_for_by_the_day_and_measured_by_season(tmp_path, monkeypatch):
    said = {"variables": [T2M], "test_share": 0.5, "gap": "10D", "season": "day"}
    models = {"edm-eofs": {"preset": "edm", "eofs": 6}}
    steps = {"steps": 300, "batch": 64, "warmup": 10, "save_every": 300}
    read = begin(tmp_path, monkeypatch, said, STARTER, designs=["edm-eofs"], models=models, train=steps)
    for stage in (prepare, reference):
        stage(read, "weather")
    for stage in (train, tune, sample, evaluate):
        stage(read, "weather", "edm-eofs")
    row = pd.read_csv(paths.evaluation("weather", "edm-eofs")).iloc[0]
    assert [name for name in row.index if name.startswith("class_distance/test/")] == [
        f"class_distance/test/{season}" for season in range(4)
    ]
    assert np.isfinite(row["crps/t2m"])
    model, ask = with_sampler(paths.model("weather", "edm-eofs")), lambda day: {"n": [200], "seed": [3], "class": [day]}
    northern = lambda day: model.predict(ask(day))[:, 0, :8].mean()
    assert northern("07-25") - northern("01-25") > 5  # the real ones differ by 15 K
    described = model.write({"n": 3, "seed": 1, "classes": "07-25=2,01-01=1"}, tmp_path / "asked")
    assert "2 of class 07-25" in described
    with xr.open_dataset(tmp_path / "asked" / "samples.nc") as written:
        assert [str(t)[5:10] for t in written.time.to_numpy()] == ["07-25", "07-25", "01-01"]


def test_places_are_told_where_they_lie_or_refused(tmp_path, monkeypatch):
    fields = temperature(60).stack(place=("latitude", "longitude")).reset_index("place")
    for name, data in (("known", fields), ("unknown", fields.drop_vars(["latitude", "longitude"]))):
        (tmp_path / name).mkdir()
        data.to_netcdf(tmp_path / f"{name}.nc")
        said = {"variables": [T2M], "gap": "0h", "coordinates": True}
        read = begin(tmp_path / name, monkeypatch, said, tmp_path / f"{name}.nc", designs=["edm"])
        prepare(read, "weather")
        tell = lambda read=read: read.kind("weather").training_data(paths.prepared("weather"), read.data["weather"])
        if name == "known":
            assert np.array_equal(tell().net_inputs["latitude"], np.repeat([52.0, 51.0, 50.0], 4))
        else:
            with pytest.raises(LevyError, match="have no latitude and longitude: add them to the files, or set"):
                tell()
