"""Fields through all stages with a network on the coefficients of their EOFs."""

import json

import pytest

from levy_core.base.manifest import MANIFEST
from levy_core.nets.latent import LATENT
from levy_core.nets.mlp import MLPConfig
from levy_core.training.checkpoint import load_model
from tasks.cells.store import read_cells
from tasks.runtime import paths
from tests.conftest import ROOT
from tests.tasks.test_field_stages import begin, commit_models, run

STARTER = ROOT / "data/weather/era5-style.nc"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("latent")
    with pytest.MonkeyPatch.context() as patch:
        models = {"tedm-eofs": {"preset": "tedm", "nu": "data", "eofs": 0.9}}
        train = {"steps": 300, "batch": 64, "warmup": 10}
        read = begin(folder, patch, {}, STARTER, designs=["tedm-eofs"], models=models, train=train)
        run(read, read.designs)
        commit_models(folder, read.designs)
        yield read


def test_fields_of_coefficients_go_from_file_to_report(done):
    model = load_model(paths.model("weather", "tedm-eofs"))
    assert isinstance(model.net, MLPConfig)
    assert model.shape == (2, 16, 32)
    assert model.net.shape == (model.latent.size,)
    assert LATENT in (paths.model("weather", "tedm-eofs") / MANIFEST).read_text()
    drawn = read_cells(paths.samples("weather", "tedm-eofs"))[0]
    assert drawn.samples.shape[1:] == (2, 16, 32)
    assert "Maps, real beside generated" in (paths.report("weather") / "index.html").read_text()
    assert json.loads(paths.metrics("weather").read_text())["tedm-eofs"]["distance_train"] > 0
