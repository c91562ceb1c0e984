"""Fields through the stages with a network that sees patches of them."""

import shutil
from dataclasses import asdict

import numpy as np
import pytest
import xarray as xr

from levy_core.base.errors import LevyError
from levy_core.base.files import write_json
from levy_core.base.manifest import write_manifest
from levy_core.base.patches import Patches
from levy_core.sampling.solver import Solver
from levy_core.serving.registered import RegisteredModel
from levy_core.serving.requests import SAMPLER
from levy_core.training.checkpoint import load_model
from tasks.prepare import prepare
from tasks.runtime import paths
from tasks.train import train
from tests.conftest import ROOT
from tests.tasks.test_field_stages import T2M, begin

STARTER = ROOT / "data/weather/era5-style.nc"
SAID = {"variables": [T2M], "test_share": 0.5, "coordinates": True, "period": ["2003", "2004"]}


def design(**patches):
    return {"edm-patches": {"preset": "edm", "patches": {"side": [8, 12], "overlap": 4, **patches}}}


def test_a_network_of_patches_goes_from_file_to_whole_fields(tmp_path, monkeypatch, capsys):
    read = begin(tmp_path, monkeypatch, SAID, STARTER, designs=["edm-patches"], models=design(), train={"pictures": 1})
    prepare(read, "weather")
    train(read, "weather", "edm-patches")
    folder = paths.model("weather", "edm-patches")
    model = load_model(folder)
    assert model.design.patches == model.net.patches == Patches((8, 12), 4)
    assert (model.shape, model.net.wraps) == ((1, 16, 32), True)
    assert len(list(paths.pictures("weather", "edm-patches").iterdir())) == 1
    weights = (folder / "model.safetensors").read_bytes()
    train(read, "weather", "edm-patches")
    assert "the model is kept" in capsys.readouterr().out

    registered = shutil.copytree(folder, tmp_path / "registered")
    write_json(registered / SAMPLER, {"default": 4, "samplers": {"4": asdict(Solver("ode", "2m-data", "karras", 4))}})
    write_manifest(registered)
    served = RegisteredModel(registered)
    assert np.isfinite(served.predict({"n": [3], "seed": [3]})).all()
    with xr.open_dataset(STARTER) as raw:
        day = raw.t2m.isel(valid_time=2400, latitude=slice(None, None, 4)).load() - 273.15
    day.attrs["units"] = "degC"
    day.to_dataset(name="t2m").to_netcdf(tmp_path / "seen.nc")
    for guide in ("interpolation", "pigdm"):  # pigdm asks for a gradient by the field
        served.infill({"n": 2, "seed": 1}, tmp_path / "seen.nc", tmp_path / guide, {"t2m": 0.0}, guide=guide)
        with xr.open_dataset(tmp_path / guide / "samples.nc") as drawn:
            assert drawn.t2m.shape[-2:] == (16, 32)
            assert bool(np.isfinite(drawn.t2m).all())

    changed = read.model_copy(update={"models": read.models | design(overlap=5)})
    train(changed, "weather", "edm-patches")
    assert "the model is kept" not in capsys.readouterr().out
    assert (
        folder / "model.safetensors"
    ).read_bytes() == weights  # the overlap decides what is drawn, not what is trained
    assert load_model(folder).net.patches == Patches((8, 12), 5)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        (
            {"variables": [T2M]},
            r"models.edm-patches.patches is .*: weather does not tell its network where cells lie, .*; set coordinates to true",
        ),
        (
            {"variables": [T2M], "patch": [8, 8]},
            r"models.edm-patches.patches is .*: weather has `patch`, whose tiles do not know where they lie; take one",
        ),
    ],
)
def test_patches_that_would_not_know_their_place_are_refused(tmp_path, monkeypatch, said, message):
    with pytest.raises(LevyError, match=message):
        begin(tmp_path, monkeypatch, said, STARTER, designs=["edm-patches"], models=design())


def test_patches_that_a_transformer_cannot_cut_into_its_own_are_refused(tmp_path, monkeypatch):
    net = {"name": "dit-s", "patch": 8, "channels": None, "attention": None}
    message = r"models.edm-patches.patches.side is \[8, 12\], but the network dit-s cuts .* 8 x 8 cells \(net.patch\), .*: take 8 and 16$"
    with pytest.raises(LevyError, match=message):
        begin(tmp_path, monkeypatch, SAID, STARTER, designs=["edm-patches"], models=design(), net=net)
