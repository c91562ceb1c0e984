"""Fields through all stages with a network on the coefficients of their EOFs."""

import json
import shutil
from dataclasses import asdict

import numpy as np
import pytest
import xarray as xr

from levy_core.base.files import write_json
from levy_core.base.manifest import MANIFEST, write_manifest
from levy_core.datasets.fields.store import FieldStore
from levy_core.nets.latent import LATENT
from levy_core.nets.mlp import MLPConfig
from levy_core.observations.kept import FILE as COVARIANCE
from levy_core.sampling.solver import Solver
from levy_core.serving.registered import RegisteredModel
from levy_core.serving.requests import SAMPLER
from levy_core.training.checkpoint import load_model
from tasks.cells.store import read_cells
from tasks.runtime import paths
from tests.conftest import ROOT
from tests.tasks.test_field_stages import begin, run

STARTER = ROOT / "data/weather/era5-style.nc"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("latent")
    with pytest.MonkeyPatch.context() as patch:
        models = {"tedm-eofs": {"preset": "tedm", "nu": "data", "eofs": 0.9}}
        train = {"steps": 300, "batch": 64, "warmup": 10}
        read = begin(folder, patch, {}, STARTER, designs=["tedm-eofs"], models=models, train=train)
        run(read, read.designs)
        yield read


def test_fields_of_coefficients_go_from_file_to_report(done):
    model = load_model(paths.model("weather", "tedm-eofs"))
    assert isinstance(model.net, MLPConfig)
    assert model.shape == (2, 16, 32)
    assert model.net.shape == (model.latent.size,)
    files = (paths.model("weather", "tedm-eofs") / MANIFEST).read_text()
    assert LATENT in files
    assert COVARIANCE not in files  # which no guide of coefficients reads
    drawn = read_cells(paths.samples("weather", "tedm-eofs"))[0]
    assert drawn.samples.shape[1:] == (2, 16, 32)
    assert "Maps, real beside generated" in (paths.report("weather") / "index.html").read_text()
    assert json.loads(paths.metrics("weather").read_text())["tedm-eofs"]["distance_train"] > 0


def test_its_samples_have_the_spread_of_the_training_fields_and_are_no_smoother(done):
    drawn = np.concatenate([np.array(cell.samples) for cell in read_cells(paths.samples("weather", "tedm-eofs"))])
    real = FieldStore.open(paths.prepared("weather") / "fields.zarr", "train")[:]
    steps = lambda x: np.median(np.abs(np.diff(x, axis=-1)).mean((2, 3)), axis=0)
    assert np.isfinite(drawn).all()
    t2m, tp = np.log(steps(drawn) / steps(real))
    assert abs(t2m) < 0.3
    assert tp > -0.3  # not bounded above: most days are dry, and the Gaussian that EOFs leave makes these rougher


def test_a_served_model_agrees_with_what_was_observed(done, tmp_path):
    folder = shutil.copytree(paths.model("weather", "tedm-eofs"), tmp_path / "model")
    write_json(folder / SAMPLER, {"default": 4, "samplers": {"4": asdict(Solver("ode", "2m-data", "karras", 4))}})
    write_manifest(folder)
    model = RegisteredModel(folder)
    assert model.predict({"n": [3], "seed": [3]}).shape == (3, 2, 16, 32)
    with xr.open_dataset(STARTER) as raw:
        day = raw.t2m.isel(valid_time=2400, latitude=slice(None, None, 4)).load() - 273.15
    day.attrs["units"] = "degC"
    day.to_dataset(name="t2m").to_netcdf(tmp_path / "seen.nc")
    for guide in ("interpolation", "jacobian"):
        model.infill({"n": 4, "seed": 1}, tmp_path / "seen.nc", tmp_path / guide, {"t2m": 0.0}, guide=guide)
        with xr.open_dataset(tmp_path / guide / "samples.nc") as drawn:
            at = drawn.t2m.sel(latitude=day.latitude, longitude=day.longitude)
            assert float(abs(at - day).max()) < 2e-3  # float32 of values up to 70
            assert float(drawn.t2m.isel(latitude=slice(2, None, 4)).std("realization").min()) > 0
