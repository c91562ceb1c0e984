"""Fields kept as float16, from file to report, and what of them is measured beside float32."""

import shutil

import numpy as np
import pandas as pd
import pytest

from levy_core.datasets.fields.codec import Codec
from levy_core.datasets.fields.quantile_mapping import QuantileMapping
from levy_core.datasets.fields.store import FieldStore
from tasks.compare import compare
from tasks.evaluate import evaluate
from tasks.kinds.fields.metrics import FieldMetrics, make_reference
from tasks.kinds.fields.settings import FieldEvaluation
from tasks.prepare import prepare
from tasks.reference import reference
from tasks.report import report
from tasks.runtime import paths
from tasks.sample import sample
from tasks.train import train
from tasks.tune import tune
from tests.conftest import ROOT
from tests.tasks.test_field_stages import T2M, begin

STARTER = ROOT / "data/weather/era5-style.nc"
RAIN = {"name": "tp", "units": "mm day-1", "minimum": 0, "accumulated": "1D", "wet": 1}
DATA = {"variables": [T2M, RAIN], "climatology": "day", "train_until": "2006-12-31", "gap": "10D", "dtype": "float16"}
ROUNDING = 2.0**-11  # of a standardised value, at most: half of it, or all of it at a minimum, which is rounded down


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The starter fields from file to evaluation, and their reference and training data had they been float32."""
    folder = tmp_path_factory.mktemp("half")
    with pytest.MonkeyPatch.context() as patch:
        read = begin(folder, patch, DATA, STARTER, designs=["edm"], observe={"fields": None}, tune={"steps": []})
        prepare(read, "weather")
        reference(read, "weather")
        for stage in (train, tune, sample, evaluate):
            stage(read, "weather", "edm")
        other = {**read.data["weather"].model_extra, "dtype": "float32"}
        plain = type(read.data["weather"])(kind="fields", **other)
        full = folder / "full"
        full.mkdir()
        read.kind("weather").prepare(paths.raw("weather"), plain, full, paths.prepared("weather"), "weather")
        (folder / "reference-full").mkdir()
        settings = FieldEvaluation(resamples=20, most=200)
        make_reference(full, folder / "reference-full", settings, "weather")
        yield read, folder


@pytest.mark.long
def test_the_report_says_so(done):
    read, _ = done
    compare(read, "weather")
    report(read, "weather")
    assert "Prepared fields are kept as float16" in (paths.report("weather") / "index.html").read_text()


def test_it_goes_from_file_to_evaluation_and_the_model_knows(done):
    _, folder = done
    rows = pd.read_csv(paths.evaluation("weather", "edm"))
    assert np.isfinite(rows[[f"q999_ratio/test/{v}" for v in ("t2m", "tp")]]).all(None)
    assert Codec.load(paths.model("weather", "edm")).dtype == "float16"
    assert Codec.load(folder / "full").dtype == "float32"


def test_a_training_of_another_dtype_is_another_training(done):
    read, folder = done
    data = read.kind("weather").training_data
    half, full = (data(f, read.data["weather"]) for f in (paths.prepared("weather"), folder / "full"))
    assert half.hash != full.hash
    rows = np.arange(100)
    assert half.data[rows].dtype == full.data[rows].dtype == np.float32
    assert np.array_equal(half.data[rows][:, 0], full.data[rows][:, 0].astype(np.float16))  # no minimum


def test_what_is_measured_differs_by_no_more_than_rounding(done):
    """Rounding moves no value, and so no quantile and no mean, by more than it moves the value that it moves most."""
    _, folder = done
    half, full = (FieldMetrics(f) for f in (paths.reference("weather"), folder / "reference-full"))
    for period in ("train", "test"):
        store = FieldStore.open(folder / "full" / "fields.zarr", period)
        farthest = np.abs(store[:]).max((0, 2, 3))
        one, other = (metrics.references[period] for metrics in (half, full))
        for c in range(2):
            bound = ROUNDING * farthest[c] * full.codec.std[c] + 1e-4  # float32 of 300 K
            a, b = (np.sort(reference.summary.values[:, c], axis=None) for reference in (one, other))
            assert np.abs(a - b).max() <= bound
            assert abs(float(a.mean()) - float(b.mean())) <= bound
            assert np.quantile(a, 0.999) == pytest.approx(np.quantile(b, 0.999), abs=bound)
    dry = half.references["train"].summary.values[:, 1] == 0
    assert dry.mean() == pytest.approx(0.68, abs=0.03)  # as in the file; the cycle is put back exactly but for rounding
    rain = half.references["train"].summary.values[:, 1]
    assert QuantileMapping.fit(rain + 1, rain).lower is None  # nothing is drier than dry


def test_prepare_again_takes_over_what_is_there(done):
    read, folder = done
    before = folder / "before"
    shutil.copytree(paths.prepared("weather"), before)
    prepare(read, "weather")
    again = {p.relative_to(before): p for p in before.rglob("*") if p.is_file()}
    assert all((paths.prepared("weather") / name).read_bytes() == p.read_bytes() for name, p in again.items())
